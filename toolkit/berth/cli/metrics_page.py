"""docs/metrics.md, made from what exports, records, shows and watches: python -m berth.cli.metrics_page."""

from __future__ import annotations

import dataclasses
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from berth_catalogue.engines import engines
from berth_catalogue.exporters import exporters
from berth_components.monitoring.dashboards import PAGES
from berth_components.monitoring.facts import JOBS, Parts, Server
from berth_components.monitoring.objectives import Objectives
from berth_components.monitoring.rules import rule_groups
from berth_serving.metric_table import ABSENT, BUSINESS, MODEL, OPERATIONAL, SAFETY, SYSTEM, TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LESSON: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...] = (
    (
        "System performance",
        (
            ("GPU utilisation", ("DCGM_FI_DEV_GPU_UTIL", "berth_gpu_utilisation_ratio")),
            (
                "CPU utilisation",
                (
                    "node_cpu_seconds_total",
                    "container_cpu_usage_seconds_total",
                    "berth_node_cpu_seconds_total",
                ),
            ),
            (
                "Memory usage",
                (
                    "node_memory_MemAvailable_bytes",
                    "container_memory_working_set_bytes",
                    "DCGM_FI_DEV_FB_USED",
                    "llm_gpu_memory_used_bytes",
                ),
            ),
            ("I/O wait times", ("node_cpu_seconds_total", "berth_node_pressure_seconds_total")),
        ),
    ),
    (
        "Operational metrics",
        (
            ("Request latency", ("llm_request_latency_seconds", "berth_time_to_first_token_seconds")),
            ("Throughput", ("llm_request_count_total", "berth_generated_tokens_total")),
            ("Error rates", ("tgi_request_failure", "berth_requests_total")),
            ("Queue length", ("berth_queue_depth", "berth_queue_wait_seconds")),
        ),
    ),
    (
        "Model metrics",
        (
            ("Token throughput", ("llm_token_throughput", "berth_generated_tokens_total")),
            ("Perplexity", ("berth_perplexity",)),
            ("Generation length", ("llm_token_count",)),
            ("Attention patterns", ()),
        ),
    ),
    (
        "Business metrics",
        (
            ("Cost per request", ("berth_request_cost_dollars", "berth_cost_dollars_total")),
            ("User engagement", ("berth_feedback_total",)),
            ("Conversion rates", ("berth_feedback_total", "berth_conversion_value_total")),
        ),
    ),
    (
        "Safety metrics",
        (
            ("Content policy violations", ("berth_policy_violations_total",)),
            ("User reports", ("berth_user_reports_total",)),
            ("Safety filter activations", ("berth_filter_decisions_total",)),
        ),
    ),
)
"""The lesson's table: group, its metrics, and the series that say it. None: it cannot be measured."""
_GROUPS = {
    SYSTEM: "System",
    OPERATIONAL: "Operation",
    MODEL: "Model",
    BUSINESS: "Business",
    SAFETY: "Safety",
}
_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ENDS = ("", "_bucket", "_sum", "_count")


@dataclass
class Uses:
    """Where series are shown and watched, by name."""

    panels: dict[str, list[str]] = field(default_factory=dict)
    alerts: dict[str, list[str]] = field(default_factory=dict)
    recorded: dict[str, list[str]] = field(default_factory=dict)


def page() -> str:
    """The whole page."""
    uses = _uses()
    return "\n".join(
        [
            "<!-- Made by: python -m berth.cli.metrics_page > docs/metrics.md -->",
            "# Metrics",
            "",
            (
                "Every series that a dashboard shows or an alert watches, and where it comes from. "
                "[`./berth dash`](dashboards.md) shows"
            ),
            (
                "the panels, [runbooks](runbooks/) has a page for each alert, and "
                "[service levels](service-levels.md) says how objectives become alerts."
            ),
            "",
            "## The lesson's five groups",
            "",
            *_lesson(uses),
            "## What the gateway exports",
            "",
            "On its metrics port, scrape job `berth-gateway`, which adds the labels site, model, namespace,",
            "pod and variant. A histogram has `_bucket`, `_sum` and `_count`.",
            "",
            *_gateway(uses),
            "## What others export",
            "",
            "Only the series that something here asks for; each exporter has more.",
            "",
            *_others(uses),
            "## What rules record",
            "",
            "By site, namespace, model and variant, `router:` ones by site, namespace and router.",
            "",
            *_recorded(uses),
            "## What cannot be measured",
            "",
            *(f"- {name}: {reason}." for name, reason in ABSENT.items()),
            "",
        ]
    )


def _uses() -> Uses:
    servers = [
        *map(_server, engines()),
        dataclasses.replace(_server("llama.cpp"), model="asleep", min_replicas=0),
    ]
    stated = Objectives(
        first_token_p95_seconds=1,
        queue_wait_seconds=1,
        safety=0.99,
        cost_per_request_dollars=1,
        cost_per_day_dollars=1,
    )
    groups = rule_groups(servers, {one.model: stated for one in servers}, Parts(jobs=frozenset(JOBS)))
    rules = [rule for group in groups for rule in group["rules"]]
    records: dict[str, set[str]] = {
        name: set() for name in sorted({rule["record"] for rule in rules if "record" in rule})
    }
    known = {*records, "up", "ALERTS", *_exported()}
    for rule in rules:
        if "record" in rule:
            records[rule["record"]] |= set(_WORD.findall(rule["expr"])) & known - {rule["record"]}
    found = Uses(recorded={name: sorted(series) for name, series in records.items()})
    shown = [
        (
            f"{page.title}: {panel.title}",
            {word for query in panel.queries for word in _WORD.findall(query.expr)},
        )
        for page in PAGES
        for panel in page.panels
    ]
    watched = [(rule["alert"], set(_WORD.findall(rule["expr"]))) for rule in rules if "alert" in rule]
    for uses, places in ((found.panels, shown), (found.alerts, watched)):
        # What names a series itself comes first, then what names one that is recorded from it.
        for where, words in places:
            _note(uses, words & known, where)
        for where, words in places:
            _note(uses, _closure(words & known, records), where)
    return found


def _server(engine: str) -> Server:
    """One that has everything, so that every rule is made."""
    return Server(
        site="site",
        model=engine,
        namespace="models",
        name=engine,
        engine=engine,
        max_replicas=2,
        by_queue=True,
        gpus=1,
        spot=True,
        priced=True,
        filtered=True,
        refusals=True,
        tls=True,
    )


def _exported() -> Iterator[str]:
    for name in (
        *(row.name for row in TABLE),
        *(name for one in engines().values() for name in one.metrics.values()),
        *(name for one in exporters().values() for name in one.metrics),
    ):
        for end in _ENDS:
            yield name + end


def _closure(names: Iterable[str], records: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = set(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left |= records.get(name, set())
    return found


def _note(uses: dict[str, list[str]], names: Iterable[str], where: str) -> None:
    for name in names:
        if where not in uses.setdefault(name, []):
            uses[name].append(where)


def _of(uses: dict[str, list[str]], name: str) -> list[str]:
    return list(dict.fromkeys(one for end in _ENDS for one in uses.get(name + end, [])))


def _lesson(uses: Uses) -> Iterator[str]:
    yield from _head("Group", "Metric", "Series", "Panel", "Alert")
    for group, metrics in LESSON:
        for metric, series in metrics:
            if not series:
                yield _row(group, metric, f"none: {ABSENT[metric.lower()]}", "-", "-")
                continue
            named = ", ".join(f"`{name}`" for name in series)
            yield _row(group, metric, named, *_shown(uses, *series))
    yield ""


def _gateway(uses: Uses) -> Iterator[str]:
    for group, title in _GROUPS.items():
        yield f"### {title}"
        yield ""
        yield from _head("Series", "Type", "Unit", "Labels", "What", "Panel", "Alert")
        for row in TABLE:
            if row.group == group:
                what = f"{row.text}{f' (needs {row.when})' if row.when else ''}"
                labels = ", ".join(row.labels) or "-"
                yield _row(f"`{row.name}`", row.kind, row.unit, labels, what, *_shown(uses, row.name))
        yield ""


def _others(uses: Uses) -> Iterator[str]:
    for exporter in sorted(exporters().values(), key=lambda one: one.title.lower()):
        yield f"### {exporter.title}"
        yield ""
        how = "Scrape job" if exporter.job in JOBS else "Pushed with the job"
        yield f"{how} `{exporter.job}`."
        yield ""
        yield from _head("Series", "Type", "Unit", "Labels", "What", "Panel", "Alert")
        for one in exporter.metrics.values():
            labels = ", ".join(one.labels) or "-"
            yield _row(f"`{one.name}`", one.type, one.unit, labels, one.text, *_shown(uses, one.name))
        yield ""
    yield "### Engines"
    yield ""
    yield "Scrape job `berth-engine`, through the gateway's metrics port."
    yield ""
    yield from _head("Series", "Engine", "What", "Panel", "Alert")
    words = {
        "waiting": "Requests that wait in the engine",
        "running": "Requests that the engine works on",
        "kv_cache": "Share of the key-value cache in use",
        "first_token": "Time to first token, as the engine measures it",
    }
    for engine in engines().values():
        for what, name in engine.metrics.items():
            yield _row(f"`{name}`", engine.title, words.get(what, what), *_shown(uses, name))
    yield ""


def _recorded(uses: Uses) -> Iterator[str]:
    yield from _head("Series", "From", "Panel", "Alert")
    for name, series in uses.recorded.items():
        bare = dict.fromkeys(re.sub(r"_(bucket|sum|count)$", "", one) for one in series)
        yield _row(f"`{name}`", ", ".join(f"`{one}`" for one in bare) or "-", *_shown(uses, name))
    yield ""


def _shown(uses: Uses, *names: str) -> tuple[str, str]:
    panels = list(dict.fromkeys(panel for name in names for panel in _of(uses.panels, name)))
    alerts = list(dict.fromkeys(alert for name in names for alert in _of(uses.alerts, name)))
    return (
        _some(panels),
        _some([f"[{alert}](runbooks/{alert}.md)" for alert in sorted(alerts)]),
    )


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}" if names else "-"


def _head(*titles: str) -> Iterator[str]:
    yield _row(*titles)
    yield _row(*["---"] * len(titles))


def _row(*cells: Any) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.stdout.write(page())
