"""The matrix of tests counts what is there, and says so where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from berth.judges import JudgeError
from berth.judges.casecounts import PER_RULE, WHOLE, count_cases
from berth_policy import pack

if TYPE_CHECKING:
    from pathlib import Path


def test_every_rule_is_in_a_group_and_cases_are_counted(root: Path) -> None:
    rules = {rule.name: rule.group for rule in pack.rules()}
    found = count_cases(root, rules)
    assert sum(row["rules"] for row in found.per_group.values()) == len(rules)
    for kind in PER_RULE:
        assert sum(row[kind] for row in found.per_group.values()) > 50, kind
    assert found.whole.keys() == WHOLE.keys()
    assert all(found.whole.values())
    assert found.tests > sum(row["bad"] for row in found.per_group.values())


def _tests(folder: Path, text: str) -> Path:
    (folder / "tests" / "policy").mkdir(parents=True)
    (folder / "tests" / "policy" / "test_rules.py").write_text(text)
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return folder


def test_a_test_that_is_gone_is_no_zero(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match=r"not there any more: .*test_one_change_trips_its_rule"):
        count_cases(_tests(tmp_path, "def test_other(): pass"), {"a": "b"})


def test_tests_that_do_not_load_are_said(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="cannot be counted"):
        count_cases(_tests(tmp_path, "import nonesuch"), {"a": "b"})
