"""Settings from variables, and the CPU limit from cgroups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from berth_serving.engines.cpu import cpu_limit, threads
from berth_serving.environment import SettingsError
from berth_serving.settings import GatewaySettings

if TYPE_CHECKING:
    from pathlib import Path


def test_defaults_hold_together() -> None:
    settings = GatewaySettings.from_environment({})
    assert settings.max_concurrent_requests == 128
    assert settings.max_input_tokens == settings.max_total_tokens - 1
    assert settings.host == "127.0.0.1"


def test_every_fault_is_told_at_once() -> None:
    wrong = {
        "BERTH_PORT": "80000",
        "BERTH_QUEUE_TIMEOUT_SECONDS": "soon",
        "BERTH_ALLOW_ANONYMOUS": "yes",
        "BERTH_ENGINE": "magic",
        "BERTH_ENGINE_DEVICE": "abacus",
        "BERTH_ENGINE_URL": "http://10.0.0.1:8001",
        "BERTH_ENGINE_SLOTS": "8",
        "MAX_CONCURRENT_REQUESTS": "4",
        "MAX_TOTAL_TOKENS": "100",
        "MAX_INPUT_TOKENS": "100",
        "BERTH_DRAIN_SECONDS": "nan",
    }
    with pytest.raises(SettingsError) as caught:
        GatewaySettings.from_environment(wrong)
    lines = str(caught.value).splitlines()
    for name in wrong.keys() - {"BERTH_ENGINE_SLOTS", "MAX_TOTAL_TOKENS"}:
        assert any(line.startswith(f"{name}=") for line in lines), name


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_no_quota_is_the_affinity(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path, affinity=6) == 6
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}
    assert cpu_limit(tree(tmp_path, files), affinity=6) == 6


def test_version_2_takes_the_smallest_quota_on_the_way_up(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/kubepods/pod1/container\n",
        "sys/fs/cgroup/kubepods/cpu.max": "400000 100000\n",
        "sys/fs/cgroup/kubepods/pod1/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/kubepods/pod1/container/cpu.max": "max 100000\n",
    }
    assert cpu_limit(tree(tmp_path, files), affinity=8) == 1.5


def test_version_1_inside_a_container_sees_its_own_mount(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:cpu,cpuacct:/kubepods/pod1/abc\n2:memory:/x\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    assert cpu_limit(tree(tmp_path, files), affinity=8) == 2.5


def test_version_1_unlimited(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "1:cpu:/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert cpu_limit(tree(tmp_path, files), affinity=3) == 3


def test_threads_are_whole_cpus_and_never_all_of_the_machine() -> None:
    assert [threads(limit, 8) for limit in (0.25, 1, 1.9, 2, 8)] == [1, 1, 1, 2, 7]
    assert threads(2, 2) == 1
    assert threads(1, 1) == 1
