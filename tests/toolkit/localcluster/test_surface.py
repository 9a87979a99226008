"""What others use, and what is said where a cluster cannot be."""

import inspect
import os
from pathlib import Path

import berth.localcluster as room
import pytest
from berth.localcluster import (
    Cluster,
    ClusterError,
    ClusterNameError,
    ClusterNotRunningError,
    MissingToolError,
    NotPossibleHereError,
    NotRootError,
    cgroups,
    errors,
)
from berth.localcluster import packages as packages_module
from berth.localcluster import preflight as preflight_function


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_CACHE", str(tmp_path / "cache"))


def test_the_public_surface() -> None:
    methods = {name for name, _ in inspect.getmembers(Cluster) if not name.startswith("_")}
    assert methods == {
        *("delete", "ensure_addon", "has_image", "images", "import_image", "kubeconfig", "kubectl"),
        *(
            "add_nodes",
            "kubectl_command",
            "lay_images_ready",
            "link",
            "links",
            "list",
            "log_files",
            "logs",
            "node_address",
            "nodes",
            "processes",
        ),
        *("remove_image", "remove_node", "server", "simulate_gpus", "start", "status", "stop", "unlink"),
    }
    assert all(hasattr(room, name) for name in room.__all__)


def test_every_error_is_a_cluster_error_and_is_drawn_in_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for name, error in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(error, ClusterError), name
        assert name in drawn, name


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a" * 41, "../x", "a b", "ä"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ClusterNameError, match="1 to 40 lower-case letters"):
        Cluster(name)


def test_the_cache_is_where_the_person_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert room.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("BERTH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert room.cache_folder() == tmp_path / "xdg" / "berth"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert room.cache_folder() == tmp_path / "home" / ".cache" / "berth"


def test_a_cluster_that_was_never_made() -> None:
    cluster = Cluster("absent")
    assert cluster.status().state == "absent"
    assert cluster.processes() == []
    assert Cluster.list() == []
    with pytest.raises(ClusterNotRunningError, match="cluster start --name absent"):
        _ = cluster.node_address
    with pytest.raises(ClusterError, match="never started"):
        cluster.logs("kubelet")


def test_looking_makes_nothing(tmp_path: Path) -> None:
    Cluster("absent").status()
    Cluster.list()
    findings = preflight_function()
    assert not (tmp_path / "cache").exists()
    assert {finding.name for finding in findings} == {
        "root", "machine", "tools", "cgroups", "memory", "space", "watchers", "go", "packages", "addresses",
    }  # fmt: skip
    assert all(finding.detail for finding in findings)
    assert all(finding.remedy and finding.cost for finding in findings if not finding.ok)


def test_who_is_not_root_is_told_before_anything_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for call in (Cluster("demo").start, Cluster("demo").stop, Cluster("demo").delete):
        with pytest.raises(NotRootError, match=r"sudo.*--context NAME"):
            call()
    assert not (tmp_path / "cache").exists()
    assert issubclass(NotRootError, NotPossibleHereError)


def test_missing_tools_are_named_with_what_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages_module, "environment", lambda: {"PATH": str(tmp_path)})
    assert {"iproute2", "iptables", "util-linux"} <= set(room.missing_tools())
    with pytest.raises(MissingToolError, match=r"apt-get install .*iproute2 iptables"):
        Cluster("demo").start()
    assert not (tmp_path / "cache").exists()


def test_a_missing_cgroup_controller_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "missing_controllers", lambda: ["memory"])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(NotPossibleHereError, match="cgroup controller memory"):
        Cluster("demo").start()


def test_a_damaged_record_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "clusters" / "demo" / "cluster.json"
    file.parent.mkdir(parents=True)
    for text, said in (
        ("{", "is damaged"),
        ('{"version": 99}', "of version 99"),
        ('{"version": 1}', "is damaged"),
    ):
        file.write_text(text)
        with pytest.raises(ClusterError, match=said):
            Cluster("demo").status()


@pytest.mark.parametrize("seconds", [0, -1])
def test_an_hpa_period_that_cannot_be(seconds: float) -> None:
    with pytest.raises(ValueError, match="want more than 0 seconds"):
        Cluster("demo", hpa_sync_seconds=seconds)


def test_an_unknown_addon_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'nonsense': want one of metrics-server"):
        Cluster("demo").ensure_addon("nonsense")
