"""Every series that a rule names is exported by something, with the labels that the rule asks for."""

from __future__ import annotations

import re
from typing import Any

import pytest
from berth_agents.metrics_adapter.metrics import AdapterMetrics
from berth_catalogue.engines import engines
from berth_catalogue.exporters import exporters
from berth_components.monitoring import objectives
from berth_components.monitoring.facts import (
    ADAPTER,
    COLLECTOR,
    GRAFANA,
    HYBRID,
    JOBS,
    ROUTER,
    TELLER,
    WAITING,
    Parts,
)
from berth_components.monitoring.rules import rule_groups, unwatched
from berth_serving.metric_table import BY_NAME, HISTOGRAM, TABLE
from berth_serving.metrics import OUTCOMES

from tests.monitoring.promtool import CHAT, EVERYTHING, NIGHT, STATED, groups

SCRAPED = {"up"}
SERVER = {"site", "namespace", "model", "variant", "router", "pod", "job", "instance"}
EVERYWHERE = {"site", "job", "instance", "node"}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_WORDS = frozenset(
    [
        "and",
        "or",
        "unless",
        "on",
        "ignoring",
        "group_left",
        "by",
        "without",
        "bool",
        "offset",
        "sum",
        "max",
        "min",
        "count",
        "avg",
        "rate",
        "increase",
        "absent",
        "changes",
        "abs",
        "floor",
        "sqrt",
        "clamp_min",
        "time",
        "vector",
        "label_replace",
        "histogram_quantile",
        "predict_linear",
        "sum_over_time",
        "avg_over_time",
        "min_over_time",
        "Inf",
    ]
)


def exported() -> dict[str, set[str]]:
    """Every series that something can export, with its labels."""
    found: dict[str, set[str]] = {}
    for row in TABLE:
        own = {f"exported_{one}" if one in SERVER else one for one in row.labels} | SERVER
        if row.kind == HISTOGRAM:
            found |= {
                f"{row.name}_bucket": own | {"le"},
                f"{row.name}_sum": own,
                f"{row.name}_count": own,
            }
        else:
            found[row.name] = own
    for exporter in exporters().values():
        beside = SERVER if exporter.job in {ROUTER, TELLER, WAITING, HYBRID} else set()
        for metric in exporter.metrics.values():
            labels = {*metric.labels, *EVERYWHERE, *beside}
            ends = ("_bucket", "_sum", "_count") if metric.type == HISTOGRAM else ("",)
            found |= {metric.name + end: labels | {"le"} for end in ends}
    adapter = AdapterMetrics(lambda: (0, 0), list, lambda: None).render()
    for name in re.findall(r"^# TYPE (\S+)", adapter, flags=re.MULTILINE):
        found[name] = {"metric", "outcome", "state", "namespace", "pod", *EVERYWHERE}
    for engine in engines().values():
        found |= dict.fromkeys(engine.metrics.values(), SERVER)
    return found | dict.fromkeys(SCRAPED, SERVER | EVERYWHERE)


def names(expr: str) -> set[str]:
    """What an expression asks for by name."""
    bare = re.sub(r"\{[^}]*\}", "", _STRING.sub("", expr))
    bare = re.sub(r"\b(by|without|on|ignoring|group_left)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\[[^\]]*\]|\boffset\s+\w+", "", bare)
    return {one for one in _NAME.findall(bare) if one not in _WORDS}


def matchers(expr: str) -> list[tuple[str, set[str]]]:
    """Each selector with braces: its name and the labels that it matches."""
    found = re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}", expr)
    return [
        (name, set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", _STRING.sub("", inner))))
        for name, inner in found
    ]


def rules() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"]]


def test_every_name_is_exported_or_recorded() -> None:
    known = exported().keys() | {rule["record"] for rule in rules() if "record" in rule}
    asked = {name: rule.get("alert", rule.get("record")) for rule in rules() for name in names(rule["expr"])}
    assert {name: by for name, by in asked.items() if name not in known} == {}
    assert len(asked) > 60


def test_every_label_that_is_matched_is_there() -> None:
    known = exported()
    wrong = [
        (rule.get("alert", rule.get("record")), name, labels - known[name])
        for rule in rules()
        for name, labels in matchers(rule["expr"])
        if name in known and labels - known[name]
    ]
    assert wrong == []


def test_what_is_recorded_is_asked_for_after_it_is_recorded() -> None:
    """Rules of a group run in order; groups do not, and what is older than a scrape is as good."""
    made = {rule["record"] for rule in rules() if "record" in rule}
    assert {name for name in made if not re.fullmatch(r"[a-z]+:[a-z0-9_]+:[a-z0-9_]+", name)} == set()


@pytest.mark.parametrize("job", sorted(set(JOBS) - {GRAFANA, "kubernetes-cadvisor", "berth-gateway"}))
def test_without_a_source_its_alerts_are_not_made_and_are_listed(job: str) -> None:
    parts = Parts(jobs=EVERYTHING.jobs - {job}, absent={job: "no image yet"}, remote_write=True)
    made = rule_groups([CHAT, NIGHT], {"chat": STATED}, parts)
    text = "\n".join(rule["expr"] for group in made for rule in group["rules"])
    own = {name for one in exporters().values() if one.job == job for name in one.metrics}
    assert [name for name in own if re.search(rf"\b{name}\b", text)] == []
    assert f'job="{job}"' not in text
    alerts = {rule["alert"] for group in made for rule in group["rules"] if "alert" in rule}
    gone = [one for one in unwatched([CHAT, NIGHT], {"chat": STATED}, parts) if one.reason == "no image yet"]
    assert gone, "nothing says that it is not watched"
    assert {one.alert for one in gone} & alerts <= {"TargetsMissing"}


def test_a_metric_that_is_renamed_is_noticed() -> None:
    """What this file is for: the join fails when an exporter loses a name."""
    known = exported().keys() - {"tgi_request_failure"}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    missing = {name for rule in rules() for name in names(rule["expr"])} - known - recorded
    assert missing == {"tgi_request_failure"}


def test_thresholds_are_bounds_of_the_histograms() -> None:
    assert BY_NAME["berth_time_to_first_token_seconds"].buckets == objectives.FIRST_TOKEN_BUCKETS
    assert BY_NAME["gen_ai_server_time_per_output_token_seconds"].buckets == objectives.PER_TOKEN_BUCKETS
    assert BY_NAME["berth_queue_wait_seconds"].buckets == objectives.QUEUE_WAIT_BUCKETS


def test_failures_are_outcomes_of_the_gateway() -> None:
    asked = {one for rule in rules() for one in re.findall(r'err=~?"([^"]+)"', rule["expr"])}
    assert {word for one in asked for word in one.split("|")} <= set(OUTCOMES)


def test_exporters_belong_to_jobs_and_say_where_they_were_read() -> None:
    for one in exporters().values():
        # What `berth load` measures is pushed, not scraped.
        assert one.job in {*JOBS, "berth-load"}
        assert one.sources
        assert all(len(metric.text) > 5 for metric in one.metrics.values())
    assert ADAPTER in JOBS
    assert COLLECTOR in JOBS
