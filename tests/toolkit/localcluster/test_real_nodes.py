"""Further nodes: added with the images of the first, run pods that reach each other, and leave nothing."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth.localcluster import ClusterError, NodeBusyError, NodeFaults
from berth.localcluster.cgroups import hierarchies
from berth.localcluster.processes import all_pids, arguments, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.localcluster import Cluster
    from berth.localcluster.images import ScratchImage

pytestmark = pytest.mark.cluster

GPU = "nvidia.com/gpu"
SERVE = ("serve", ":8080", "hello")
ADD = (
    "import sys; from berth.localcluster import Cluster; Cluster(sys.argv[1]).add_nodes(2, simulated_gpus=1)"
)


@pytest.fixture(autouse=True)
def _only_the_first_node(own: Cluster) -> Iterator[None]:
    own.simulate_gpus(0)
    yield
    for found in own.nodes()[1:]:
        own.remove_node(found.name, force=True)


@pytest.fixture
def namespace(own: Cluster) -> Iterator[str]:
    name = f"nodes-{secrets.token_hex(3)}"
    own.kubectl("create", "namespace", name)
    yield name
    own.kubectl("delete", "namespace", name, "--wait=false")


def pod(name: str, image: str, *arguments: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "probe", "image": image, "args": list(arguments), **spec.pop("container", {})}
    metadata = {"name": name, "labels": {"app": name}}
    grace = {"terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {**grace, **spec, "containers": [container]}}  # fmt: skip


def answer(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - a pod of ours
            return str(response.read().decode())
    except OSError as error:
        return str(error)


def traces(own: Cluster, name: str) -> list[str]:
    """Whatever this machine still has of a node."""
    index = name.rpartition("-")[2]
    slot = json.loads(own.paths.config.read_text())["slot"]
    script = str(own.paths.units / f"node{index}.sh")
    left = [f"process {pid}" for pid in all_pids() if arguments(pid)[-1:] == [script]]
    left += [str(group) for one in hierarchies() if (group := one / f"berth{slot}-n{index}").exists()]
    places = [own.paths.node(int(index)), Path("/sys/class/net", f"berth{slot}n{index}")]
    places += list(Path(f"/run/berth/cluster{slot}").glob(f"node{index}.*"))
    places += [file for folder in (own.paths.pki, own.paths.units, own.paths.logs)
               for file in folder.glob(f"node{index}[.-]*")]  # fmt: skip
    left += [str(place) for place in places if place.exists()]
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    left += [line for line in routes.splitlines() if f"berth{slot}n{index}" in line]
    mounts = Path("/proc/self/mountinfo").read_text()
    return left + [line for line in mounts.splitlines() if f"/node{index}" in line and own.name in line]


def test_pods_on_a_new_node_ask_for_a_simulated_gpu_and_are_reached(
    own: Cluster, namespace: str, probe: ScratchImage
) -> None:
    limits = {"container": {"resources": {"limits": {GPU: "1"}}}}
    tolerations = [{"key": GPU, "operator": "Exists"}]
    serving = pod("served", probe.reference, *SERVE, tolerations=tolerations, **limits)
    own.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(serving))
    own.kubectl("-n", namespace, "wait", "--for=condition=PodScheduled=False", "pod/served", "--timeout=60s")
    added = own.add_nodes(2, pool="tests", simulated_gpus=1)
    own.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/served", "--timeout=120s")
    there = json.loads(own.kubectl("-n", namespace, "get", "pod", "served", "-o", "json"))
    assert there["spec"]["nodeName"] in added
    node = json.loads(own.kubectl("get", "node", added[0], "-o", "json"))
    assert node["metadata"]["labels"]["berth.dev/simulated-gpu"] == "true"
    assert node["metadata"]["labels"]["berth.dev/pool"] == "tests"
    assert {taint["key"] for taint in node["spec"]["taints"]} == {GPU}
    listed = own.nodes()
    assert [(one.name, one.ready, one.simulated_gpus) for one in listed[1:]] == [(n, True, 1) for n in added]
    # From the other new node: routes between nodes, kube-proxy, and the image that was never imported there.
    own.kubectl("-n", namespace, "expose", "pod", "served", "--port=80", "--target-port=8080")
    other = next(name for name in added if name != there["spec"]["nodeName"])
    asking = pod("asks", probe.reference, *SERVE, nodeName=other)
    own.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(asking))
    own.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/asks", "--timeout=120s")
    address = own.kubectl("-n", namespace, "get", "pod", "asks", "-o", "jsonpath={.status.podIP}")
    url = f"http://{address}:8080/get?http://served.{namespace}.svc.cluster.local/"
    assert wait_until(lambda: answer(url) == "hello", seconds=60)
    # The cluster's restart brings them back as they were.
    own.stop()
    own.start()
    assert [(one.name, one.ready, one.simulated_gpus) for one in own.nodes()[1:]] == [
        (n, True, 1) for n in added
    ]
    for name in added:
        own.remove_node(name)
        assert traces(own, name) == []
    assert {
        one["metadata"]["name"] for one in json.loads(own.kubectl("get", "nodes", "-o", "json"))["items"]
    } == {f"{own.name}-1"}


def test_a_budget_keeps_a_node_until_it_is_forced(own: Cluster, namespace: str, probe: ScratchImage) -> None:
    (name,) = own.add_nodes()
    budget = {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "kept"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "kept"}}},
    }  # fmt: skip
    kept = pod("kept", probe.reference, *SERVE, nodeName=name)
    listed = {"apiVersion": "v1", "kind": "List", "items": [budget, kept]}
    own.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(listed))
    own.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/kept", "--timeout=120s")
    with pytest.raises(NodeBusyError, match=f"{name}: .*{namespace}/kept.*takes pods again"):
        own.remove_node(name, seconds=0)
    assert "unschedulable" not in json.loads(own.kubectl("get", "node", name, "-o", "json"))["spec"]
    own.remove_node(name, force=True)
    assert traces(own, name) == []
    assert "kept" not in own.kubectl("-n", namespace, "get", "pods", "-o", "name")


def test_a_lost_node_answers_nobody_and_goes_on_where_it_was(
    own: Cluster, namespace: str, probe: ScratchImage
) -> None:
    (name,) = own.add_nodes()
    limits = {"resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}
    served = pod("served", probe.reference, *SERVE, nodeName=name, container=limits)
    own.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(served))
    own.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/served", "--timeout=120s")
    status = json.loads(own.kubectl("-n", namespace, "get", "pod", "served", "-o", "json"))["status"]
    url = f"http://{status['podIP']}:8080/"
    assert wait_until(lambda: answer(url) == "hello", seconds=60)
    faults = NodeFaults(own.name)
    try:
        faults.lose([name])
        assert answer(url) != "hello"
        # Undone by another object, which knows nothing but the names.
        NodeFaults(own.name).recover([name])
        assert wait_until(lambda: answer(url) == "hello", seconds=60)
    finally:
        faults.recover([name])
    restarts = "jsonpath={.status.containerStatuses[0].restartCount}"
    assert own.kubectl("-n", namespace, "get", "pod", "served", "-o", restarts) == "0"
    container = status["containerStatuses"][0]["containerID"].rpartition("/")[2]
    quotas = faults.quotas([name], [container])
    assert [said.split()[0] for said in quotas.values()] == ["50000"]
    faults.slow(quotas, 0.1)
    assert [Path(file).read_text().split()[0] for file in quotas] == ["5000"]
    faults.restore(quotas)
    assert [Path(file).read_text().split()[0] for file in quotas] == ["50000"]
    with pytest.raises(ClusterError, match=f"has no node x; there are: {own.name}-1, {name}"):
        faults.lose(["x"])
    # A node that is lost can be removed all the same.
    faults.lose([name])
    own.remove_node(name, force=True)
    assert traces(own, name) == []


def test_what_is_killed_on_the_way_is_finished_or_removed(own: Cluster) -> None:
    adding = subprocess.Popen([sys.executable, "-c", ADD, own.name], start_new_session=True)
    assert wait_until(lambda: own.paths.node(2).exists(), seconds=120, pause=0.01)
    os.kill(adding.pid, signal.SIGKILL)
    adding.wait()
    own.start()
    # What had been recorded is whole; the next ones get other places.
    assert [one.ready for one in own.nodes()] == [True] * 3
    (name,) = own.add_nodes()
    assert name == f"{own.name}-4"
    names = [one.name for one in own.nodes()[1:]]
    for one in names:
        own.remove_node(one, force=True)
    assert [trace for one in names for trace in traces(own, one)] == []


def test_images_that_were_half_laid_ready_when_killed_are_laid_anew(own: Cluster) -> None:
    shutil.rmtree(own.paths.warm_images, ignore_errors=True)
    laying = subprocess.Popen([sys.executable, "-c", ADD, own.name], start_new_session=True)
    assert wait_until((own.paths.units / "images.head").exists, seconds=120, pause=0.01)
    os.kill(laying.pid, signal.SIGKILL)
    laying.wait()
    own.lay_images_ready()
    assert not list(own.paths.units.glob("images.*"))
    assert len(list(own.paths.warm_images.iterdir())) == 1
    (name,) = own.add_nodes()
    assert [one.ready for one in own.nodes() if one.name == name] == [True]


@pytest.mark.parametrize(
    ("name", "said"), [("nobody", "there is no such node"), ("", "there is no such node")]
)
def test_a_node_that_cannot_be_removed_is_named(own: Cluster, name: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        own.remove_node(name)
    with pytest.raises(ClusterError, match="it is the first node and stays"):
        own.remove_node(f"{own.name}-1")
