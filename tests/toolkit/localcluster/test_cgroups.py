from pathlib import Path

import pytest
from berth.localcluster import cgroups
from berth.localcluster.cgroups import ensure, hierarchies, missing_controllers, version


def _v2(root: Path) -> Path:
    """A folder that looks like a unified hierarchy whose controllers are all off."""
    (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (root / "cgroup.subtree_control").write_text("")
    return root


def _v1(root: Path) -> Path:
    for name in ("cpu,cpuacct", "cpuset", "memory", "pids"):
        (root / name).mkdir()
        (root / name / "tasks").touch()
    (root / "cpu").symlink_to("cpu,cpuacct")
    (root / "cpuacct").symlink_to("cpu,cpuacct")
    (root / "unified").mkdir()
    for file, text in (("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")):
        (root / "cpuset" / file).write_text(text)
    return root


def test_every_v1_hierarchy_counts_once(tmp_path: Path) -> None:
    root = _v1(tmp_path)
    assert version(root) == 1
    assert [path.name for path in hierarchies(root)] == ["cpu,cpuacct", "cpuset", "memory", "pids"]
    assert missing_controllers(root) == []


def test_v1_group_is_made_in_every_hierarchy(tmp_path: Path) -> None:
    root = _v1(tmp_path)
    (root / "cpuset" / "demo").mkdir()
    for file in ("cpuset.cpus", "cpuset.mems"):
        (root / "cpuset" / "demo" / file).write_text("\n")  # as the kernel makes them
    ensure("demo", root)
    assert all((path / "demo").is_dir() for path in hierarchies(root))
    assert (root / "cpuset" / "demo" / "cpuset.cpus").read_text() == "0-1\n"


def test_v2_is_told_apart_and_lacks_are_named(tmp_path: Path) -> None:
    root = _v2(tmp_path)
    assert version(root) == 2
    assert hierarchies(root) == [root]
    assert missing_controllers(root) == []
    (root / "cgroup.controllers").write_text("cpu io\n")
    assert missing_controllers(root) == ["cpuset", "memory", "pids"]


def test_removing_a_group_that_is_not_there_is_no_error() -> None:
    cgroups.remove("berth-test-absent")


@pytest.mark.cluster
def test_a_real_group_is_made_and_removed_with_all_below_it() -> None:
    name = "berth-test-cgroup"
    ensure(name)
    groups = [path / name for path in hierarchies()]
    assert groups
    for group in groups:
        (group / "pod" / "container").mkdir(parents=True)
    cgroups.remove(name)
    assert not any(group.exists() for group in groups)
