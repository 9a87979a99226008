"""How well our own rules are tried: the cases of their tests, counted where pytest finds them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import JudgeFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# What each of these tests tries. One that is not found any more is an error: no count is silently 0.
PER_RULE = {
    "bad": (
        "test_rules.py::test_one_change_trips_its_rule",
        "test_clouds.py::test_what_is_bad_trips_its_rule",
    ),
    "unknown": (
        "test_rules.py::test_a_value_that_it_needs_and_nobody_knows_is_no_pass",
        "test_clouds.py::test_what_a_preview_does_not_know_is_no_pass",
    ),
}
WHOLE = {
    "bad programs, each with exactly its rules": ("test_bad_programs.py::test_it_breaks_exactly_its_rules"),
    "makers of pods (controllers, lists, others' kinds) that are seen": (
        "test_rules.py::test_pods_are_found_in_whatever_makes_them"
    ),
    "unknown values that no rule needs, which stop none": (
        "test_rules.py::test_a_value_that_no_rule_needs_stops_none"
    ),
    "wrong files of exceptions": "test_pack.py::test_a_wrong_file_of_exceptions_is_refused_by_name",
}


@dataclass(frozen=True)
class Cases:
    """The matrix of tests."""

    tests: int
    """All tests of the policies."""
    per_group: Mapping[str, Mapping[str, int]]
    """By group: `rules`, `bad`, `unknown`, and `whole`, the rules that only tests of whole programs try."""
    whole: Mapping[str, int]
    """Cases that concern many rules at once, by what they are."""


def count_cases(root: Path, rules: Mapping[str, str]) -> Cases:
    """Count the cases of ``rules`` (name → group) in the tests of the checkout at ``root``.

    Raises:
        JudgeFailedError: pytest could not collect them, or a test that is counted is not there any more.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/policy"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    found = re.findall(r"^tests/policy/([^\s\[]+)(?:\[(.*)\])?$", done.stdout, flags=re.MULTILINE)
    if done.returncode or not found:
        raise JudgeFailedError(
            f"the tests of the policies cannot be counted: {done.stdout[-500:]}{done.stderr[-500:]}"
        )
    counted = Counter(test for test, _ in found)
    wanted = [*(test for tests in PER_RULE.values() for test in tests), *WHOLE.values()]
    if gone := [test for test in wanted if not counted[test]]:
        raise JudgeFailedError(f"tests that are counted are not there any more: {', '.join(gone)}")
    cases: dict[str, Counter[str]] = {kind: Counter() for kind in PER_RULE}
    for test, case in found:
        for kind, tests in PER_RULE.items():
            if test in tests:
                cases[kind][_rule(case, rules)] += 1
    per_group = {}
    for group in dict.fromkeys(rules.values()):
        names = [name for name, its in rules.items() if its == group]
        per_group[group] = {
            "rules": len(names),
            **{kind: sum(cases[kind][name] for name in names) for kind in PER_RULE},
            "whole": sum(1 for name in names if not cases["bad"][name]),
        }
    return Cases(len(found), per_group, {text: counted[test] for text, test in WHOLE.items()})


def _rule(case: str, rules: Mapping[str, str]) -> str:
    name = re.match(r"[a-z0-9-]*", case)
    found = name[0].rstrip("-") if name else ""
    while found and found not in rules:
        found = found.rpartition("-")[0]
    if not found:
        raise JudgeFailedError(f"the case {case!r} of tests/policy does not begin with the name of a rule")
    return found
