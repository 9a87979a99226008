"""Label selectors mean what they mean to Kubernetes."""

from __future__ import annotations

import pytest
from berth_agents.metrics_adapter.selectors import SelectorError, matches, parse

LABELS = {"app.kubernetes.io/instance": "chat", "tier": "gold", "empty": "", "size": "7", "in": "odd"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "app.kubernetes.io/instance=chat",
        "app.kubernetes.io/instance==chat,tier=gold",
        "tier!=silver",
        "missing!=anything",
        "tier in (silver, gold)",
        "tier in (gold)",
        "tier notin (silver,bronze)",
        "missing notin (a)",
        "tier",
        "!missing",
        " tier = gold , ! missing ",
        "empty=",
        "empty=,tier=gold",
        "empty in (,a)",
        "size>6",
        "size<8,size>6",
        "in in (odd)",
        "in",
    ],
)
def test_takes(text: str) -> None:
    assert matches(parse(text), LABELS)


@pytest.mark.parametrize(
    "text",
    [
        "tier=silver",
        "tier!=gold",
        "missing=gold",
        "tier in (silver)",
        "missing in (a,b)",
        "tier notin (gold)",
        "missing",
        "!tier",
        "tier=gold,missing",
        "size>7",
        "tier>3",
        "missing<3",
        "empty!=",
        "tier=",
    ],
)
def test_leaves_out(text: str) -> None:
    assert not matches(parse(text), LABELS)


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "a,",
        ",a",
        "=b",
        "a=b=c",
        "a in b",
        "a in (b",
        "a in b)",
        "a in (b))",
        "a notin",
        "!",
        "!a=b",
        "a=b c",
        "a>x",
        "a>",
        "-a=b",
        "a/=b",
        "A/b/c=d",
        "UPPER/b=c",
        "a=-b",
        "a=" + "b" * 64,
        "a=b;c",
        "é=b",
    ],
)
def test_refuses_and_says_where(text: str) -> None:
    with pytest.raises(SelectorError, match="label selector") as caught:
        parse(text)
    assert repr(text) in str(caught.value)
