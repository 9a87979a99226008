"""The limit of watchers is raised while a cluster is there, and given back with the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from berth.localcluster import watchers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A limit and a folder of this test's own: the machine's belong to its clusters."""
    file = tmp_path / "max_user_instances"
    file.write_text("128\n")
    monkeypatch.setattr(watchers, "LIMIT", file)
    monkeypatch.setattr(watchers, "RUN", tmp_path / "run")
    monkeypatch.setattr(watchers, "_WAS", tmp_path / "run" / "were")
    return file


def test_it_is_raised_once_and_given_back(limit: Path) -> None:
    watchers.ensure()
    watchers.ensure()
    assert watchers.instances() == watchers.ENOUGH
    watchers.give_back()
    assert limit.read_text() == "128\n"
    watchers.give_back()
    assert limit.read_text() == "128\n"


def test_a_higher_one_is_left_alone(limit: Path) -> None:
    limit.write_text("8192\n")
    watchers.ensure()
    watchers.give_back()
    assert limit.read_text() == "8192\n"


def test_what_somebody_set_meanwhile_stays(limit: Path) -> None:
    watchers.ensure()
    limit.write_text("4096\n")
    watchers.give_back()
    assert limit.read_text() == "4096\n"


def test_a_kernel_that_does_not_say_is_left_alone(limit: Path) -> None:
    limit.unlink()
    watchers.ensure()
    assert watchers.instances() is None
    assert not limit.exists()
