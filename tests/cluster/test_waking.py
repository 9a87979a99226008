"""A model that sleeps: its router holds the first request, the autoscaler wakes a replica, it sleeps."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from tests.cluster.test_main_job import Berth, copied
from tests.monitoring.faulty import MODEL, NAMESPACE, put_behind_router

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from berth.localcluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
BODY = {"messages": [{"role": "user", "content": "What is a harbour?"}], "max_tokens": 8}


def asleep(stack: dict[str, Any]) -> dict[str, Any]:
    """The shipped stack, behind a router that wakes it. Nobody watches, which is quicker."""
    settings = stack["config"]
    del settings["berth:monitoring"]
    put_behind_router(settings, 30080)
    return stack


@pytest.fixture(scope="module")
def berth(cluster: Cluster, root: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    command = Berth(copied(root, tmp_path_factory), cluster.name)
    file = command.checkout / "stacks" / "Pulumi.local.yaml"
    file.write_text(yaml.safe_dump(asleep(yaml.safe_load(file.read_text()))))
    try:
        yield command
    finally:
        command.run("down", "local")


@pytest.fixture(scope="module")
def deployed(berth: Berth) -> dict[str, Any]:
    report: dict[str, Any] = berth.json("up", "local", "--yes")
    return report


def replicas(cluster: Cluster) -> int:
    found = json.loads(cluster.kubectl("get", "deployment", MODEL, "-n", NAMESPACE, "-o", "json"))
    return int(found["spec"]["replicas"])


def until(what: str, holds: Callable[[], bool], cluster: Cluster, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            events = cluster.kubectl("get", "hpa,pods,events", "-n", NAMESPACE)
            pytest.fail(f"not within {seconds} s: {what}\n{events}")
        time.sleep(0.5)


def test_a_model_wakes_by_its_first_request_and_sleeps_again(
    berth: Berth, cluster: Cluster, deployed: dict[str, Any]
) -> None:
    assert deployed["ok"]
    # What `up` asks at the end came through the router.
    assert deployed["completions"][0]["text"].strip()
    url = deployed["outputs"]["routers"]["front"]["endpoint"] + "/v1/chat/completions"
    assert deployed["outputs"]["endpoints"][f"local/{MODEL}"] + "/v1/chat/completions" == url
    until("it falls asleep", lambda: replicas(cluster) == 0, cluster)
    cluster.kubectl(
        "wait", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=model-server",
        "--for=delete", "--timeout=180s", timeout=190,
    )  # fmt: skip
    with httpx.Client(trust_env=False, timeout=300) as client:
        # Nobody without a key wakes anything.
        assert client.post(url, json=BODY).status_code == 401
        assert client.post(url, json=BODY, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert "TROUBLE" not in berth.run("doctor", "local").stdout
        assert "0 of 0 replicas ready  asleep" in berth.run("status", "local").stdout
        assert replicas(cluster) == 0
        key = berth.run("key", "local").stdout.strip()
        answer = client.post(url, json=BODY, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    assert answer.headers["x-berth-variant"] == MODEL
    # The autoscaler did it, by what it was told through the adapter.
    events = json.loads(cluster.kubectl("get", "events", "-n", NAMESPACE, "-o", "json"))["items"]
    told = [
        one["message"]
        for one in events
        if one["involvedObject"]["kind"] == "HorizontalPodAutoscaler" and one["reason"] == "SuccessfulRescale"
    ]
    assert any("New size: 0" in one for one in told)
    assert any("New size: 1" in one and "berth_queue_depth" in one for one in told), told
    until("it falls asleep again", lambda: replicas(cluster) == 0, cluster)
