"""What a drill takes from a stack's outputs."""

from __future__ import annotations

from typing import Any

import pytest
from berth.cli.drilling import _from_here, chosen_router, in_order, residency_of
from berth.cli.errors import UserError

FRONT: dict[str, Any] = {"site": "home", "sites": {"home": {"backend": "home"}}}


def test_the_only_router_over_sites_is_meant() -> None:
    assert chosen_router({"routers": {"plain": {"site": "home"}, "front": FRONT}}, None) == ("front", FRONT)


@pytest.mark.parametrize(
    ("outputs", "name", "message"),
    [
        ({}, None, "needs a router over several sites"),
        ({"routers": {"plain": {"site": "home"}}}, "plain", "needs a router over several sites"),
        (
            {"routers": {"a": FRONT, "b": FRONT}},
            None,
            r"--router \(none\): routers over several sites are a, b",
        ),
        ({"routers": {"a": FRONT}}, "c", "--router c"),
    ],
)
def test_another_one_is_refused(outputs: dict[str, Any], name: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen_router(outputs, name)


class _Kube:
    async def get(self, path: str) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/models/services/front-report"
        return {"spec": {"clusterIP": "198.18.32.7"}}


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://front-report.models.svc:8080", "http://198.18.32.7:8080"),
        ("http://front-report.models.svc.cluster.local:8080", "http://198.18.32.7:8080"),
        ("http://198.18.76.11:30082", "http://198.18.76.11:30082"),
        ("https://report.example.org", "https://report.example.org"),
    ],
)
async def test_an_address_inside_of_the_cluster_becomes_a_number(url: str, here: str) -> None:
    assert await _from_here(_Kube(), url, {"namespace": "models"}) == here


@pytest.mark.parametrize(
    ("rule", "headers", "key"),
    [
        ({"headers": {"x-bank": "1"}}, {"x-bank": "1"}, None),
        (
            {"keys": ["bank"], "headers": {"x-bank": "1"}},
            {},
            None,
        ),  # a request of ours would not be the rule's
        ({"keys": ["bank"]}, {}, None),
        ({"keys": ["bank", "local"]}, {}, "ours"),
    ],
)
def test_a_rule_is_asked_only_as_what_it_takes(
    rule: dict[str, Any], headers: dict[str, str], key: str | None
) -> None:
    found = residency_of({"name": "bank", "sites": ["home"], **rule}, "ours")
    assert (found.headers, found.key) == (headers, key)
    assert found.can_be_asked == bool(headers or key)


def test_outputs_keep_no_order_so_the_settings_say_who_is_preferred() -> None:
    assert [*in_order({"cloud": 1, "home": 2, "new": 3}, ["home", "gone", "cloud"])] == [
        "home",
        "cloud",
        "new",
    ]
