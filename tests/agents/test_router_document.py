"""A router's document is read strictly: what is wrong is named, with what is allowed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from berth_agents.router import resources
from berth_agents.router.document import MAX_DOCUMENT_BYTES, Wakes, parse
from berth_agents.router.reading import DocumentError

from tests.agents.router_world import document

DIGEST = "ab" * 32
ROUTE: dict[str, Any] = {"name": "all", "weights": {"main": 100}}


TWO: dict[str, Any] = {"service": {"namespace": "models", "name": "two"}}


def waking(**wakes: Any) -> dict[str, Any]:
    """Parts of a document whose backend `one` wakes."""
    one = {"service": {"namespace": "models", "name": "one"}, "wakes": wakes}
    return {"backends": {"one": one, "two": TWO}}


def test_defaults_suit_long_streams() -> None:
    found = parse(json.dumps(document()))
    assert (found.listener.port, found.listener.metrics_port) == (8080, 9000)
    assert (found.listener.stream_idle_seconds, found.listener.request_seconds) == (600, 3600)
    assert found.limit is None
    assert found.routes[0].weights == {"main": 9000, "next": 1000}
    assert found.routes[0].experiment == "all"


def test_what_wakes_is_asked_for_and_needs_a_key() -> None:
    one, two = parse(json.dumps(document(**waking()))).backends.values()
    assert one.wakes == Wakes(hold_seconds=300, most=100, keys=True, body_bytes=1 << 20)
    assert two.wakes is None


def test_a_waiting_room_costs_no_attempt_and_no_budget() -> None:
    parts = waking(most=50)
    routes = [
        {"name": "asleep", "match": {"headers": {"x": "y"}}, "weights": {"main": 100}},
        {"name": "all", "weights": {"next": 100}},
    ]
    parsed = parse(json.dumps(document(**parts, routes=routes)))
    (host,) = resources.routes(parsed)["virtual_hosts"]
    assert [one["route"]["retry_policy"]["num_retries"] for one in host["routes"]] == [3, 2]
    found = resources.clusters(parsed, Path("/run"))
    least = {
        name: one["circuit_breakers"]["thresholds"][0]["retry_budget"]["min_retry_concurrency"]
        for name, one in found.items()
    }
    assert least == {"one": 50, "two": 3}


def test_weights_have_two_decimals() -> None:
    weights = {"main": 99.99, "next": 0.01}
    (route,) = parse(json.dumps(document(routes=[{"name": "all", "weights": weights}]))).routes
    assert route.weights == {"main": 9999, "next": 1}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"version": 2}, "version is 2; it must be a whole number from 1 to 1"),
        ({"route": []}, "route does not exist; did you mean 'routes'?"),
        ({"routes": []}, "routes is empty; at least one route is needed"),
        ({"routes": "all"}, "routes is 'all'; it must be a list"),
        ({"routes": [{"name": "all"}]}, "routes[0].weights are 0 together; they must be 100"),
        (
            {"routes": [{**ROUTE, "weights": {"main": 60, "next": 30}}]},
            "routes[0].weights are 90 together; they must be 100",
        ),
        ({"routes": [{**ROUTE, "weights": {"man": 100}}]}, "weights is 'man'; it must be of main, next"),
        ({"routes": [{**ROUTE, "weights": {"main": -1, "next": 101}}]}, "weights.main is -1"),
        ({"routes": [{**ROUTE, "weights": {"main": True}}]}, "weights.main is True"),
        ({"routes": [{**ROUTE, "weights": {"main": 99.999, "next": 0.001}}]}, "at most two decimals"),
        ({"routes": [{**ROUTE, "sticky": "x user"}]}, "routes[0].sticky is 'x user'"),
        ({"routes": [{**ROUTE, "stick": "key"}]}, "routes[0].stick does not exist; did you mean 'sticky'?"),
        ({"routes": [{**ROUTE, "experiment": "A b"}]}, "routes[0].experiment is 'A b'"),
        ({"routes": [{**ROUTE, "match": {"keys": ["alice"]}}]}, "keys is 'alice'; it must be of"),
        ({"routes": [{**ROUTE, "match": {"headers": {"x": "a\nb"}}}]}, "headers.x is 'a\\nb'"),
        (
            {"routes": [{**ROUTE, "match": {"headers": {"x": "a"}}}]},
            "the last route, 'all', has a match; the last one must take everything",
        ),
        ({"routes": [ROUTE, ROUTE]}, "routes have the name 'all' twice"),
        ({"keys": {"alice": {"sha256": "a-key-in-clear"}}}, "64 lower-case hex digits"),
        ({"keys": {"a": {"sha256": DIGEST}, "b": {"sha256": DIGEST}}}, "keys have the sha256"),
        ({"keys": {"A!": {"sha256": DIGEST}}}, "keys has the key 'A!'"),
        ({"limit": {"requestsPerMinute": 0}}, "limit.requestsPerMinute is 0"),
        ({"listener": {"port": 9000}}, "listener.metricsPort is 9000; it must be another port"),
        ({"listener": {"tls": "certs"}}, "listener.tls is 'certs'; it must be an absolute path"),
        ({"backends": {"one": {}, "two": {}}}, "backends.one needs either service or hosts"),
        (
            {"backends": {"one": {"hosts": [{"address": "a b", "port": 1}]}}},
            "backends.one.hosts[0].address is 'a b'",
        ),
        (waking(holdSeconds=0), "backends.one.wakes.holdSeconds is 0; it must be a whole number from 1"),
        (waking(holdSeconds=600), "wakes.holdSeconds is 600; it must be below listener.streamIdleSeconds"),
        (
            {**waking(), "listener": {"requestSeconds": 300}},
            "wakes.holdSeconds is 300; it must be below listener.requestSeconds, which is 300",
        ),
        (waking(most=0), "backends.one.wakes.most is 0; it must be a whole number from 1 to 1000"),
        (waking(most=1001), "backends.one.wakes.most is 1001"),
        (waking(keys="no"), "backends.one.wakes.keys is 'no'; it must be true or false"),
        (waking(holdSecond=3), "backends.one.wakes.holdSecond does not exist; did you mean 'holdSeconds'?"),
        (
            {"backends": {"one": {"hosts": [{"address": "a", "port": 1}], "wakes": {}}, "two": TWO}},
            "backends.one.wakes is given beside hosts; it is for a service only",
        ),
        (
            {**waking(), "variants": {"main": {"backends": ["two", "one"]}, "next": {"backends": ["two"]}}},
            "variants.main has other backends as well",
        ),
        ({"variants": {"main": {"backends": []}}}, "at least one backend, each once"),
        ({"variants": {"main": {"backends": ["three"]}}}, "it must be of one, two"),
        ({"variants": {"main": None}}, "variants.main is None; it must be a mapping"),
        ({"retries": {"attempts": 99}}, "retries.attempts is 99; it must be a whole number from 0 to 5"),
        ({"connectSeconds": "2s"}, "connectSeconds is '2s'; it must be a number from 0.1 to 60"),
    ],
)
def test_what_is_wrong_is_named(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError, match=re.escape(message)):
        parse(json.dumps({**document(), **parts}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the document is not JSON"),
        ("[]", "the document is []; it must be a mapping"),
        ('{"version": 1, "version": 1}', "the key 'version' is there twice"),
        ("[" * 100_000, "the document is not JSON"),
        (" " * (MAX_DOCUMENT_BYTES + 1), "at most 900000 are allowed"),
    ],
)
def test_what_is_no_document_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=re.escape(message)):
        parse(text)


def test_a_variant_that_grows_at_the_end_moves_nobody_else() -> None:
    parsed = parse(json.dumps(document()))
    (host,) = resources.routes(parsed)["virtual_hosts"]
    split = host["routes"][0]["route"]["weighted_clusters"]["clusters"]
    assert [(one["name"], one["weight"]) for one in split] == [("one", 9000), ("two", 1000)]
