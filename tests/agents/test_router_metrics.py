"""What Envoy tells of itself is what the catalogue says of it: names, types and labels, so rules can ask."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from berth_catalogue.exporters import exporters

from tests.agents.router_world import Gateway, Router, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
HOME, CLOUD = {"service": {"namespace": "models", "name": "chat"}}, "cloud"
BOTH = [{"name": "all", "weights": {"home": 100, "cloud": 0}}]


@pytest.fixture
async def gateways() -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Give a gateway for each of two sites."""
    async with AsyncExitStack() as stack:
        home, cloud = Gateway("home"), Gateway("cloud")
        for gateway in (home, cloud):
            await gateway.start()
            stack.push_async_callback(gateway.stop)
        yield home, cloud


def sites(cloud: Gateway) -> dict[str, Any]:
    """A document of two sites, as a hybrid router has it."""
    hosts = [{"address": "127.0.0.1", "port": cloud.port}]
    return {
        "backends": {"home": HOME, "cloud": {"hosts": hosts}},
        "variants": {"home": {"backends": ["home", "cloud"]}, "cloud": {"backends": ["cloud", "home"]}},
        "routes": BOTH,
    }


async def read(router: Router) -> str:
    async with router.session.get(f"http://127.0.0.1:{router.metrics_port}/metrics") as response:
        return await response.text()


def values(text: str, name: str) -> dict[str, float]:
    """A metric's values by backend."""
    found = {}
    for metric, labels, value in _LINE.findall(text):
        named = dict(_LABEL.findall(labels))
        if metric == name:
            found[named.get("envoy_cluster_name", "")] = float(value)
    return found


async def test_what_the_catalogue_says_is_what_envoy_tells(tmp_path: Path, gateways: Any) -> None:
    home, cloud = gateways
    async with running(tmp_path, {"home": [home.host]}, **sites(cloud)) as router:
        assert (await router.get())[0] == 200
        text = await read(router)
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, flags=re.MULTILINE))
    carried: dict[str, set[str]] = {}
    for metric, labels, _ in _LINE.findall(text):
        bare = re.sub(r"_(bucket|sum|count)$", "", metric)
        name = bare if kinds.get(bare) == "histogram" else metric
        carried.setdefault(name, set()).update(key for key, _ in _LABEL.findall(labels) if key != "le")
    told = exporters()["router"].metrics
    assert {name: kinds.get(name) for name in told} == {name: one.type for name, one in told.items()}
    assert {name: carried[name] for name in told} == {name: set(one.labels) for name, one in told.items()}


async def test_a_lost_site_shows_in_what_is_counted(tmp_path: Path, gateways: Any) -> None:
    """Who answers is counted with the site, and never with the variant over the sites."""
    home, cloud = gateways
    async with running(tmp_path, {"home": [home.host]}, **sites(cloud)) as router:
        await router.until("cluster.cloud.membership_healthy", 1)
        for _ in range(3):
            assert (await router.get())[0] == 200
        before = values(await read(router), "envoy_cluster_upstream_rq_total")
        await router.tell({"home": []}, **sites(cloud))
        for _ in range(2):
            assert (await router.get())[0] == 200
        text = await read(router)
    after = values(text, "envoy_cluster_upstream_rq_total")
    assert after["home"] == before["home"] == 3
    assert after["cloud"] - before["cloud"] == 2
    # So the rules leave variants out by this name.
    assert {name: value for name, value in after.items() if name.startswith("variant_")} == {
        "variant_home": 0,
        "variant_cloud": 0,
    }
    healthy = values(text, "envoy_cluster_membership_healthy")
    assert (healthy["home"], healthy["cloud"]) == (0, 1)
