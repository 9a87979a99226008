"""Dashboards name only what deployed parts export or rules record, with labels that it carries."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.operations.load.recording import Recorder
from berth_catalogue.engines import engines
from berth_catalogue.exporters import exporters
from berth_components.monitoring import facts
from berth_components.monitoring.dashboards import PAGES, Dashboard, Panel, dashboards
from berth_components.monitoring.facts import JOBS, Parts, Server
from berth_components.monitoring.objectives import Objectives
from berth_components.monitoring.rules import rule_groups
from berth_components.monitoring.scraping import kept
from berth_images.programs import programs
from berth_serving.metric_table import TABLE

from tests.dashboards.promql import UnknownNameError, check, exported, filled, series_in, with_rules

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STATED = Objectives(
    first_token_p95_seconds=1,
    queue_wait_seconds=1,
    safety=0.99,
    cost_per_request_dollars=1,
    cost_per_day_dollars=100,
)
PANELS = [(page, panel) for page in PAGES for panel in page.panels]
IDS = [f"{page.name}: {panel.title}" for page, panel in PANELS]


def server(engine: str, *, everything: bool = True) -> Server:
    return Server(
        site="home",
        model=engine,
        namespace="models",
        name="chat",
        engine=engine,
        max_replicas=3 if everything else 1,
        by_queue=everything,
        gpus=int(everything),
        spot=everything,
        priced=everything,
        filtered=everything,
        refusals=everything,
        tls=everything,
    )


def known(jobs: frozenset[str], servers: list[Server]) -> dict[str, frozenset[str]]:
    """What there is to name where these are deployed."""
    stated = {one.model: STATED for one in servers}
    return with_rules(exported(jobs), rule_groups(servers, stated, Parts(jobs=jobs)))


ALL_SERVERS = [server(name) for name in engines()]


@pytest.fixture(scope="module")
def everything() -> dict[str, frozenset[str]]:
    return known(frozenset(JOBS), ALL_SERVERS)


@pytest.mark.parametrize(("page", "panel"), PANELS, ids=IDS)
def test_a_query_names_only_what_there_is(
    page: Dashboard, panel: Panel, everything: dict[str, frozenset[str]]
) -> None:
    del page
    for query in panel.queries:
        labels = check(query.expr, everything)
        assert set(re.findall(r"\{\{\s*(\w+)\s*\}\}", query.legend)) <= labels
    if panel.gate:
        check(panel.gate, everything)


LOCAL = frozenset({facts.GATEWAY, facts.PROMETHEUS, facts.ALERTMANAGER, facts.NODE})


@pytest.mark.parametrize("jobs", [frozenset(), LOCAL, frozenset(JOBS)], ids=["gateway", "local", "all"])
@pytest.mark.parametrize("everything_on", [False, True], ids=["plain", "with everything"])
def test_what_is_shown_can_have_data(jobs: frozenset[str], everything_on: bool) -> None:
    """A panel that is drawn names nothing that is not deployed; the others are texts."""
    servers = [server("llama.cpp", everything=everything_on)]
    there = known(jobs | {facts.GATEWAY}, servers)
    pages = dashboards(servers, {"llama.cpp": STATED}, Parts(jobs=jobs))
    drawn = 0
    for page in pages.values():
        for panel in page["panels"]:
            for target in panel.get("targets") or []:
                drawn += 1
                names = {name for name in series_in(target["expr"]) if not _of_any_engine(name)}
                assert names <= set(there), f"{page['title']}: {panel['title']}"
    assert drawn > 80


def _of_any_engine(name: str) -> bool:
    # One panel asks for the same figure under the name of each engine.
    return name in {metric for one in engines().values() for metric in one.metrics.values()}


def _closure(expr: str, rules: list[dict[str, Any]]) -> set[str]:
    """Series of an expression, and of what recorded ones among them are recorded from."""
    found: set[str] = set()
    left = series_in(expr)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left |= {one for rule in rules if rule["record"] == name for one in series_in(rule["expr"])}
    return found


def test_every_metric_of_the_five_groups_has_a_panel() -> None:
    groups = rule_groups(ALL_SERVERS, {one.model: STATED for one in ALL_SERVERS}, Parts(jobs=frozenset(JOBS)))
    rules = [rule for group in groups for rule in group["rules"] if "record" in rule]
    shown = set().union(*(_closure(query.expr, rules) for _, one in PANELS for query in one.queries))
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} | shown
    assert {row.name for row in TABLE} - bare == set()


@pytest.mark.parametrize(
    "job",
    [
        *(facts.GATEWAY, facts.NODE, facts.DCGM, facts.KUBE_STATE, facts.CADVISOR),
        *(facts.ROUTER, facts.TELLER, facts.WAITING, facts.HYBRID),
    ],
)
def test_without_an_exporter_its_panels_fail(job: str, everything: dict[str, frozenset[str]]) -> None:
    left = exported(frozenset(JOBS) - {job})
    gone = {name for name in exported() if name not in left}
    assert gone
    without = {name: labels for name, labels in everything.items() if name not in gone}
    failed = [panel for _, panel in PANELS if not _all_known(panel, without)]
    assert failed
    assert all(job in panel.sources for panel in failed if series_in(panel.queries[0].expr) & gone)


def _all_known(panel: Panel, there: Mapping[str, frozenset[str]]) -> bool:
    try:
        for query in panel.queries:
            check(query.expr, there)
    except UnknownNameError:
        return False
    return True


def test_without_a_metric_or_a_label_a_panel_fails(everything: dict[str, frozenset[str]]) -> None:
    """Whatever series a panel names, and whatever label it groups by or matches: its loss is seen."""
    used = set().union(*(series_in(query.expr) for _, panel in PANELS for query in panel.queries))
    assert len(used) > 80
    for name in used:
        without = {key: labels for key, labels in everything.items() if key != name}
        assert not all(_all_known(panel, without) for _, panel in PANELS), name
        bare = {**everything, name: everything[name] - {"site"}}
        seen = [panel for _, panel in PANELS if not _all_known(panel, bare)]
        asks_for_site = any(
            re.search(rf"{re.escape(name)}\{{[^}}]*site", query.expr)
            for _, panel in PANELS
            for query in panel.queries
        )
        assert bool(seen) or not asks_for_site, name


def test_prometheus_itself_takes_every_query(tmp_path: Path) -> None:
    """By promtool of the release that the image carries: as rules, which it checks one by one."""
    queries = [query.expr for _, panel in PANELS for query in panel.queries]
    queries += [panel.gate for _, panel in PANELS if panel.gate]
    rules = [{"record": f"panel:{number}", "expr": filled(expr)} for number, expr in enumerate(queries)]
    assert len(rules) > 150
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [programs() / "promtool", "check", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_a_load_pushes_what_its_file_says() -> None:
    told = exporters()["load"].metrics
    recorder = Recorder("steady", {"site": "s", "namespace": "n", "model": "m"}, lambda: 0)
    pushed = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in recorder._registry.collect()
    }
    assert {name: family.type for name, family in pushed.items()} == {
        name: one.type for name, one in told.items()
    }
    everywhere = set(recorder._labels) - {"job"}
    assert all(everywhere <= set(one.labels) for one in told.values())


def test_what_is_thrown_away_on_the_way_is_named_nowhere() -> None:
    """Of the kubelets' thousands of series Prometheus keeps some; what is asked for is among them."""
    for job in (facts.CADVISOR, facts.KUBELET):
        named = {
            name: one
            for file in exporters().values()
            if file.job == job
            for name, one in file.metrics.items()
        }
        assert named
        assert named.keys() <= set(kept(job))
        # They are kept by their whole names, and a histogram's series have suffixes.
        assert {one.type for one in named.values()} <= {"counter", "gauge"}
    assert "envoy_http_downstream_rq_time_bucket" in kept(facts.ROUTER)
    assert "envoy_http_downstream_rq_time" not in kept(facts.ROUTER)


def test_the_checks_own_errors() -> None:
    there = {"a": frozenset({"site"}), "b_total": frozenset({"site", "code"})}
    assert check('sum by (site) (rate(b_total{code="1"}[5m]))', there) == {"site"}
    for wrong in (
        "c",
        'a{code="1"}',
        "sum by (code) (a)",
        "a / on (code) b_total",
        "a * on (site) group_left (pod) b_total",
        "a / b_total",
        "sum by (code) (sum by (site) (b_total))",
    ):
        with pytest.raises(UnknownNameError):
            check(wrong, there)
