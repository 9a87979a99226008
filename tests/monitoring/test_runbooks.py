"""Every alert has a page that helps, and every page an alert."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.monitoring.promtool import groups
from tests.monitoring.runbooks import FOLDER, INDEX, SECTIONS, blocks, pages

ALERTS = {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    assert set(pages()) == set(ALERTS)


def test_alerts_lead_to_their_pages() -> None:
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["labels"]["owner"] == "platform"


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_a_page_says_what_a_person_needs_at_three_in_the_night(name: str) -> None:
    text = pages()[name]
    assert text.startswith(f"# {name}\n")
    places = [text.find(section) for section in SECTIONS]
    assert -1 not in places
    assert places == sorted(places)
    assert "```sh" in text, "something to look at"
    assert len(text.splitlines()) < 80, "short"


def test_the_index_lists_every_page_once_and_links_lead_somewhere() -> None:
    index = (FOLDER / INDEX).read_text()
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| ([a-z, ]+) \|", index, flags=re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(ALERTS)
    severities: dict[str, set[str]] = {}
    for group in groups():
        for rule in (one for one in group["rules"] if "alert" in one):
            severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    assert {name: set(words.split(", ")) for name, _, words in rows} == severities
    for text in [index, *pages().values()]:
        for target in re.findall(r"\]\(([^)]+)\)", text):
            assert (FOLDER / target).is_file(), target


def test_commands_are_shell_and_those_not_run_say_why() -> None:
    found = blocks()
    for block in found:
        done = subprocess.run(
            ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{block.page}: {block.text}"
    run = [block for block in found if not block.why]
    assert len(run) > len(found) / 2, "most commands are run"
