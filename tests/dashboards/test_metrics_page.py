"""docs/metrics.md is made from what exports, records, shows and watches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from berth.cli.metrics_page import LESSON, page
from berth_serving.metric_table import ABSENT, TABLE

from tests.dashboards.promql import exported

if TYPE_CHECKING:
    from pathlib import Path

WANTED = {
    "System performance": {"GPU utilisation", "CPU utilisation", "Memory usage", "I/O wait times"},
    "Operational metrics": {"Request latency", "Throughput", "Error rates", "Queue length"},
    "Model metrics": {"Token throughput", "Perplexity", "Generation length", "Attention patterns"},
    "Business metrics": {"Cost per request", "User engagement", "Conversion rates"},
    "Safety metrics": {"Content policy violations", "User reports", "Safety filter activations"},
}


def test_the_page_is_what_is_there(root: Path) -> None:
    written = (root / "docs" / "metrics.md").read_text("utf-8")
    assert written == page(), "python -m berth.cli.metrics_page > docs/metrics.md"


def test_the_lessons_table_is_whole() -> None:
    assert {group: {name for name, _ in metrics} for group, metrics in LESSON} == WANTED
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()} | set(exported())
    for group, metrics in LESSON:
        for name, series in metrics:
            assert set(series) <= bare, f"{group}: {name}"
            assert series or name.lower() in ABSENT, "what has no series has a reason"


def test_everything_has_a_panel_and_every_link_leads_somewhere(root: Path) -> None:
    text = page()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")}
    for row in TABLE:
        cells = [cell.strip() for cell in rows[f"`{row.name}`"].split("|")]
        assert cells[6] != "-", f"{row.name} is on no panel"
    for link in set(re.findall(r"\]\(([^)]+)\)", text)):
        assert (root / "docs" / link).exists(), link
