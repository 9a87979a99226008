"""docs/policies.md is made from the rules, and the examples on policy-testing.md run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from berth_policy import document, pack
from berth_policy.rule import ENVIRONMENTS

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_page_is_what_the_rules_say(root: Path) -> None:
    written = (root / "docs" / "policies.md").read_text("utf-8")
    assert written == document.write(document.page()), "python -m berth_policy.document > docs/policies.md"


def test_every_rule_has_a_name_words_and_levels_of_its_own() -> None:
    rules = pack.rules()
    names = [rule.name for rule in rules]
    assert len(set(names)) == len(names)
    for rule in rules:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name), rule.name
        assert rule.group in document.TITLES, rule.name
        assert rule.title.endswith("."), rule.name
        assert rule.why.endswith("."), rule.name
        assert rule.fix.endswith("."), rule.name
        assert set(rule.levels) == set(ENVIRONMENTS)
        # What an environment allows, a stricter one may forbid, never the other way round.
        strict = ["disabled", "advisory", "mandatory"]
        levels = [strict.index(rule.levels[one]) for one in ENVIRONMENTS]
        assert levels == sorted(levels), rule.name
        advisory = set(rule.levels.values()) == {"advisory"}
        assert rule.name.startswith("open-") <= advisory, rule.name


def test_the_examples_run(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (root / "docs" / "policy-testing.md").read_text("utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    pack_of_the_page, tests = examples
    (tmp_path / "__main__.py").write_text(pack_of_the_page)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(tests, "docs/policy-testing.md", "exec"), names)  # noqa: S102 - our own page, which says so
    ran = [run() for name, run in names.items() if name.startswith("test_") and callable(run)]
    assert len(ran) == 4
