"""One stack on several clusters: the tests' own, and a second real API server beside it."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.deployer import Event, Interpreter, Report, RunRequest, down, outputs, preview, render, up
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from berth.localcluster import Cluster

pytestmark = pytest.mark.cluster
PROGRAM = """
import pulumi
import pulumi_kubernetes as k8s

config = pulumi.Config()
for key, keys in config.require_object("sites").items():
    kubeconfig, context = config.require(f"{key}-kubeconfig"), config.get(f"{key}-context")
    provider = k8s.Provider(key, kubeconfig=kubeconfig, context=context)
    on = pulumi.ResourceOptions(provider=provider)
    name = config.require("prefix")
    for item in keys:
        where = {"name": f"{name}-{item}", "namespace": "default"}
        k8s.core.v1.ConfigMap(f"{key}-{item}", metadata=where, data={"site": key}, opts=on)
pulumi.export("sites", list(config.require_object("sites")))
"""


def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Second:
    """A second cluster: etcd, an API server and what deletes namespaces; no nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kubeconfig = folder, folder / "kubeconfig"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        from berth.localcluster.build import built_binaries  # noqa: PLC0415 - after the first cluster made them
        from berth.localcluster.packages import unpacked  # noqa: PLC0415 - as above

        binaries, packages = built_binaries(), unpacked()
        assert binaries
        assert packages
        store, peer, api, token = port(), port(), port(), secrets.token_hex(16)
        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "key.pem").write_bytes(pem)
        (self.folder / "tokens").write_text(f"{token},admin,admin,system:masters\n")
        server = f"https://127.0.0.1:{api}"
        cluster = {"server": server, "insecure-skip-tls-verify": True}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "second", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "second", "context": {"cluster": "second", "user": "admin"}}],
            "current-context": "second",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self._run(
            packages.find("usr/bin/etcd"),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{store}",
            f"--advertise-client-urls=http://127.0.0.1:{store}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        self._run(
            binaries["kube-apiserver"],
            f"--etcd-servers=http://127.0.0.1:{store}",
            "--bind-address=127.0.0.1",
            f"--secure-port={api}",
            f"--cert-dir={self.folder}",
            f"--token-auth-file={self.folder / 'tokens'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.99.0.0/24",
            "--service-account-issuer=https://second",
            f"--service-account-key-file={self.folder / 'key.pem'}",
            f"--service-account-signing-key-file={self.folder / 'key.pem'}",
            "--endpoint-reconciler-type=none",
        )
        self._await(api, token)
        self._run(
            binaries["kube-controller-manager"],
            f"--kubeconfig={self.kubeconfig}",
            "--controllers=namespace-controller,garbage-collector-controller",
            "--leader-elect=false",
            "--secure-port=0",
        )

    def _run(self, *command: object) -> None:
        log = (self.folder / "log").open("ab")
        self.processes.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log))
        log.close()

    def _await(self, api: int, token: str) -> None:
        context = ssl._create_unverified_context()  # noqa: S323 - its certificate is made by itself
        asked = urllib.request.Request(
            f"https://127.0.0.1:{api}/api/v1/namespaces/kube-system",
            headers={"Authorization": f"Bearer {token}"},
        )
        until = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(asked, context=context, timeout=2):  # noqa: S310 - our own loopback server
                    return
            except OSError:
                assert time.monotonic() < until, (self.folder / "log").read_text()[-4000:]
                time.sleep(0.1)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def second(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Second]:
    """Give a second real API server; the first cluster has built its programs."""
    assert cluster.kubeconfig.exists()
    made = Second(tmp_path_factory.mktemp("second"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Pair:
    """A stack on two clusters."""

    def __init__(self, cluster: Cluster, second: Second, folder: Path, interpreter: Interpreter) -> None:
        self.cluster, self.second, self.interpreter = cluster, second, interpreter
        self.program, self.name = folder, f"two-{secrets.token_hex(4)}"
        self.record = f"demo.{self.name}"
        self.told: list[Event] = []
        (folder / "__main__.py").write_text(PROGRAM)
        self.config = {
            "demo:prefix": self.name,
            "demo:one-kubeconfig": str(cluster.kubeconfig),
            "demo:two-kubeconfig": str(second.kubeconfig),
        }

    def request(self, sites: dict[str, list[str]], **more: Any) -> RunRequest:
        config = {**self.config, "demo:sites": json.dumps(sites), **more.pop("config", {})}
        return RunRequest(self.program, "demo", self.name, config, **more)

    async def run(self, command: Callable[..., Any], sites: dict[str, list[str]], **more: Any) -> Report:
        request = self.request(sites, **more)
        report: Report = await command(request, interpreter=self.interpreter, on_event=self.told.append)
        return report

    def has(self, cluster: Cluster | Second) -> set[str]:
        """Name what a cluster has of the stack, its record and Lease included."""
        at = ["--kubeconfig", str(cluster.kubeconfig), "get", "configmaps,secrets,leases", "-A", "-o", "name"]
        names = (line.rpartition("/")[2] for line in self.cluster.kubectl(*at).split())
        return {name.rpartition(f"{self.name}-")[2] for name in names if self.name in name}


@pytest.fixture
def pair(
    cluster: Cluster,
    record_namespace: None,  # noqa: ARG001 - it only has to be there
    second: Second,
    tmp_path: Path,
    interpreter: Interpreter,
) -> Iterator[Pair]:
    made = Pair(cluster, second, tmp_path, interpreter)
    yield made
    for at in (cluster, second):
        delete = ["--kubeconfig", str(at.kubeconfig), "delete", "--ignore-not-found"]
        cluster.kubectl(*delete, "configmaps", *(f"{made.name}-{item}" for item in "abcd"))
        cluster.kubectl(*delete, "secrets,leases", made.record, "-n", "berth-system")


def fine(report: Report) -> Report:
    assert report.ok, render(report)
    return report


async def test_a_stack_lives_on_two_clusters_and_is_pruned_on_each(pair: Pair) -> None:
    planned = fine(await pair.run(preview, {"one": ["a", "b"], "two": ["a", "c"]}))
    assert planned.summary == {"create": 4}
    assert len({step.cluster for step in planned.changes}) == 2
    done = fine(await pair.run(up, {"one": ["a", "b"], "two": ["a", "c"]}))
    assert {(s.urn, s.op) for s in done.changes} == {(s.urn, s.op) for s in planned.changes}
    assert pair.has(pair.cluster) == {"a", "b", pair.record}
    assert pair.has(pair.second) == {"a", "c", pair.record}
    assert len(done.clusters) == 2
    created = [event.message for event in pair.told if event.kind == "started"]
    assert sum("on context 'second'" in message for message in created) == 2, (
        "several clusters are told apart"
    )
    assert fine(await pair.run(up, {"one": ["a", "b"], "two": ["a", "c"]})).changes == []

    pruned = fine(await pair.run(up, {"one": ["a", "b"], "two": ["c", "d"]}))
    assert {(s.name, s.op.value) for s in pruned.changes} == {("two-a", "delete"), ("two-d", "create")}
    assert pair.has(pair.cluster) == {"a", "b", pair.record}
    assert pair.has(pair.second) == {"c", "d", pair.record}
    request = pair.request({}, kubeconfigs=((str(pair.second.kubeconfig), None),))
    assert await outputs(request) == {"sites": ["one", "two"]}, "one cluster's record is enough to find both"

    removed = fine(await pair.run(down, {"one": [], "two": []}))
    assert removed.summary == {"delete": 4}
    assert pair.has(pair.cluster) == pair.has(pair.second) == set()


async def test_a_cluster_that_the_program_no_longer_names_is_emptied(pair: Pair) -> None:
    fine(await pair.run(up, {"one": ["a"], "two": ["b"]}))
    planned = fine(await pair.run(preview, {"one": ["a"]}))
    assert {(step.name, step.op.value) for step in planned.changes} == {("two-b", "delete")}
    fine(await pair.run(up, {"one": ["a"]}))
    assert pair.has(pair.second) == set()
    assert pair.has(pair.cluster) == {"a", pair.record}


async def test_nothing_is_changed_anywhere_where_one_cluster_cannot_be_reached(
    pair: Pair, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text(pair.second.kubeconfig.read_text().replace("127.0.0.1", "127.0.0.2"))
    config = {"demo:two-kubeconfig": str(broken)}
    report = await pair.run(up, {"one": ["a"], "two": ["b"]}, config=config)
    assert not report.ok
    assert "127.0.0.2" in report.errors[0].message
    assert pair.has(pair.cluster) == set()


async def test_two_contexts_of_one_cluster_are_one_cluster(pair: Pair, tmp_path: Path) -> None:
    document = yaml.safe_load(pair.cluster.kubeconfig.read_text())
    context = document["contexts"][0]
    document["contexts"] = [{**context, "name": "first"}, {**context, "name": "other"}]
    (tmp_path / "contexts").write_text(yaml.safe_dump(document))
    config = {f"demo:{site}-kubeconfig": str(tmp_path / "contexts") for site in ("one", "two")}
    config |= {"demo:one-context": "first", "demo:two-context": "other"}
    fine(await pair.run(up, {"one": ["a"], "two": ["b"]}, config=config))
    assert pair.has(pair.cluster) == {"a", "b", pair.record}
    pruned = fine(await pair.run(up, {"one": ["a"]}, config=config))
    assert pruned.summary == {"delete": 1, "same": 1}
    assert len(pruned.clusters) == 1
    assert pair.has(pair.cluster) == {"a", pair.record}


async def test_a_cluster_to_come_is_planned_beside_one_that_is_asked(pair: Pair) -> None:
    (pair.program / "__main__.py").write_text(
        PROGRAM
        + """
class Cloud(pulumi.CustomResource):
    kubeconfig: pulumi.Output[str]
    def __init__(self, name):
        super().__init__("aws:eks/cluster:Cluster", name, {"kubeconfig": None})

to_come = k8s.Provider("later", kubeconfig=Cloud("later").kubeconfig)
web = k8s.core.v1.Service("web", metadata={"name": "web", "namespace": "x"}, spec={"ports": [{"port": 80}]},
    opts=pulumi.ResourceOptions(provider=to_come))
pulumi.export("ip", pulumi.Output.concat("http://", web.spec.cluster_ip))
"""
    )
    report = fine(await pair.run(preview, {"one": ["a"], "two": ["b"]}))
    notes = {step.name: (step.note, bool(step.cluster)) for step in report.steps if step.custom}
    assert notes == {
        "later": ("planned without the provider", False),
        "web": ("planned without the cluster", False),
        "one-a": ("", True),
        "two-b": ("", True),
    }
    refused = await pair.run(up, {"one": ["a"], "two": ["b"]})
    assert [error.code for error in refused.errors] == ["refused"], render(refused)
    assert "aws:eks/cluster:Cluster 'later'" in refused.errors[0].message
    assert pair.has(pair.cluster) == pair.has(pair.second) == set()
