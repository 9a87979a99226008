"""The evaluator's own fixtures: its authors' list of what "restricted" means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth import judges

if TYPE_CHECKING:
    from pathlib import Path


def test_the_evaluator_agrees_with_its_own_fixtures(program: Path) -> None:
    fixtures = judges.fixtures(program)
    verdicts = judges.reference(program, [(one.name, one.metadata, one.spec) for one in fixtures])
    wrong = [
        one.name
        for one, verdict in zip(fixtures, verdicts, strict=True)
        if one.passes == bool(verdict.restricted)
    ]
    assert wrong == []
    assert sum(one.passes for one in fixtures) == 23
    assert len(fixtures) == 99
