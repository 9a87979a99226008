"""Which series and labels an expression of PromQL names, by its syntax tree: unknown ones are errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import promql_parser
from berth_catalogue.engines import engines
from berth_catalogue.exporters import exporters
from berth_components.monitoring import facts
from berth_serving import metric_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_FILLED = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}
_MADE = {"label_replace": 1, "label_join": 1}
_EVERYWHERE = frozenset({"job", "instance", "__name__"})


class UnknownNameError(AssertionError):
    """An expression names what nothing exports."""


def filled(expr: str) -> str:
    """The expression as a dashboard would ask it, with variables filled in."""
    for variable, value in _FILLED.items():
        expr = expr.replace(variable, value)
    return expr


def series_in(expr: str) -> set[str]:
    """The names of all series."""
    return {name for name, _ in _selectors(promql_parser.parse(filled(expr)))}


def check(expr: str, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Labels that the expression's result can have.

    Raises:
        UnknownNameError: a series that is not known, or a label that it does not carry.
    """
    return _labels(promql_parser.parse(filled(expr)), known, expr)


def _selectors(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name, node
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector.name, node.vector_selector
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from _selectors(node.lhs)
        yield from _selectors(node.rhs)
    elif isinstance(node, promql_parser.Call):
        for one in node.args:
            yield from _selectors(one)
    elif hasattr(node, "expr"):
        yield from _selectors(node.expr)


def _labels(node: Any, known: Mapping[str, frozenset[str]], whole: str) -> frozenset[str]:
    if isinstance(node, promql_parser.MatrixSelector):
        node = node.vector_selector
    if isinstance(node, promql_parser.VectorSelector):
        if node.name not in known:
            raise UnknownNameError(f"nothing exports {node.name}: {whole}")
        carried = known[node.name] | _EVERYWHERE
        _within({one.name for one in node.matchers.matchers}, carried, whole)
        return carried
    if isinstance(node, promql_parser.AggregateExpr):
        inner = _labels(node.expr, known, whole)
        named = frozenset(node.modifier.labels) if node.modifier else frozenset()
        _within(named, inner, whole)
        without = node.modifier and node.modifier.type == promql_parser.AggModifierType.Without
        return inner - named if without else named
    if isinstance(node, promql_parser.BinaryExpr):
        return _joined(node, known, whole)
    if isinstance(node, promql_parser.Call):
        inner = [_labels(one, known, whole) for one in node.args]
        made = {node.args[1].val} if node.func.name in _MADE else set()
        return frozenset().union(*inner, made)
    if hasattr(node, "expr"):  # parentheses, a sign, a subquery
        return _labels(node.expr, known, whole)
    return frozenset()


def _joined(node: Any, known: Mapping[str, frozenset[str]], whole: str) -> frozenset[str]:
    left, right = _labels(node.lhs, known, whole), _labels(node.rhs, known, whole)
    matching = node.modifier.matching if node.modifier else None
    if matching is not None:
        named = frozenset(matching.labels)
        on = matching.type == promql_parser.LabelModifierType.Include
        _within(named, left & right if on else left | right, whole)
        if not on and (left ^ right) - named - _EVERYWHERE:
            raise UnknownNameError(
                f"labels other than those ignored differ ({sorted(left ^ right)}): {whole}"
            )
        _within(node.modifier.group_labels or (), left | right, whole)
    if str(node.op) == "or":
        return left | right
    number = (promql_parser.NumberLiteral,)
    if matching is None and not isinstance(node.lhs, number) and not isinstance(node.rhs, number):
        lost = left ^ right
        scalar = not left or not right
        if lost - _EVERYWHERE and not scalar:
            raise UnknownNameError(f"both sides never have the same labels ({sorted(lost)} differ): {whole}")
    return left | right


def _within(named: Any, carried: frozenset[str], whole: str) -> None:
    unknown = set(named) - carried
    if unknown:
        raise UnknownNameError(f"no label {', '.join(sorted(unknown))} there ({sorted(carried)}): {whole}")


_BUCKETS: dict[str, frozenset[str]] = {
    "_bucket": frozenset({"le"}),
    "_sum": frozenset(),
    "_count": frozenset(),
}
_PLAIN: dict[str, frozenset[str]] = {"": frozenset()}
_SERVER = frozenset({"site", "model", "namespace", "pod", "variant"})
JOB_LABELS = {
    facts.GATEWAY: _SERVER,
    facts.ENGINE: _SERVER,
    facts.ADAPTER: frozenset({"site", "namespace", "pod"}),
    **dict.fromkeys(
        (facts.ROUTER, facts.TELLER, facts.WAITING, facts.HYBRID),
        frozenset({"site", "router", "namespace", "pod"}),
    ),
    **dict.fromkeys((facts.CADVISOR, facts.KUBELET, facts.NODE, facts.DCGM), frozenset({"site", "node"})),
    **dict.fromkeys(
        (facts.KUBE_STATE, facts.PROMETHEUS, facts.ALERTMANAGER, facts.COLLECTOR, facts.GRAFANA),
        frozenset({"site"}),
    ),
    "berth-load": frozenset(),
}
"""What each scrape job puts on its series, as facts.py says; `berth load` pushes its own."""
_SCRAPES = ("up", "scrape_duration_seconds", "scrape_samples_post_metric_relabeling")


def _rows() -> Iterator[tuple[str, str, str, Iterable[str]]]:
    """Job, name, type and own labels of every metric."""
    for row in metric_table.TABLE:
        yield facts.GATEWAY, row.name, row.kind, row.labels
    for engine in engines().values():
        for name in engine.metrics.values():
            yield facts.ENGINE, name, "histogram" if name.endswith("seconds") else "gauge", ()
    for exporter in exporters().values():
        for metric in exporter.metrics.values():
            yield exporter.job, metric.name, metric.type, metric.labels
    for name in _SCRAPES:
        for job in facts.JOBS:
            yield job, name, "gauge", ()


def exported(jobs: Iterable[str] = facts.JOBS) -> dict[str, frozenset[str]]:
    """Every series that the scrape jobs give, with the labels that it can carry."""
    jobs = frozenset(jobs) | {"berth-load"}
    known: dict[str, frozenset[str]] = {}
    for job, name, kind, labels in _rows():
        if job in jobs:
            for end, more in (_BUCKETS if kind == "histogram" else _PLAIN).items():
                own = JOB_LABELS[job] | frozenset(labels) | more
                known[name + end] = known.get(name + end, frozenset()) | own
    return known


def with_rules(known: Mapping[str, frozenset[str]], groups: Iterable[Any]) -> dict[str, frozenset[str]]:
    """The same and what rules record of it; each rule is checked on the way.

    Raises:
        UnknownNameError: a rule names what nothing exports or records before it.
    """
    found = dict(known)
    alerts = frozenset({"alertname", "alertstate"})
    rules = [rule for group in groups for rule in group["rules"]]
    waiting = [rule for rule in rules if "record" in rule]
    while waiting:
        recorded = {rule["record"] for rule in waiting}
        # Rules may read what another group records.
        ready = [
            rule
            for rule in waiting
            if not (series_in(rule["expr"]) - {rule["record"]}) & (recorded - set(found))
        ]
        assert ready, f"these rules wait for each other: {sorted(recorded)}"
        for rule in ready:
            labels = check(rule["expr"], found) | frozenset(rule.get("labels", ()))
            found[rule["record"]] = found.get(rule["record"], frozenset()) | labels
        waiting = [rule for rule in waiting if rule not in ready]
    for rule in rules:
        if "alert" in rule:
            alerts |= check(rule["expr"], found) | frozenset(rule["labels"])
    found["ALERTS"] = found["ALERTS_FOR_STATE"] = alerts - {"__name__"}
    return found
