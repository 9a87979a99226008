"""Faults of nodes without a cluster: what a quota becomes, and what is said where there is no such node."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from berth.localcluster import ClusterNotRunningError, NodeFaults
from berth.localcluster.faults import _less

if TYPE_CHECKING:
    from pathlib import Path


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="cgroups need root")


@pytest.mark.parametrize(
    ("said", "share", "less"),
    [
        ("50000", 0.1, "5000"),
        ("5000", 0.1, "1000"),  # the kernel takes no less
        ("200000 50000", 0.5, "100000 50000"),
        ("-1", 0.1, str((os.cpu_count() or 1) * 10_000)),
        ("max 100000", 0.1, f"{(os.cpu_count() or 1) * 10_000} 100000"),
    ],
)
def test_a_quota_of_a_part(said: str, share: float, less: str) -> None:
    assert _less(said, share) == less


@needs_root
def test_quotas_are_written_and_restored(tmp_path: Path) -> None:
    file, gone = tmp_path / "cpu.cfs_quota_us", tmp_path / "gone" / "cpu.cfs_quota_us"
    file.write_text("40000")
    faults = NodeFaults("there-is-none")
    faults.slow({str(file): "40000", str(gone): "40000"}, 0.1)
    assert file.read_text() == "4000"
    faults.restore({str(file): "40000", str(gone): "40000"})
    assert file.read_text() == "40000"


@needs_root
def test_without_a_cluster_nothing_is_lost_and_nothing_left_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTH_CACHE", str(tmp_path))
    with pytest.raises(ClusterNotRunningError, match="there is no cluster 'there-is-none'"):
        NodeFaults("there-is-none").lose(["there-is-none-2"])
    NodeFaults("there-is-none").recover(["there-is-none-2"])
