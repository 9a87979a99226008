"""What Prometheus makes of routers and hybrid controllers: a real one, with our jobs, asks a real Envoy."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import yaml
from berth_components.monitoring import facts, scraping
from berth_components.monitoring.operator import pod_monitors
from berth_images.programs import programs

from tests.monitoring.sites_world import JOBS, WHERE, scraped

if TYPE_CHECKING:
    from pathlib import Path

TOLD = """# TYPE berth_hybrid_waiting gauge
berth_hybrid_waiting{router="front",model="chat",site="home"} 7
berth_hybrid_waiting{router="front",model="chat",site="cloud"} 0
# TYPE berth_hybrid_capped gauge
berth_hybrid_capped{router="front",model="chat"} 1
"""


async def test_series_carry_the_router_and_the_site_they_are_about(tmp_path: Path) -> None:
    async with scraped(tmp_path, TOLD) as world:
        pod = {"site": "home", "router": "front", "namespace": "models", "pod": "front-1"}
        healthy = await world.asked("envoy_cluster_membership_healthy")
        assert all(pod.items() <= one["metric"].items() for one in healthy)
        backends = {one["metric"]["envoy_cluster_name"] for one in healthy}
        assert backends == {"home", "cloud", "variant_home", "variant_cloud"}, "not Envoy's administration"
        names = await world.asked('count by (__name__) ({job="berth-router",__name__=~"envoy.*"})')
        assert {one["metric"]["__name__"] for one in names} <= set(scraping.kept(facts.ROUTER))
        [whole] = await world.asked('count({job="berth-router",__name__=~"envoy.*"})')
        assert 50 < float(whole["value"][1]) < 150, "of two thousand"
        waiting = await world.asked("berth_hybrid_waiting")
        assert {one["metric"]["site"]: one["value"][1] for one in waiting} == {"home": "7", "cloud": "0"}
        assert all(one["metric"]["router"] == "front" for one in waiting)
        [capped] = await world.asked("berth_hybrid_capped")
        assert {**pod, "model": "chat"}.items() <= capped["metric"].items()
        [refused] = await world.asked('berth_router_refused{what="weights"}')
        assert pod.items() <= refused["metric"].items()
        # A pod that is over and one of another part were no targets.
        assert len(await world.asked("up")) == len(JOBS)


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
    for job in JOBS:
        monitor = monitors[job]
        assert monitor["namespaceSelector"] == {"matchNames": ["models"]}
        assert monitor["selector"] == {"matchLabels": {"app.kubernetes.io/name": scraping.APPS[job]}}
        [endpoint] = monitor["podMetricsEndpoints"]
        assert endpoint["portNumber"] == scraping.PORTS[job]
        assert endpoint.get("honorLabels", False) == (job == facts.HYBRID)
        actions = [one["action"] for one in endpoint.get("metricRelabelings", ())]
        assert actions == (["keep", "drop", "drop"] if job == facts.ROUTER else [])
