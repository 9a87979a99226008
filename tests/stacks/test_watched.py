"""Who is scraped, and what is watched, of a stack with routers, with several sites, and without either."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from berth_stacks import watching

from tests.stacks import test_hybrid_rules as sites
from tests.stacks import test_routers as routers

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
ROUTER = {"berth-router", "berth-router-controller"}
BUNDLED: Json = {"monitoring": {"mode": "bundled", "parts": ["prometheus", "alertmanager"]}}


def test_a_router_is_scraped_and_lets_prometheus_in(run: Callable[..., Any]) -> None:
    done = run(routers.text(BUNDLED), routers.KEYS, "routed", preview=True)
    told = done.outputs["monitoring"]["here"]
    assert set(told["jobs"]) >= ROUTER
    assert "berth-hybrid" not in {*told["jobs"], *told["absent"]}, "nothing is lacking"
    configs = json.dumps(
        [one.inputs for one in done.resources if one.name == "here-monitoring-prometheus-config"]
    )
    assert "berth-router-controller" in configs
    ingress = routers.named(done, "here-front-network")["spec"]["ingress"]
    [rule] = [one for one in ingress if {port["port"] for port in one["ports"]} == {9000, 9001}]
    asking = {"app.kubernetes.io/name": "prometheus"}
    assert [peer["podSelector"]["matchLabels"] for peer in rule["from"]] == [asking]
    egress = routers.named(done, "here-monitoring-prometheus-network")["spec"]["egress"]
    ways = {
        (peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/name"), port["port"])
        for one in egress
        for peer in one.get("to", ())
        for port in one["ports"]
    }
    assert {("router", 9000), ("router", 9001)} <= ways


def test_without_a_router_nothing_is_said_of_any(run: Callable[..., Any]) -> None:
    done = run(routers.text({"routers": {}, **BUNDLED}), routers.KEYS, "routed", preview=True)
    told = done.outputs["monitoring"]["here"]
    assert not [job for job in (*told["jobs"], *told["absent"]) if "router" in job or "hybrid" in job]


def test_the_jobs_of_a_hybrid_router_are_where_it_is(load: Callable[..., Any]) -> None:
    stack = load(sites.text(BUNDLED), sites.KEYS, "hybrid").settings
    home, cloud = (watching.parts(stack, site) for site in ("home", "cloud"))
    assert home.jobs - cloud.jobs == {*ROUTER, "berth-hybrid"}
    assert "no router in this cluster" in cloud.reason("berth-router")


def test_a_certificate_of_a_gateway_is_watched(load: Callable[..., Any]) -> None:
    changes = {"routers": {}, "models.chat.gateway": {"tlsSecret": "cert"}, **BUNDLED}
    loaded = load(routers.text(changes), routers.KEYS, "tls")
    servers = watching.servers(loaded.settings, loaded.name)
    assert {one.model: one.tls for one in servers} == {"chat": True, "chat-next": False}
