"""`berth doctor STACK` on stack files, out of reach and against a real API server with simulated nodes."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.cli import stackfile
from berth.cli.asking import looks
from berth.cli.console import Console
from berth.cli.doctor import check_before_up, doctor, require_fit
from berth.cli.errors import UserError
from berth.cli.stackfile import find_stack, request_for
from click.testing import CliRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

Json = dict[str, Any]
SITE: Json = {
    "cluster": {"kubeconfig": "none.kubeconfig"},
    "devicePlugins": {"nvidia": {"mode": "existing"}},
    "pools": {
        "l4": {
            "accelerator": "nvidia-l4",
            "acceleratorsPerNode": 4,
            "max": 1,
            "taints": [{"key": "berth.dev/simulated-node", "effect": "NoSchedule"}],
        }
    },
}
MODEL: Json = {
    "model": "qwen2.5-7b-instruct",
    "sites": ["lab"],
    "pool": "l4",
    "gpu": {"count": 1},
    "engine": {
        "name": "vllm",
        "resources": {"cpuRequest": "4", "memoryRequest": "24Gi", "memoryLimit": "24Gi"},
    },
    "concurrency": {"slots": 4, "maxConcurrentRequests": 16},
    "tokens": {"maxInput": 1024, "maxTotal": 2048},
    "replicas": 1,
    "weights": {"size": "32Gi", "storageClass": "no-such-class"},
}
STACK: Json = {
    "environment": "development",
    "clients": {"cidrs": ["10.0.0.0/8"]},
    "sites": {"lab": SITE},
    "models": {"chat": MODEL},
    "metricsAdapter": {"mode": "none"},
}


@dataclass
class Stacks:
    """A checkout's stack files, as far as the doctor reads them."""

    root: Path

    def write(self, name: str, settings: Json) -> None:
        config = {f"berth:{key}": value for key, value in settings.items()}
        (self.root / "stacks" / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump({"config": config}))


@pytest.fixture
def stacks(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stacks:
    shutil.copy(root / "Pulumi.yaml", tmp_path)
    (tmp_path / "stacks").mkdir()
    monkeypatch.setattr(stackfile, "ROOT", tmp_path)
    monkeypatch.setattr(stackfile, "STACKS", tmp_path / "stacks")
    return Stacks(tmp_path)


@pytest.fixture
def run() -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(doctor, [*arguments])


def request(name: str) -> Any:
    return request_for(find_stack(name), {}, {})


def with_pool(**changes: Any) -> Json:
    pool = {**SITE["pools"]["l4"], **changes}
    return {**STACK, "sites": {"lab": {**SITE, "pools": {"l4": pool}}}}


def test_settings_become_questions(stacks: Stacks) -> None:
    stacks.write("lab", STACK)
    (look,) = looks(request("lab"))
    (pool,) = look.asked.pools
    assert look.kubeconfig == "none.kubeconfig"
    assert (pool.name, pool.kind, pool.resource, pool.per_node, pool.nodes) == (
        "l4",
        "nvidia",
        "nvidia.com/gpu",
        4,
        1,
    )
    assert pool.node_selector == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert [one["key"] for one in pool.tolerations] == ["nvidia.com/gpu", "berth.dev/simulated-node"]
    assert look.asked.device_plugins == {"nvidia": "existing"}
    assert look.asked.namespace == "berth-lab"
    # In production alone a network plugin that ignores policies stops an `up`.
    assert not look.asked.enforce_policies
    stacks.write("prod", {**STACK, "environment": "production", "models": {"chat": {**MODEL, "replicas": 2}}})
    assert looks(request("prod"))[0].asked.enforce_policies
    (model,) = look.asked.models
    assert (model.pool, model.accelerators, model.replicas, model.surge) == ("l4", 1, 1, 1)
    assert model.storage_class == "no-such-class"


def test_out_of_reach_is_unknown_and_said(
    stacks: Stacks, run: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    stacks.write("lab", STACK)
    result = run("lab")
    assert result.exit_code == 3
    assert "UNKNOWN cluster current context of none.kubeconfig: cannot be looked at" in result.output
    (finding,) = check_before_up(request("lab"))
    assert finding.state == "unknown"
    require_fit(request("lab"), Console())
    assert "doctor       unknown: lab: cluster current context of none.kubeconfig" in capsys.readouterr().err


def test_a_cluster_that_another_stack_makes_is_unknown(stacks: Stacks, run: Callable[..., Result]) -> None:
    site = {**SITE, "cluster": {"stack": "organization/berth/ground"}}
    stacks.write("lab", {**STACK, "sites": {"lab": site}})
    result = run("lab")
    assert result.exit_code == 3
    assert "the stack organization/berth/ground makes it" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lab"], "min_nodes"),
        (["nowhere"], "there is no stack 'nowhere'"),
        (["--context", "x"], "needs a stack"),
        (["lab", "--context", "nobodys"], "no context of that name"),
    ],
)
def test_wrong_input_ends_with_2(
    stacks: Stacks,
    run: Callable[..., Result],
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(stacks.root / "none"))
    stacks.write("lab", with_pool(max=2, min=1))
    result = run(*arguments)
    assert said in str(result.exception) or said.replace("_", "") in str(result.exception)
    # The command line turns these into exit code 2 unless they say otherwise.
    assert getattr(result.exception, "exit_code", 2) == 2


class Simulated:
    """Nodes that exist in the API server only: no kubelet, no GPU behind them."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._made: list[tuple[str, ...]] = []

    def node(self, name: str, product: str, gpus: int) -> None:
        labels = {
            "nvidia.com/gpu.product": product,
            "nvidia.com/gpu.count": str(gpus),
            "nvidia.com/gpu.memory": "23034",
            "nvidia.com/cuda.driver-version.full": "580.95.05",
        }
        # Keeps the scheduler from placing anything that does not tolerate it.
        taint = {"key": "berth.dev/simulated-node", "effect": "NoSchedule"}
        # Nobody renews this: the node controller takes it for unreachable after some 50 seconds.
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "reason": "Simulated", "message": "no kubelet"}
        status = {
            "conditions": [{**ready, "lastHeartbeatTime": now, "lastTransitionTime": now}],
            "allocatable": {"nvidia.com/gpu": str(gpus), "cpu": "8", "memory": "32Gi", "pods": "110"},
            "capacity": {"nvidia.com/gpu": str(gpus), "cpu": "8", "memory": "32Gi", "pods": "110"},
            "nodeInfo": {"kubeletVersion": "v1.35.0"},
        }
        self._create(
            "node", name, {"metadata": {"name": name, "labels": labels}, "spec": {"taints": [taint]}}
        )
        patch = json.dumps({"status": status})
        self._cluster.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", patch)

    def pod(self, name: str, node: str, gpus: int) -> None:
        container = {
            "name": "main",
            "image": "registry.example/none:1",
            "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
        }
        spec = {"nodeName": node, "containers": [container], "tolerations": [{"operator": "Exists"}]}
        self._create("pod", name, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})

    def plugin(self) -> None:
        labels = {"app": "nvidia-device-plugin-daemonset"}
        template = {
            "metadata": {"labels": labels},
            "spec": {
                "nodeSelector": {"berth.dev/no-such-node": "true"},
                "containers": [{"name": "plugin", "image": "nvcr.io/nvidia/k8s-device-plugin:v0.19.3"}],
            },
        }
        body = {
            "apiVersion": "apps/v1",
            "metadata": {"name": "nvidia-device-plugin-daemonset", "namespace": "default", "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }
        self._create("daemonset", "nvidia-device-plugin-daemonset", body)

    def _create(self, kind: str, name: str, body: Json) -> None:
        kinds = {"node": "Node", "pod": "Pod", "daemonset": "DaemonSet"}
        document = {"apiVersion": "v1", "kind": kinds[kind], **body}
        self._made.append((kind, name))
        self._cluster.kubectl("create", "-f", "-", stdin=json.dumps(document))

    def remove(self) -> None:
        for kind, name in reversed(self._made):
            with contextlib.suppress(Exception):
                self._cluster.kubectl(
                    "delete", kind, name, "--ignore-not-found", "--grace-period=0", "--force", "--wait=false"
                )


@pytest.fixture
def simulated(cluster: Any) -> Iterator[Simulated]:
    made = Simulated(cluster)
    yield made
    made.remove()


@pytest.mark.cluster
def test_a_real_api_server_with_simulated_nodes(
    cluster: Any, simulated: Simulated, stacks: Stacks, run: Callable[..., Result]
) -> None:
    simulated.node("simulated-l4", "NVIDIA-L4", 4)
    simulated.plugin()
    stacks.write("lab", STACK)
    connection = {"berth:connections": {"lab": {"kubeconfig": str(cluster.kubeconfig)}}}
    ready = request_for(find_stack("lab"), connection, {})
    by_subject = {one.subject: one for one in check_before_up(ready)}
    assert "pool l4" not in by_subject
    assert by_subject["storage of model chat"].state == "mismatch"
    assert set(by_subject) == {"storage of model chat"}
    with pytest.raises(UserError, match="storage of model chat: the cluster has") as stopped:
        require_fit(ready, Console(quiet=True))
    assert stopped.value.exit_code == 1

    site = {**SITE, "cluster": {"kubeconfig": str(cluster.kubeconfig)}}
    stacks.write("full", {**STACK, "sites": {"lab": site}})
    result = run("full", "--json")
    (there,) = json.loads(result.output)["sites"]
    (node,) = (one for one in there["inventory"]["nodes"] if one["name"] == "simulated-l4")
    assert (node["product"], node["allocatable"], node["driver"]) == (
        "NVIDIA-L4",
        {"nvidia.com/gpu": 4},
        "580.95.05",
    )
    (plugin,) = there["inventory"]["device_plugins"]
    assert plugin["origin"] == "the NVIDIA GPU operator"
    assert {one["subject"]: one["state"] for one in there["findings"]}["pool l4"] == "ok"

    simulated.pod("simulated-holder", "simulated-l4", 3)
    simulated.node("simulated-other", "NVIDIA-L40S", 4)
    found = {
        one["name"]: one for one in json.loads(run("full", "--json").output)["sites"][0]["inventory"]["nodes"]
    }
    assert found["simulated-other"]["product"] == "NVIDIA-L40S"
    shown = run("full").output
    assert "4 nvidia.com/gpu (1 free)" in " ".join(shown.split())
    assert max(len(line) for line in shown.splitlines()) <= 80


@pytest.mark.cluster
def test_what_a_user_may_not_see_is_unknown(cluster: Any, stacks: Stacks, run: Callable[..., Result]) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    account = ("serviceaccount", "simulated-reader", "--namespace", "default")
    cluster.kubectl("create", *account)
    try:
        token = cluster.kubectl("create", "token", "simulated-reader", "--namespace", "default").strip()
        config["users"] = [{**one, "user": {"token": token}} for one in config["users"]]
        stacks.write(
            "lab", {**STACK, "sites": {"lab": {**SITE, "cluster": {"kubeconfig": json.dumps(config)}}}}
        )
        result = run("lab")
    finally:
        cluster.kubectl("delete", *account)
    assert result.exit_code == 3, result.output
    said = " ".join(result.output.split())
    assert "UNKNOWN pool l4: cannot be told: GET /api/v1/nodes: 403" in said
    assert "UNKNOWN device plugin (nvidia): cannot be told" in said
    assert token not in result.output


def test_the_launcher_reaches_it(root: Path) -> None:
    done = subprocess.run(
        [root / ".venv/bin/python", "-m", "berth.cli", "doctor", "onprem", "--context", "none-such"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "KUBECONFIG": "/nonexistent", "PYTHONPATH": str(root / "toolkit")},
        cwd=root,
    )
    assert done.returncode == 2, done.stderr
    assert "--context none-such: no context of that name in /nonexistent" in done.stderr
