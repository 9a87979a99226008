"""A real Prometheus that scrapes, by our jobs, a real Envoy in front of two sites, and who divides them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web
from berth_components.monitoring import facts, scraping

from tests.agents.router_world import PATIENCE, Gateway, Router, running
from tests.toolkit.operations.monitoring import prometheus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WHERE = scraping.Where(site="home", monitoring="watch", agents="agents", sites={"models": "home"})
JOBS = frozenset({facts.ROUTER, facts.TELLER, facts.HYBRID})
PARTS = facts.Parts(jobs=JOBS, scrape_seconds=1, evaluation_seconds=1)
REFUSED = """# TYPE berth_router_refused gauge
berth_router_refused{what="document"} 0
berth_router_refused{what="weights"} 0
"""


@dataclass
class World:
    """What a test asks: the router, its gateways by site, and Prometheus."""

    router: Router
    home: Gateway
    cloud: Gateway
    url: str

    async def asked(self, query: str) -> list[dict[str, Any]]:
        """Ask Prometheus until it has an answer."""
        async with asyncio.timeout(PATIENCE):
            while True:
                where = f"{self.url}/api/v1/query"
                async with self.router.session.get(where, params={"query": query}) as response:
                    answer = (await response.json())["data"]["result"]
                if answer:
                    return list(answer)
                await asyncio.sleep(0.2)


def document(cloud: Gateway) -> dict[str, Any]:
    """Of a router in front of two sites, as a hybrid one has it."""
    hosts = [{"address": "127.0.0.1", "port": cloud.port}]
    return {
        "backends": {
            "home": {"service": {"namespace": "models", "name": "chat"}},
            "cloud": {"hosts": hosts},
        },
        "variants": {"home": {"backends": ["home", "cloud"]}, "cloud": {"backends": ["cloud", "home"]}},
        "routes": [{"name": "all", "weights": {"home": 60, "cloud": 40}}],
    }


@asynccontextmanager
async def scraped(
    folder: Path, controller: str, rules: list[dict[str, Any]] | None = None
) -> AsyncIterator[World]:
    """Run them; `controller` is what the one that divides tells of itself."""
    async with AsyncExitStack() as stack:
        gateways = [Gateway("home"), Gateway("cloud")]
        for gateway in gateways:
            await gateway.start()
            stack.push_async_callback(gateway.stop)
        home, cloud = gateways
        router = await stack.enter_async_context(running(folder, {"home": [home.host]}, **document(cloud)))
        ports = {facts.ROUTER: router.metrics_port}
        for job, text in ((facts.TELLER, REFUSED), (facts.HYBRID, controller)):
            ports[job] = await _telling(stack, text)
        watch = folder / "prometheus"
        watch.mkdir()
        config: dict[str, Any] = {
            "global": {"evaluation_interval": "1s"},
            "scrape_configs": [found(job, port) for job, port in ports.items()],
            "rule_files": ["rules.yml"] if rules else [],
        }
        given = {"groups": rules} if rules else None
        url = await asyncio.to_thread(stack.enter_context, prometheus(watch, config, given))
        yield World(router, home, cloud, url)


def found(job: str, port: int) -> dict[str, Any]:
    """The job, with what discovery would have found in place of discovery: one pod, and two others."""
    [config] = [one for one in scraping.scrape_configs(PARTS, WHERE) if one["job_name"] == job]
    meta = {
        "namespace": "models",
        "pod_name": "front-1",
        "pod_phase": "Running",
        "pod_label_app_kubernetes_io_name": scraping.APPS[job],
        "pod_label_app_kubernetes_io_instance": "front",
        "pod_container_port_number": str(scraping.PORTS[job]),
    }
    labels = {f"__meta_kubernetes_{name}": value for name, value in meta.items()}
    over = {**labels, "__meta_kubernetes_pod_phase": "Succeeded"}
    other = {**labels, "__meta_kubernetes_pod_label_app_kubernetes_io_name": "model-server"}
    del config["kubernetes_sd_configs"]
    return {
        **config,
        "static_configs": [
            {"targets": [f"127.0.0.1:{port}"], "labels": labels},
            *({"targets": ["127.0.0.1:9"], "labels": one} for one in (over, other)),
        ],
    }


async def _telling(stack: AsyncExitStack, text: str) -> int:
    async def tell(_: web.Request) -> web.Response:
        return web.Response(text=text)

    application = web.Application()
    application.router.add_get("/metrics", tell)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1])
