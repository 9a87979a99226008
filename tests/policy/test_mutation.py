"""Every leaf of everything that shipped stacks plan, mutated: what weakens safety trips a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from berth_policy.testing import Given, given
from berth_policy.testing.score import WANTED, ExclusionsError, main, read_exclusions, score

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def scored(plans: dict[str, list[Given]], root: Path) -> Any:
    """The score of the shipped stacks."""
    return score(plans, read_exclusions(root / "policy" / "mutation-exclusions.yaml"))


@pytest.mark.timeout(1800)
def test_what_weakens_safety_trips_a_rule(scored: Any) -> None:
    print("\n".join(scored.lines()))  # noqa: T201 - the denominator is shown, also where it is enough
    assert scored.mutants == scored.tried + scored.excluded.total()
    assert scored.tried > 0
    assert scored.share >= WANTED, "\n".join(scored.lines())


@pytest.mark.timeout(1800)
def test_each_exclusion_is_needed(scored: Any) -> None:
    assert scored.unused == []


def test_an_exclusion_says_what_and_why(tmp_path: Path) -> None:
    file = tmp_path / "exclusions.yaml"
    file.write_text("- mutants: [{type: a, paths: [b], operations: [removed]}]\n")
    with pytest.raises(ExclusionsError, match="entry 1 lacks a reason"):
        read_exclusions(file)
    file.write_text("- {reason: r, mutants: [{type: a, paths: [b], operations: [burned]}]}\n")
    with pytest.raises(ExclusionsError, match="wanted: type, paths, and operations"):
        read_exclusions(file)
    file.write_text("- {reason: r, mutants: [{type: a, paths: [b], operations: [removed], why: x}]}\n")
    with pytest.raises(ExclusionsError, match="unknown why"):
        read_exclusions(file)


def test_what_is_excluded_is_counted_apart(tmp_path: Path) -> None:
    file = tmp_path / "exclusions.yaml"
    file.write_text(
        "- reason: a name\n"
        "  mutants: [{type: 'aws:*', paths: [name], operations: [removed, emptied, widened]}]\n"
        "- reason: never\n"
        "  mutants: [{type: 'gcp:*', paths: ['*'], operations: [removed]}]\n"
    )
    key = given("aws:kms/key:Key", "k", {"name": "n", "enableKeyRotation": True, "multiRegion": True})
    made = score({"one": [key]}, read_exclusions(file))
    assert made.mutants == 7
    assert made.excluded == {"a name": 3}
    assert made.killed == {"kms-rotation": 2}
    assert len(made.survivors) == 2
    assert "multiRegion flipped: True → False" in made.survivors[1]
    assert made.unused == ["gcp:* ('*',)"]
    assert made.to_json()["score"] == 0.5


def test_the_last_of_a_list_is_another_matter(tmp_path: Path) -> None:
    file = tmp_path / "exclusions.yaml"
    file.write_text(
        "- reason: one peer fewer\n"
        "  mutants: [{type: '*', paths: ['ingress.#.from.#'], operations: [removed], rest: true}]\n"
        "- reason: not asked here\n"
        "  mutants: [{type: '*', paths: ['*'], operations: [emptied, widened]}]\n"
    )
    policy = given("a:b:C", "p", {"ingress": [{"from": [{"a": ""}, {"b": ""}]}, {"from": [{"c": ""}]}]})
    made = score({"one": [policy]}, read_exclusions(file), rules=[])
    assert made.excluded["one peer fewer"] == 2
    assert "a:b:C p: ingress[1].from[0] removed" in [one.removeprefix("one: ") for one in made.survivors]


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "preview.json"
    file.write_text("{}")
    exclusions = tmp_path / "none.yaml"
    exclusions.write_text("[]\n")
    assert main([str(file), "--exclusions", str(exclusions)]) == 2
    assert "wanted: the output of berth preview --json" in capsys.readouterr().err
    file.write_text('{"steps": []}')
    assert main([str(file), "--exclusions", str(exclusions), "--json"]) == 0
    assert '"tried": 0' in capsys.readouterr().out
