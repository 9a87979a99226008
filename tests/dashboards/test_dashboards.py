"""Dashboards: every query is PromQL, every panel has words and a unit, and what is not deployed is said."""

from __future__ import annotations

import json
import re
from typing import Any

import promql_parser
import pytest
from berth_components.monitoring.dashboards import PAGES, VARIABLES, Dashboard, Panel, dashboards, uid
from berth_components.monitoring.facts import JOBS, Parts, Server
from berth_components.monitoring.objectives import Objectives

from tests.dashboards.promql import filled, series_in

SERVER = Server(site="home", model="chat", namespace="models", name="home-chat", engine="llama.cpp")
EVERYTHING = Parts(jobs=frozenset(JOBS))
OBJECTIVES = {"chat": Objectives(first_token_p95_seconds=1, first_token_p99_seconds=4)}
PANELS = [(page, panel) for page in PAGES for panel in page.panels]
IDS = [f"{page.name}: {panel.title}" for page, panel in PANELS]


def made(parts: Parts = EVERYTHING) -> dict[str, dict[str, Any]]:
    return dashboards([SERVER], OBJECTIVES, parts)


def test_there_is_a_page_for_each_question() -> None:
    assert list(made()) == [
        f"{name}.json"
        for name in (
            *("fleet", "environment", "model-server", "gpu-nodes"),
            *("autoscaling", "cost", "safety", "rollout", "sites"),
        )
    ]
    assert "sites.json" not in made(Parts(jobs=frozenset({"prometheus"}))), "there is no router"


@pytest.mark.parametrize(("page", "panel"), PANELS, ids=IDS)
def test_a_panel_says_what_it_shows(page: Dashboard, panel: Panel) -> None:
    assert panel.text.endswith("."), "a sentence"
    assert panel.unit
    assert set(panel.sources) <= set(JOBS)
    assert 1 <= panel.width <= 24
    # The gate says whether something is there that the words name.
    assert not panel.gate or panel.needs
    used = {name for query in panel.queries for name in re.findall(r"\$(\w+)", query.expr)}
    assert used - {"__rate_interval"} <= set(page.variables)
    for query in panel.queries:
        promql_parser.parse(filled(query.expr))
        assert series_in(query.expr), "it asks for something"
        assert query.legend
    if panel.gate:
        promql_parser.parse(panel.gate.replace("$site", ".*"))


def test_titles_are_told_apart() -> None:
    for page in PAGES:
        titles = [panel.title for panel in page.panels]
        assert len(set(titles)) == len(titles)


def test_what_is_not_deployed_is_said_where_the_panel_would_be() -> None:
    parts = Parts(jobs=frozenset({"prometheus"}), absent={"dcgm": "no image of it can be had here"})
    page = made(parts)["gpu-nodes.json"]
    panel = next(one for one in page["panels"] if one["title"] == "GPU temperature")
    assert panel["type"] == "text"
    assert "no image of it can be had here" in panel["options"]["content"]
    assert "dcgm" in panel["options"]["content"]
    assert "targets" not in panel
    places = {one["title"]: one["gridPos"] for one in made()["gpu-nodes.json"]["panels"]}
    assert places["GPU temperature"] == panel["gridPos"]


def test_thresholds_are_the_objectives() -> None:
    panels = {one["title"]: one for one in made()["model-server.json"]["panels"]}
    steps = panels["Time to first token"]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, 4]
    assert "slo_threshold" in panels["Time to first token"]["targets"][-1]["expr"]


def test_pages_lead_to_each_other_and_choose_the_same_servers() -> None:
    for name, page in made().items():
        assert page["uid"] == uid(name.removesuffix(".json"))
        [link] = page["links"]
        assert link["includeVars"]
        assert link["keepTime"]
        assert set(link["tags"]) <= set(page["tags"])
        variables = {one["name"]: one.get("query") for one in page["templating"]["list"]}
        assert variables.pop("datasource") == "prometheus"
        assert variables.items() <= VARIABLES.items()


def test_each_fits_a_config_map() -> None:
    assert max(len(json.dumps(page)) for page in made().values()) < 200_000
