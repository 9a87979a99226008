"""Weights that others set, over those of the document."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from berth_agents.router.overlay import overlaid
from berth_agents.router.reading import DocumentError

from tests.agents.router_world import read

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
ROUTES = [
    {"name": "some", "match": {"headers": {"x-a": "b"}}, "weights": {"main": 100}},
    {"name": "all", "weights": {"main": 90, "next": 10}},
]


def weights(text: str) -> list[dict[str, int]]:
    return [dict(route.weights) for route in overlaid(read(routes=ROUTES), text, NOON).routes]


def test_only_the_named_route_changes() -> None:
    found = weights('{"version": 1, "routes": {"all": {"next": 12.5, "main": 87.5}}}')
    assert found == [{"main": 10_000}, {"main": 8750, "next": 1250}]


@pytest.mark.parametrize(
    ("until", "counts"),
    [("2026-11-28T12:00:01Z", True), ("2026-11-28T12:00:00Z", False), ("2026-11-28T13:00:00+02:00", False)],
)
def test_they_end_when_they_say(until: str, counts: bool) -> None:
    text = f'{{"version": 1, "until": "{until}", "routes": {{"all": {{"next": 100}}}}}}'
    assert (weights(text)[1] == {"next": 10_000}) is counts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the weights are not JSON"),
        ('{"version": 1, "routes": {"al": {"main": 100}}}', "routes.al does not exist; did you mean 'all'?"),
        ('{"version": 1, "routes": {"all": {"main": 99}}}', "routes.all are 99 together; they must be 100"),
        (
            '{"version": 1, "routes": {"all": {"other": 100}}}',
            "routes.all is 'other'; it must be of main, next",
        ),
        ('{"version": 1, "routes": {"all": {"main": "100"}}}', "routes.all.main is '100'"),
        ('{"version": 1, "routes": {}, "until": "noon"}', "until is 'noon'"),
        ('{"version": 1, "routes": {}, "untill": "x"}', "untill does not exist; did you mean 'until'?"),
        ('{"routes": {}}', "version is missing"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=re.escape(message)):
        weights(text)
