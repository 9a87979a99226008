"""Healing what was killed, stopping, several clusters at once, and leaving nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from berth.localcluster import AddressesTakenError, Cluster, ClusterNotRunningError
from berth.localcluster import config as config_module
from berth.localcluster.cgroups import hierarchies
from berth.localcluster.health import dns_problem
from berth.localcluster.paths import ClusterPaths
from berth.localcluster.processes import all_pids, arguments, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster

PROGRAMS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "berth-provisioner",
    "containerd", "kubelet", "kube-proxy",
)  # fmt: skip


def pids(cluster: Cluster) -> dict[str, int]:
    return {process.program: process.pid for process in cluster.processes()}


def heads(cluster: Cluster) -> list[int]:
    """The pids of the units' heads."""
    scripts = {str(file) for file in cluster.paths.units.glob("*.sh")}
    return [
        pid
        for pid in all_pids()
        if (words := arguments(pid)) and words[0] == "unshare" and words[-1] in scripts
    ]


def assert_works(cluster: Cluster) -> None:
    status = cluster.status()
    assert (status.state, status.problems) == ("running", ())
    assert set(pids(cluster)) == set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_start_heals_a_killed_program(own: Cluster, program: str) -> None:
    killed = pids(own)[program]
    os.kill(killed, signal.SIGKILL)
    own.start()
    assert_works(own)
    assert pids(own)[program] != killed


@pytest.mark.parametrize("unit", ["control-plane", "node1"])
def test_start_heals_a_killed_unit(own: Cluster, unit: str) -> None:
    for pid in heads(own):
        if arguments(pid)[-1].endswith(f"/{unit}.sh"):
            os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: len(heads(own)) == 1, 5)
    assert own.status().state == "broken"
    own.start()
    assert_works(own)


def test_start_heals_a_cluster_that_lost_everything(own: Cluster) -> None:
    own.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    for pid in [*pids(own).values(), *heads(own)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not heads(own), 5)
    assert own.status().state == "stopped"
    with pytest.raises(ClusterNotRunningError, match="cluster start"):
        own.images()
    own.start()
    assert_works(own)
    assert own.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"


def test_start_heals_a_lost_cable_and_a_lost_bridge(own: Cluster) -> None:
    plan = config_module.Config.read(own.paths).plan  # type: ignore[union-attr]
    subprocess.run(["ip", "link", "delete", plan.node(1, own.name).veth], check=True)
    own.start()
    assert_works(own)
    subprocess.run(["ip", "link", "delete", plan.bridge], check=True)
    own.start()
    assert_works(own)


def test_start_changes_nothing_where_all_is_well(own: Cluster) -> None:
    before = pids(own)
    own.start()
    assert pids(own) == before


def test_stop_keeps_the_data_and_start_brings_new_settings(own: Cluster) -> None:
    own.kubectl("create", "configmap", "before-stop", "--from-literal=a=b")
    own.simulate_gpus(3)
    own.stop()
    assert own.status().state == "stopped"
    assert leftovers(own) == []
    other = Cluster(own.name, hpa_sync_seconds=1)
    other.start()
    assert_works(own)
    assert own.kubectl("get", "configmap", "before-stop", "-o", "jsonpath={.data.a}") == "b"
    assert "--horizontal-pod-autoscaler-sync-period=1s" in arguments(pids(own)["kube-controller-manager"])
    assert own.status().hpa_sync_seconds == 1
    own.start()  # without the setting it keeps what it has
    assert own.status().hpa_sync_seconds == 1
    capacity = own.kubectl(
        "get", "node", f"{own.name}-1", "-o", r"jsonpath={.status.allocatable.nvidia\.com/gpu}"
    )
    assert capacity == "3"
    own.simulate_gpus(0)  # the next file's pods are to find none


def leftovers(cluster: Cluster) -> list[str]:
    """Whatever of a cluster is on this machine outside of its folder, looked for by name and by address."""
    slot = _slot_of[cluster.name]
    found = [
        f"process {pid}: {arguments(pid)}"
        for pid in all_pids()
        if str(cluster.paths.root) in " ".join(arguments(pid))
    ]
    texts = {
        "mount": Path("/proc/mounts").read_text(),
        "link": subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout,
        "route": subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout,
        "rule": subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout,
    }
    marks = (f"berth{slot}", f"BERTH-{slot}", f"/run/berth/cluster{slot}", str(cluster.paths.root))
    for kind, text in texts.items():
        found += [f"{kind}: {line}" for line in text.splitlines() if any(mark in line for mark in marks)]
    found += [f"cgroup {path}" for root in hierarchies() for path in root.glob(f"berth{slot}-*")]
    if (folder := Path(f"/run/berth/cluster{slot}")).exists():
        found.append(str(folder))
    return found


_slot_of: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _remember_slots() -> None:
    for cluster in Cluster.list():
        _slot_of[cluster.name] = json.loads(cluster.paths.config.read_text())["slot"]


@pytest.fixture
def second() -> Iterator[Cluster]:
    cluster = Cluster("localcluster-tests-2")
    cluster.delete()
    yield cluster
    cluster.delete()


def test_two_clusters_side_by_side_and_one_deleted_after_every_process_was_killed(
    own: Cluster, second: Cluster
) -> None:
    before = pids(own)
    second.start()
    _slot_of[second.name] = json.loads(second.paths.config.read_text())["slot"]
    assert_works(second)
    assert_works(own)
    assert second.server != own.server
    names = json.loads(second.kubectl("get", "nodes", "-o", "json"))["items"]
    assert [node["metadata"]["name"] for node in names] == ["localcluster-tests-2-1"]
    plan = config_module.Config.read(own.paths).plan  # type: ignore[union-attr]
    assert dns_problem(plan) is None
    assert leftovers(second)
    for pid in [*pids(second).values(), *heads(second)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    second.delete()
    assert leftovers(second) == []
    assert not second.paths.root.exists()
    assert not second.paths.lock.exists()
    assert second.status().state == "absent"
    assert pids(own) == before


@pytest.mark.parametrize("milliseconds", [50, 400, 1500, 3000])
def test_a_start_that_is_killed_anywhere_can_be_deleted(second: Cluster, milliseconds: int) -> None:
    program = f"from berth.localcluster import Cluster; Cluster({second.name!r}).start()"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        # Time is the input here, not a wait: the kill comes at some moment of the start.
        assert wait_until(second.paths.config.exists, 30)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(milliseconds / 1000)
        process.kill()
    _slot_of[second.name] = json.loads(second.paths.config.read_text())["slot"]
    second.delete()
    assert leftovers(second) == []
    assert not second.paths.root.exists()


def test_a_cluster_whose_folder_was_removed_by_hand_can_be_deleted(second: Cluster) -> None:
    second.start()
    running = [process.pid for process in second.processes()]
    assert running
    shutil.rmtree(second.paths.root, ignore_errors=True)
    second.delete()
    assert not set(running) & set(all_pids())


def test_two_deletes_are_as_good_as_one(second: Cluster) -> None:
    second.delete()
    assert not second.paths.root.exists()


def test_a_slot_that_somebody_else_has_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {path.name for path in Path("/run/berth").glob("cluster*")}
    monkeypatch.setenv("BERTH_CACHE", str(tmp_path))
    paths = ClusterPaths.of("stranger")
    try:
        chosen = config_module.choose(paths, config_module.Config(slot=0))
        assert f"cluster{chosen.slot}" not in taken
        assert config_module.Config.read(paths) == chosen
    finally:
        Cluster("stranger").delete()
    assert {path.name for path in Path("/run/berth").glob("cluster*")} >= taken


def test_a_route_into_every_part_of_the_range_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTH_CACHE", str(tmp_path))
    monkeypatch.setattr(config_module, "foreign_routes", lambda: ["default", "198.18.0.0/15"])
    with pytest.raises(AddressesTakenError, match=r"this machine's route to 198\.18\.0\.0/15"):
        config_module.choose(ClusterPaths.of("stranger"), config_module.Config(slot=0))
    assert not (tmp_path / "clusters" / "stranger").exists()
