"""Grafana's JSON from the pages."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import common as common_of
from grafana_foundation_sdk.builders import dashboard as page_of
from grafana_foundation_sdk.builders import prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from berth_components.monitoring.objectives import SLOS
from berth_components.monitoring.rules import rule_groups

from .model import GIVEN, Dashboard, Kind, Panel
from .pages import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from berth_components.monitoring.facts import Parts, Server
    from berth_components.monitoring.objectives import Objectives

    Graph = timeseries.Panel | stat.Panel | table.Panel

VARIABLES: dict[str, str] = {
    "site": "label_values(berth_server_info, site)",
    "model": 'label_values(berth_server_info{site=~"$site"}, model)',
    "variant": 'label_values(berth_server_info{site=~"$site",model=~"$model"}, variant)',
    "router": "label_values(envoy_server_live, router)",
}
"""Where the values of each variable come from."""

GATE = "GATE"
"""The hidden query that yields a value above 0 where what a panel needs is there."""

_SOURCE = dashboard.DataSourceRef("prometheus", "${datasource}")
_HEIGHTS = {Kind.LINES: 8, Kind.NUMBER: 4, Kind.TABLE: 8}
_GREEN, _ORANGE, _RED = "green", "orange", "red"
_TAG = "berth"
_EVERYWHERE = {"up", "ALERTS", "berth_server_info"}
_SERIES = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{")


def uid(name: str) -> str:
    """What links to a page go by."""
    return f"berth-{name}"


def dashboards(
    servers: Sequence[Server],
    objectives: Mapping[str, Objectives],
    parts: Parts,
    *,
    runbooks: str = "",
) -> dict[str, dict[str, Any]]:
    """Return every dashboard's JSON by the name of its file; without a router there is no page of sites.

    Args:
        servers: what is served.
        objectives: of each model, by its key.
        parts: which sources of series are deployed.
        runbooks: address of the folder with a page for each alert, which panels link to; "" links to none.

    """
    groups = rule_groups(servers, objectives, parts, runbooks=runbooks) if runbooks else []
    alerts = _alerts(groups)
    limits = _limits(objectives.values())
    return {
        f"{page.name}.json": _page(page, servers, parts, limits, alerts)
        for page in PAGES
        if not page.source or parts.has(page.source)
    }


def _page(
    page: Dashboard,
    servers: Sequence[Server],
    parts: Parts,
    limits: Mapping[str, float],
    alerts: Mapping[str, tuple[set[str], str]],
) -> dict[str, Any]:
    made = (
        page_of.Dashboard(page.title)
        .uid(uid(page.name))
        .description(page.text)
        .tags([_TAG])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(
            page_of.DashboardLink("Berth")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([_TAG])
            .as_dropdown(as_dropdown=True)
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
        .with_variable(page_of.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name in page.variables:
        made.with_variable(_variable(name))
    number = 1
    for section in page.sections:
        made.with_row(page_of.Row(section.title))
        for panel in section.panels:
            lack = _lack(panel, servers, parts)
            made.with_panel(
                _absent(panel, number, lack) if lack else _graph(panel, number, limits, _about(panel, alerts))
            )
            number += 1
    result: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    return result


def _variable(name: str) -> page_of.QueryVariable:
    return (
        page_of.QueryVariable(name)
        .label(name.capitalize())
        .query(VARIABLES[name])
        .datasource(_SOURCE)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(dashboard.VariableOption(text="All", value="$__all"))
    )


def _lack(panel: Panel, servers: Sequence[Server], parts: Parts) -> str:
    """Why a panel cannot have data here; "" where it can."""
    missing = [job for job in panel.sources if not parts.has(job)]
    if missing:
        reasons = "; ".join(parts.reason(job) for job in missing)
        return f"the source `{', '.join(missing)}`: {reasons}"
    words, has = GIVEN.get(panel.given, ("", None))
    if has is not None and not any(has(server) for server in servers):
        return f"{words}; there is none"
    return ""


def _absent(panel: Panel, number: int, lack: str) -> text.Panel:
    return (
        text.Panel()
        .id(number)
        .title(panel.title)
        .description(panel.text)
        .span(panel.width)
        .height(_HEIGHTS[panel.kind])
        .mode(TextMode.MARKDOWN)
        .content(f"**Not shown here.** It needs {lack}.\n\n{panel.text}")
    )


def _graph(panel: Panel, number: int, limits: Mapping[str, float], about: Sequence[tuple[str, str]]) -> Graph:
    made: Graph
    if panel.kind == Kind.LINES:
        made = _lines(panel)
    elif panel.kind == Kind.NUMBER:
        made = (
            stat.Panel()
            .graph_mode(common.BigValueGraphMode.NONE)
            .reduce_options(common_of.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
        )
    else:
        made = table.Panel()
        if len(panel.queries) > 1:
            made.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
        unread = dict.fromkeys(("Time", "__name__", "namespace"), True)
        made.with_transformation(
            dashboard.DataTransformerConfig(id_val="organize", options={"excludeByName": unread})
        )
    made.id(number).title(panel.title).span(panel.width).height(_HEIGHTS[panel.kind]).datasource(_SOURCE)
    made.unit(panel.unit).no_value("no data").description(_description(panel))
    made.thresholds(_thresholds(panel, limits))
    made.links([page_of.DashboardLink(f"Runbook: {name}").url(url).target_blank(target_blank=True)
                for name, url in about])  # fmt: skip
    for index, query in enumerate(panel.queries):
        letter = chr(ord("A") + index)
        target = (
            prometheus.Dataquery().expr(query.expr).ref_id(letter).legend_format(query.legend or "__auto")
        )
        if panel.kind == Kind.TABLE:
            target.instant().format(PromQueryFormat.TABLE)
            made.override_by_name(
                f"Value #{letter}" if len(panel.queries) > 1 else "Value",
                [dashboard.DynamicConfigValue("displayName", query.legend)],
            )
        elif panel.kind == Kind.NUMBER:
            target.instant()
        else:
            # Below a minute, a rate of few requests is noise: four times this is the least window.
            target.range().interval("15s")
        if query.line:
            style = {"fill": "dash", "dash": [8, 6]}
            made.override_by_query(letter, [dashboard.DynamicConfigValue("custom.lineStyle", style)])
        made.with_target(target)
    if panel.gate:
        # Hidden, so Grafana does not ask it; `berth dash --check` does where the panel has no data.
        gate = prometheus.Dataquery().expr(panel.gate).ref_id(GATE).hide(hide=True).instant()
        made.with_target(gate)
    return made


def _lines(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().line_width(1).fill_opacity(8).show_points(common.VisibilityMode.AUTO)
    made.legend(
        common_of.VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )
    made.tooltip(common_of.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    if panel.slo or panel.limits:
        made.thresholds_style(
            common_of.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    if panel.stacked:
        made.stacking(common_of.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.unit in {"percentunit", "short", "reqps", "bytes"}:
        made.axis_soft_min(0)
    return made


def _description(panel: Panel) -> str:
    """What the panel says, where from, and what it waits for; `berth dash` reads the last two lines."""
    lines = [panel.text, f"Source: {', '.join(panel.sources)}."]
    if panel.needs:
        lines.append(f"Needs: {panel.needs}.")
    return "\n\n".join(lines)


def _thresholds(panel: Panel, limits: Mapping[str, float]) -> page_of.ThresholdsConfig:
    first, second = panel.limits or (None, None)
    if panel.slo and panel.slo in limits:
        steps = [(None, _GREEN), (limits[panel.slo], _RED)]
    elif first is None or second is None:
        steps = [(None, _GREEN)]
    elif second < first:
        # The less, the worse.
        steps = [(None, _RED), (second, _ORANGE), (first, _GREEN)]
    elif first == second:
        steps = [(None, _GREEN), (first, _RED)]
    else:
        steps = [(None, _GREEN), (first, _ORANGE), (second, _RED)]
    return (
        page_of.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value, colour) for value, colour in steps])
    )


def _limits(objectives: Iterable[Objectives]) -> dict[str, float]:
    """The strictest threshold of each objective, in seconds; a dashed line in the panel has each model's."""
    found: dict[str, float] = {}
    for one in objectives:
        for slo in SLOS:
            threshold = one.threshold(slo)
            if threshold is not None:
                found[slo] = min(threshold, found.get(slo, threshold))
    return found


def _alerts(groups: Iterable[Mapping[str, Any]]) -> dict[str, tuple[set[str], str]]:
    """Of each alert: which series it looks at, and its runbook."""
    found: dict[str, tuple[set[str], str]] = {}
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        url = rule["annotations"]["runbook_url"]
        series, _ = found.get(rule["alert"], (set(), url))
        found[rule["alert"]] = (series | series_of(rule["expr"]), url)
    return found


def _about(panel: Panel, alerts: Mapping[str, tuple[set[str], str]]) -> list[tuple[str, str]]:
    """Alerts that look at a series of this panel, with their runbooks."""
    shown = set().union(*(series_of(query.expr) for query in panel.queries)) - _EVERYWHERE
    return sorted((name, url) for name, (series, url) in alerts.items() if series & shown)


def series_of(expr: str) -> set[str]:
    """Names of the series in an expression of ours, which always have braces."""
    return set(_SERIES.findall(expr))
