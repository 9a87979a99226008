"""What Prometheus makes of routers and hybrid controllers: a real one, with our jobs, asks a real Envoy."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web
from berth_components.monitoring import facts, scraping
from berth_components.monitoring.operator import pod_monitors
from berth_images.programs import programs

from tests.agents.router_world import PATIENCE, Gateway, Router, running
from tests.toolkit.operations.monitoring import prometheus

if TYPE_CHECKING:
    from pathlib import Path

WHERE = scraping.Where(site="home", monitoring="watch", agents="agents", sites={"models": "home"})
PARTS = facts.Parts(jobs=frozenset({facts.ROUTER, facts.TELLER, facts.HYBRID}), scrape_seconds=1)
TOLD = """# TYPE berth_hybrid_waiting gauge
berth_hybrid_waiting{router="front",model="chat",site="home"} 7
berth_hybrid_waiting{router="front",model="chat",site="cloud"} 0
# TYPE berth_hybrid_capped gauge
berth_hybrid_capped{router="front",model="chat"} 1
"""


def found(job: str, port: int) -> dict[str, Any]:
    """The job, with what discovery would have found in place of discovery."""
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
    here = [f"127.0.0.1:{port}"]
    return {
        **config,
        "static_configs": [
            {"targets": here, "labels": labels},
            *({"targets": ["127.0.0.1:9"], "labels": one} for one in (over, other)),
        ],
    }


async def asked(router: Router, url: str, query: str) -> list[dict[str, Any]]:
    """Ask Prometheus until it has an answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with router.session.get(f"{url}/api/v1/query", params={"query": query}) as response:
                answer = (await response.json())["data"]["result"]
            if answer:
                return list(answer)
            await asyncio.sleep(0.2)


async def test_series_carry_the_router_and_the_site_they_are_about(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        gateway = await Gateway("a").start()
        stack.push_async_callback(gateway.stop)
        router = await stack.enter_async_context(running(tmp_path, {"one": [gateway.host], "two": []}))
        assert (await router.get(x_user="a"))[0] in {200, 503}
        controller = web.Application()
        controller.router.add_get("/metrics", _told)
        runner = web.AppRunner(controller)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        jobs = [
            found(facts.ROUTER, router.metrics_port),
            found(facts.HYBRID, runner.addresses[0][1]),
        ]
        folder = tmp_path / "prometheus"
        folder.mkdir()
        url = await asyncio.to_thread(stack.enter_context, prometheus(folder, {"scrape_configs": jobs}))
        pod = {"site": "home", "router": "front", "namespace": "models", "pod": "front-1"}
        for one in await asked(router, url, "envoy_cluster_membership_healthy"):
            assert pod.items() <= one["metric"].items()
            assert one["metric"]["envoy_cluster_name"] in {"one", "two"}, "not Envoy's administration"
        names = await asked(router, url, 'count by (__name__) ({job="berth-router",__name__=~"envoy.*"})')
        assert {one["metric"]["__name__"] for one in names} <= set(scraping.kept(facts.ROUTER))
        whole = await asked(router, url, 'count({job="berth-router",__name__=~"envoy.*"})')
        assert 30 < float(whole[0]["value"][1]) < 150, "of two thousand"
        waiting = await asked(router, url, "berth_hybrid_waiting")
        assert {one["metric"]["site"]: one["value"][1] for one in waiting} == {"home": "7", "cloud": "0"}
        assert all(one["metric"]["router"] == "front" for one in waiting)
        [capped] = await asked(router, url, "berth_hybrid_capped")
        assert {"site": "home", "model": "chat", "pod": "front-1"}.items() <= capped["metric"].items()
        # A pod that is over and one of another part were no targets.
        assert {one["metric"]["instance"] for one in await asked(router, url, "up")} == {
            target for job in jobs for target in job["static_configs"][0]["targets"]
        }


async def _told(_: web.Request) -> web.Response:
    return web.Response(text=TOLD)


def test_promtool_takes_every_job_and_an_operator_gets_the_same(tmp_path: Path) -> None:
    parts = facts.Parts(jobs=frozenset(facts.JOBS))
    configs = scraping.scrape_configs(parts, WHERE)
    assert {one["job_name"] for one in configs} == set(facts.JOBS)
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump({"scrape_configs": configs}))
    done = subprocess.run(
        [programs() / "promtool", "check", "config", "--syntax-only", file],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    monitors = pod_monitors(parts, WHERE)
    for job in (facts.ROUTER, facts.TELLER, facts.HYBRID):
        monitor = monitors[job]
        assert monitor["namespaceSelector"] == {"matchNames": ["models"]}
        assert monitor["selector"] == {"matchLabels": {"app.kubernetes.io/name": scraping.APPS[job]}}
        [endpoint] = monitor["podMetricsEndpoints"]
        assert endpoint["portNumber"] == scraping.PORTS[job]
        assert endpoint.get("honorLabels", False) == (job == facts.HYBRID)
        actions = [one["action"] for one in endpoint.get("metricRelabelings", ())]
        assert actions == (["keep", "drop", "drop"] if job == facts.ROUTER else [])
