"""What is asked of Prometheus: variables, times, and what comes back; errors in plain words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
from berth.operations.dash import (
    Board,
    Choice,
    ChoiceError,
    DocumentError,
    Prometheus,
    PrometheusError,
    State,
    Window,
    examine,
    read_pages,
)

if TYPE_CHECKING:
    from tests.toolkit.dash.conftest import StandIn

WINDOW = Window(1_000_000, 1_003_600)


def document(*panels: dict[str, Any]) -> dict[str, Any]:
    variables = [
        {"type": "datasource", "name": "datasource", "query": "prometheus"},
        {"type": "query", "name": "site", "label": "Site", "query": "label_values(up, site)"},
    ]
    return {"title": "Test", "templating": {"list": variables}, "panels": list(panels)}


def panel(number: int, expr: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "title": f"panel {number}", "type": "timeseries", "gridPos": {"w": 8},
        "description": "Words.\n\nSource: berth-gateway.\n\nNeeds: luck.",
        "targets": [{"refId": "A", "expr": expr, "legendFormat": "{{site}}"}], **more,
    }  # fmt: skip


def asked_for(stand_in: StandIn, expr: str, choice: Choice, window: Window = WINDOW) -> str:
    with Prometheus(stand_in.url) as prometheus:
        board = Board(read_pages({"test.json": document(panel(1, expr))}), prometheus)
        board.answers(board.panel("test", 1), choice, window)
    [(path, query)] = stand_in.asked
    assert path == "/api/v1/query_range"
    return query["query"][0]


@pytest.mark.parametrize(
    ("values", "regex"),
    [
        ([], ".*"),
        (["home"], "home"),
        (["home", "cloud-1"], "(home|cloud-1)"),
        (["a.b|c"], r"a\.b\|c"),
        (['x"} or vector(1) #'], r'x"\} or vector\(1\) #'),
        (["back\\slash"], "back\\\\slash"),
        (["$model", "$__rate_interval"], r"(\$model|\$__rate_interval)"),
    ],
)
def test_a_value_is_only_ever_a_value(stand_in: StandIn, values: list[str], regex: str) -> None:
    """Prometheus' own grammar reads back one matcher with the regular expression that was meant."""
    expr = asked_for(stand_in, 'sum(up{site=~"$site"})', Choice({"site": values}))
    tree = promql_parser.parse(expr)
    assert isinstance(tree, promql_parser.AggregateExpr)
    assert isinstance(tree.expr, promql_parser.VectorSelector)
    [matcher] = tree.expr.matchers.matchers
    assert (matcher.name, matcher.value) == ("site", regex)


def test_a_rate_covers_four_scrapes_and_a_step(stand_in: StandIn) -> None:
    expr = "rate(a{}[$__rate_interval])"
    assert asked_for(stand_in, expr, Choice()) == "rate(a{}[60s])"
    stand_in.asked.clear()
    day = Window(1_000_000, 1_000_000 + 86_400)
    assert asked_for(stand_in, expr, Choice(), day) == "rate(a{}[375s])"
    [(_, query)] = stand_in.asked
    start, end, step = (float(query[key][0]) for key in ("start", "end", "step"))
    assert step == 360
    assert start % step == end % step == 0
    assert (end - start) / step <= 241


@pytest.mark.parametrize(
    ("start", "end"),
    [(2, 1), (1, 1), (math.nan, 1), (1, math.inf), (-5, 5), (1, 1 + 93 * 86_400)],
)
def test_a_time_has_to_be_one(start: float, end: float) -> None:
    with pytest.raises(ChoiceError, match="begin before it ends"):
        Window(start, end)


def test_a_choice_has_to_be_one() -> None:
    for values in (["x" * 300], ["a\nb"], ["v"] * 101):
        with pytest.raises(ChoiceError, match="variable site"):
            Choice({"site": values})


def test_a_page_or_panel_that_there_is_not_is_named() -> None:
    board = Board(read_pages({"test.json": document(panel(1, "up"))}), Prometheus("http://127.0.0.1:1"))
    with pytest.raises(ChoiceError, match="no page 'rest'; there are: test"):
        board.panel("rest", 1)
    with pytest.raises(ChoiceError, match="page test has no panel 7"):
        board.panel("test", 7)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"title": "x"}, "x.json is no dashboard that can be drawn: KeyError"),
        (document({"type": "piechart", "title": "pie"}), "panel 'pie' is a piechart; this page draws"),
        (
            {**document(), "templating": {"list": [{"type": "query", "name": "v", "query": "metrics(.*)"}]}},
            "variable v is no label_values",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(broken: dict[str, Any], says: str) -> None:
    with pytest.raises(DocumentError, match=says.replace("(", r"\(")):
        read_pages({"x.json": broken})


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (
            400,
            {"status": "error", "errorType": "bad_data", "error": "parse error"},
            "refuses the query: parse",
        ),
        (
            422,
            {"status": "error", "errorType": "execution", "error": "many-to-many"},
            "refuses the query: many",
        ),
        (403, {"kind": "Status", "message": 'services "p" is forbidden'}, "get on services/proxy"),
        (503, {"kind": "Status", "message": "no endpoints available"}, "is its pod ready"),
        (404, {"kind": "Status", "message": "not found"}, "is monitoring deployed"),
        (500, {}, "does not answer as Prometheus does"),
        (200, {"other": 1}, "does not answer as Prometheus does"),
        (200, ["text"], "does not answer as Prometheus does"),
    ],
)
def test_a_refusal_is_told_in_plain_words(stand_in: StandIn, status: int, body: Any, says: str) -> None:
    stand_in.status, stand_in.body = status, body
    with Prometheus(stand_in.url) as prometheus, pytest.raises(PrometheusError, match=says):
        prometheus.instant("up", 1)


def test_nobody_there_is_told() -> None:
    with (
        Prometheus("http://127.0.0.1:1") as prometheus,
        pytest.raises(PrometheusError, match=r"does not answer at http://127.0.0.1:1 \(ConnectError\)"),
    ):
        prometheus.instant("up", 1)


def test_findings_tell_what_each_panel_lacks(stand_in: StandIn) -> None:
    content = "**Not shown here.** It needs the source `dcgm`: gone.\n\nWords."
    text = {"id": 9, "type": "text", "title": "x", "gridPos": {"w": 8}, "options": {"content": content}}
    gate = {"refId": "GATE", "expr": "count(luck)", "hide": True, "instant": True}
    gated = panel(2, "up")
    gated["targets"].append(gate)
    pages = read_pages({"test.json": document(panel(1, "up"), gated, text)})
    with Prometheus(stand_in.url) as prometheus:
        board = Board(pages, prometheus)
        found = [(one.state, one.reason) for one in examine(board, WINDOW)]
        assert found == [
            (State.EMPTY, "nothing from berth-gateway for {{site}}"),
            (State.WAITS, "needs luck"),
            (State.NO_SOURCE, "It needs the source dcgm: gone."),
        ]
        # What it needs is there, and yet it shows nothing: that is a defect.
        stand_in.body["data"] = {"resultType": "vector", "result": [{"metric": {}, "value": [1, "1"]}]}
        assert board.is_met(board.panel("test", 2), Choice(), WINDOW) is True
        stand_in.body["data"]["result"][0]["value"][1] = "NaN"
        assert examine(board, WINDOW)[0].state == State.EMPTY, "NaN is no data"
        stand_in.status = 500
        assert {one.state for one in examine(board, WINDOW)} == {State.ERROR, State.NO_SOURCE}
