"""The main job, as a person runs it: `up`, a completion, a changed setting, load, `down`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.checkouts import copy_of, environment
from tests.cluster.streams import stream_through

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from berth.localcluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


class Berth:
    """The command line of a copy of this checkout, so that its stack files can be changed."""

    def __init__(self, checkout: Path, cluster: str) -> None:
        self.checkout = checkout
        self._environment = environment(checkout, cluster)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "berth.cli", *words],
            cwd=self.checkout, env=self._environment, capture_output=True, text=True, check=False,
            timeout=600,
        )  # fmt: skip

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
        return json.loads(done.stdout)


def copied(root: Path, folders: pytest.TempPathFactory) -> Path:
    """Copy this checkout."""
    return copy_of(root, folders.mktemp("checkout"))


@pytest.fixture(scope="module")
def berth(cluster: Cluster, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    command = Berth(copied(root, tmp_path_factory), cluster.name)
    try:
        yield command
    finally:
        command.run("down", "local")


@pytest.fixture(scope="module")
def deployed(berth: Berth) -> dict[str, Any]:
    report: dict[str, Any] = berth.json("up", "local", "--yes")
    return report


def key(berth: Berth) -> str:
    return berth.run("key", "local").stdout.strip()


def endpoint(report: dict[str, Any]) -> str:
    url: str = report["outputs"]["endpoints"]["local/smollm2"]
    return url


def operations(report: dict[str, Any]) -> set[str]:
    return {step["op"] for step in report["steps"] if step["object"]}


def test_up_ends_with_a_real_completion(deployed: dict[str, Any]) -> None:
    assert deployed["ok"]
    [completion] = deployed["completions"]
    assert completion["endpoint"] == "local/smollm2"
    assert completion["text"].strip()
    assert completion["tokens"] > 1


def test_clients_need_the_key(berth: Berth, deployed: dict[str, Any]) -> None:
    body = {"messages": [{"role": "user", "content": "What is a harbour?"}], "max_tokens": 8}
    url = endpoint(deployed) + "/v1/chat/completions"
    with httpx.Client(trust_env=False, timeout=60) as client:
        assert client.post(url, json=body).status_code == 401
        answer = client.post(url, json=body, headers={"Authorization": f"Bearer {key(berth)}"})
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"]


def test_every_pod_runs_restricted(cluster: Cluster, deployed: dict[str, Any]) -> None:
    for namespace in (deployed["outputs"]["namespace"], "berth-metrics"):
        found = json.loads(cluster.kubectl("get", "namespace", namespace, "-o", "json"))
        assert found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        pods = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]
        assert pods


def test_kubectl_gets_every_word(berth: Berth, deployed: dict[str, Any]) -> None:
    assert deployed["ok"]
    done = berth.run(
        "cluster", "kubectl", "exec", "-n", "berth-local", "deployment/smollm2", "-c", "gateway",
        "--", "python3", "-c", "print('through')",
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "through"), done.stderr


def test_up_again_changes_nothing(berth: Berth, deployed: dict[str, Any]) -> None:
    assert deployed["ok"]
    assert operations(berth.json("up", "local")) == {"same"}
    assert berth.json("drift", "local")["complete"]  # exit code 0: nothing drifted either


def test_the_key_appears_nowhere(berth: Berth, deployed: dict[str, Any]) -> None:
    secret = key(berth)
    assert len(secret) > 30
    for words in (("preview", "local", "--diff"), ("outputs", "local"), ("up", "local", "--diff")):
        done = berth.run(*words)
        assert done.returncode == 0, done.stderr
        assert secret not in done.stdout + done.stderr
    assert secret not in json.dumps(deployed)


def test_a_changed_setting_shows_as_exactly_that(
    berth: Berth, cluster: Cluster, deployed: dict[str, Any]
) -> None:
    assert deployed["ok"]
    file = berth.checkout / "stacks" / "Pulumi.local.yaml"
    before = file.read_text()
    assert "max: 3" in before
    file.write_text(before.replace("max: 3", "max: 2"))
    try:
        previewed = berth.json("preview", "local")
        # The alert for an autoscaler at its maximum knows that maximum, and its server has new rules then.
        assert {s["object"]: s["op"] for s in previewed["steps"] if s["object"] and s["op"] != "same"} == {
            "HorizontalPodAutoscaler berth-local/smollm2": "update",
            "ConfigMap berth-monitoring/berth-prometheus-rules": "update",
            "StatefulSet berth-monitoring/berth-prometheus": "update",
        }
        [step] = [
            s for s in previewed["steps"] if s["object"] == "HorizontalPodAutoscaler berth-local/smollm2"
        ]
        assert step["diffReasons"] == ["spec.maxReplicas"]
        applied = berth.json("up", "local")
        assert [(s["urn"], s["op"]) for s in applied["steps"]] == [
            (s["urn"], s["op"]) for s in previewed["steps"]
        ]
        hpa = json.loads(cluster.kubectl("get", "hpa", "smollm2", "-n", "berth-local", "-o", "json"))
        assert hpa["spec"]["maxReplicas"] == 2
    finally:
        file.write_text(before)
    assert berth.json("up", "local")["changeSummary"]["update"] == 3


def test_a_wrong_setting_names_file_line_and_key(berth: Berth, deployed: dict[str, Any]) -> None:
    assert deployed["ok"]
    file = berth.checkout / "stacks" / "Pulumi.local.yaml"
    before = file.read_text()
    line = next(number for number, text in enumerate(before.splitlines(), 1) if "max: 3" in text)
    file.write_text(before.replace("max: 3", "maxx: 3"))
    try:
        done = berth.run("preview", "local")
    finally:
        file.write_text(before)
    assert done.returncode == 1
    text = " ".join((done.stdout + done.stderr).split())
    assert f"Pulumi.local.yaml:{line}" in text
    assert "maxx" in text
    assert "Traceback" not in text


def test_load_over_capacity_scales_up_and_back(berth: Berth, deployed: dict[str, Any]) -> None:
    assert deployed["ok"]
    report = berth.json("load", "local", "--rate", "8", "--duration", "30")
    assert report["requests"]["ok"] > 0
    scaling = report["scaling"]
    assert scaling["before"] == 1
    assert scaling["peak_ready"] >= 2
    assert all(pod["ready"] is not None for pod in scaling["new_replicas"])
    assert scaling["scale_down"]["complete"]
    assert berth.json("drift", "local")["drift"] == []


def test_every_panel_with_a_local_source_shows_data(berth: Berth, deployed: dict[str, Any]) -> None:
    """After the load; what is not shown names the source that it needs."""
    assert deployed["ok"]
    if "monitoring" not in deployed["outputs"] or not deployed["outputs"]["monitoring"]:
        pytest.skip("the stack local has no monitoring (berth:monitoring.mode is none)")
    # Rules on behaviour are evaluated every five minutes.
    deadline = time.monotonic() + 420
    while True:
        done = berth.run("dash", "local", "--check", "--json")
        assert done.returncode in {0, 1}, done.stderr
        panels = json.loads(done.stdout)["panels"]
        wrong = [one for one in panels if one["state"] in {"no data", "error"}]
        assert (done.returncode == 1) == bool(wrong)
        if not wrong:
            break
        assert time.monotonic() < deadline, wrong
        time.sleep(5)
    states = [one["state"] for one in panels]
    assert states.count("data") > 80
    assert all(one["reason"] for one in panels if one["state"] != "data")


def test_the_scale_path_is_proved_through_new_nodes_and_back(
    berth: Berth, cluster: Cluster, deployed: dict[str, Any], tmp_path: Path
) -> None:
    """A burst, pods that wait for a GPU, simulated nodes that are added for them, and an empty pool again."""
    assert deployed["ok"]
    done = berth.run("prove", "scale", "local", "--json", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
    found = json.loads(done.stdout)
    assert {link["verdict"] for link in found["chains"][0]["links"]} == {"passed"}
    [burst] = found["bursts"]
    events = [event["event"] for event in burst["events"]]
    # The order is the proof, not the clock.
    chain = [
        *("desired", "pod pending", "node requested", "node ready", "pod scheduled", "pod ready"),
        *("all ready", "load ended", "fewer desired", "replicas gone", "pool empty"),
    ]
    assert [events.index(name) for name in chain] == sorted(events.index(name) for name in chain)
    assert max(sample["ready"] for sample in burst["samples"]) == 3
    assert 1 <= max(sample["nodes"] for sample in burst["samples"]) <= 2
    assert burst["requests"]["answered"] > 0
    assert len(found["burst_to_ready_seconds"]["values"]) == 1
    assert (tmp_path / "timeline.svg").read_text().startswith("<svg")
    assert json.loads((tmp_path / "timeline.json").read_text())["bursts"] == found["bursts"]
    # Nothing of it is left, and the stack is as it was.
    assert [one.name for one in cluster.nodes()] == [f"{cluster.name}-1"]
    assert "nvidia.com/gpu" not in cluster.kubectl("get", "nodes", "-o", "jsonpath={..status.allocatable}")
    cluster.kubectl("wait", "namespace", "-l", "berth.dev/proof=true", "--for=delete", "--timeout=120s")
    assert berth.json("drift", "local")["drift"] == []


def test_fifty_streams_survive_a_rolling_update_of_three_replicas(
    berth: Berth, cluster: Cluster, deployed: dict[str, Any]
) -> None:
    file = berth.checkout / "stacks" / "Pulumi.local.yaml"
    before = file.read_text()
    assert "min: 1" in before
    # A fourth pod has to fit on two cores while one replaces another.
    file.write_text(before.replace("min: 1", "min: 3").replace("cpuRequest: 400m", "cpuRequest: 100m"))
    try:
        berth.json("up", "local")
        deployment = ["deployment/smollm2", "-n", "berth-local", "--timeout=300s"]
        cluster.kubectl("wait", *deployment, "--for=jsonpath={.status.readyReplicas}=3", timeout=310)

        def update() -> None:
            cluster.kubectl("rollout", "restart", *deployment[:-1])
            cluster.kubectl("rollout", "status", *deployment, timeout=310)

        seen = asyncio.run(stream_through(endpoint(deployed), key(berth), 50, update))
    finally:
        file.write_text(before)
    assert seen.failed == []
    assert seen.whole >= 50


def test_down_leaves_nothing(berth: Berth, cluster: Cluster, deployed: dict[str, Any]) -> None:
    assert deployed["ok"]
    down = berth.json("down", "local")
    assert operations(down) == {"delete"}
    everything = cluster.kubectl(
        "get", "namespaces,clusterroles,clusterrolebindings,apiservices,persistentvolumes", "-o", "name"
    ) + cluster.kubectl("get", "rolebindings", "-n", "kube-system", "-o", "name")
    assert not [name for name in everything.splitlines() if "berth-" in name or "smollm2" in name]
    assert "external.metrics.k8s.io" not in everything
    again = berth.run("down", "local")
    assert again.returncode == 0, again.stderr
