"""Linked clusters: their pods reach each other's NodePorts and nothing else, and nothing is left of it."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from berth.localcluster import Cluster, ClusterNotRunningError
from berth.localcluster.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.localcluster.images import ScratchImage

pytestmark = pytest.mark.cluster

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def fetch(url: str) -> str:
    """What a server of ours says, or why it says nothing."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - our own http URLs
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
    except OSError as error:
        return str(error)


def serve(cluster: Cluster, image: str) -> str:
    """Let a pod answer with the cluster's name on a NodePort; the NodePort's URL."""
    labels = {"app": "linked"}
    container = {"name": "probe", "image": image, "args": ["serve", ":8080", cluster.name]}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "linked", "labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }  # fmt: skip
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "linked"},
        "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    }  # fmt: skip
    both = {"apiVersion": "v1", "kind": "List", "items": [pod, service]}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(both))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/linked", "--timeout=120s")
    port = cluster.kubectl("get", "service", "linked", "-o", "jsonpath={.spec.ports[0].nodePort}")
    url = f"http://{cluster.node_address}:{port}"
    assert wait_until(lambda: fetch(url) == cluster.name, 60)
    return url


def field(cluster: Cluster, kind: str, path: str) -> str:
    return cluster.kubectl("get", kind, "linked", "-o", f"jsonpath={{{path}}}")


def rules(cluster: Cluster) -> list[str]:
    """The rules of a cluster that let somebody in or out."""
    slot = json.loads(cluster.paths.config.read_text())["slot"]
    said = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    ours = [line for line in said.splitlines() if line.startswith(f"-A BERTH-{slot}-FWD ")]
    return [line for line in ours if "ACCEPT" in line]


@pytest.fixture
def second(own: Cluster, probe: ScratchImage, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster("localcluster-tests-link")
    cluster.delete()
    cluster.start()
    cluster.import_image(probe.write(tmp_path))
    yield cluster
    cluster.delete()
    own.kubectl("delete", "pod/linked", "service/linked", "--ignore-not-found", "--wait=false")


def test_pods_of_linked_clusters_reach_each_others_node_ports_and_nothing_else(
    own: Cluster, second: Cluster, probe: ScratchImage
) -> None:
    forwarding, before = FORWARDING.read_text(), rules(own)
    mine, theirs = serve(own, probe.reference), serve(second, probe.reference)
    # Without a link both are told so at once.
    for one, other in ((mine, theirs), (theirs, mine)):
        assert "connection refused" in fetch(f"{one}/get?{other}")
    own.link(second)
    assert (list(own.links), list(second.links)) == ([second.name], [own.name])
    assert own.status().links == (second.name,)
    assert fetch(f"{mine}/get?{theirs}") == second.name
    assert fetch(f"{theirs}/get?{mine}") == own.name
    # By every node, wherever the pod is.
    (added,) = second.add_nodes()
    address = next(one.address for one in second.nodes() if one.name == added)
    by_added = f"http://{address}:{theirs.rpartition(':')[2]}"
    assert wait_until(lambda: fetch(f"{mine}/get?{by_added}") == second.name, 60)
    pod, service = field(second, "pod", ".status.podIP"), field(second, "service", ".spec.clusterIP")
    for closed in (f"http://{pod}:8080", f"http://{service}", f"http://{second.node_address}:10250",
                   second.server.replace("https", "http")):  # fmt: skip
        assert fetch(f"{mine}/get?{closed}") not in {second.name, own.name}
        assert "Client sent an HTTP request to an HTTPS server" not in fetch(f"{mine}/get?{closed}")
    _comes_back(own, second, mine, theirs)
    second.delete()
    assert list(own.links) == []
    assert rules(own) == before
    assert FORWARDING.read_text() == forwarding


def _comes_back(own: Cluster, second: Cluster, mine: str, theirs: str) -> None:
    """While one of them is stopped nothing is open for it; its start brings the link back."""
    linked = rules(own)
    second.stop()
    assert len(rules(own)) < len(linked)
    assert fetch(mine) == own.name
    second.start()
    assert rules(own) == linked
    assert wait_until(lambda: fetch(f"{mine}/get?{theirs}") == second.name, 120)
    own.unlink(second)
    assert (list(own.links), list(second.links)) == ([], [])
    # A connection that was kept may wait in vain first.
    assert wait_until(lambda: "connection refused" in fetch(f"{mine}/get?{theirs}"), 60)
    own.link(second)


def test_what_cannot_be_linked_is_named(own: Cluster) -> None:
    with pytest.raises(ClusterNotRunningError, match="there is no cluster 'nobody'"):
        own.link(Cluster("nobody"))
    assert not Cluster("nobody").paths.lock.exists()
    with pytest.raises(ValueError, match="linked with itself"):
        own.link(Cluster(own.name))
