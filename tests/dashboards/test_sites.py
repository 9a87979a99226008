"""The page Sites over a real router: every panel has data, as `berth dash --check` would say."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING

from berth.operations.dash import Board, Choice, Prometheus, Window, examine, read_pages
from berth_agents.hybrid.decision import Heard, Observed, Past, decide
from berth_agents.hybrid.documents import hybrid
from berth_agents.hybrid.metrics import Told, render
from berth_catalogue.exporters import exporters
from berth_components.monitoring.dashboards import dashboards
from berth_components.monitoring.rules import rule_groups

from tests.agents.router_world import PATIENCE
from tests.monitoring.sites_world import PARTS, scraped

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = {
    "version": 1,
    "router": "front",
    "namespace": "models",
    "model": "chat",
    "everySeconds": 1,
    "sites": [
        {"name": name, "url": f"http://{name}:8080", "costPerReplicaHour": cost, "mostReplicas": 3}
        for name, cost in (("home", 0), ("cloud", 1.25))
    ],
    "policy": {"costCapPerHour": 4},
    "routes": {"all": ["home", "cloud"]},
}


def told() -> str:
    """What a controller tells that asked two sites and decided once."""
    both = hybrid(json.dumps(DOCUMENT))
    heard = {
        "home": Heard(Observed(waiting=20, running=4, slots=4, ready_replicas=2, billed_replicas=2)),
        "cloud": Heard(Observed(waiting=0, running=1, slots=2, ready_replicas=1, billed_replicas=1)),
    }
    decision = decide(both.sites, both.policy, heard, Past())
    assert decision.reason == "overflow"
    return render(Told(both, heard, decision, written=time.time()))


def test_a_controller_tells_what_the_catalogue_says() -> None:
    text = told()
    known = exporters()["hybrid"].metrics
    assert dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, flags=re.MULTILINE)) == {
        name: one.type for name, one in known.items()
    }
    carried: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} \S+$", text, flags=re.MULTILINE):
        carried.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    assert carried == {name: set(one.labels) for name, one in known.items()}


async def test_every_panel_has_data(tmp_path: Path) -> None:
    groups = rule_groups([], {}, PARTS)
    async with scraped(tmp_path, told(), groups) as world:
        documents = dashboards([], {}, PARTS)
        page = {"sites.json": documents["sites.json"]}

        def wrong() -> list[str]:
            now = time.time()
            with Prometheus(world.url) as prometheus:
                board = Board(read_pages(page), prometheus, scrape_seconds=1, name="sites")
                found = examine(board, Window(now - 120, now))
            assert len(found) > 25
            return [f"{one.panel}: {one.state}" for one in found if one.is_wrong]

        async with asyncio.timeout(PATIENCE):
            while left := await asyncio.to_thread(wrong):
                for _ in range(5):
                    assert (await world.router.get())[0] == 200
                await asyncio.sleep(0.5)
        assert left == []
        with Prometheus(world.url) as prometheus:
            board = Board(read_pages(page), prometheus, scrape_seconds=1, name="sites")
            now = time.time()
            values = board.values("sites", Choice(), Window(now - 120, now))
            assert values == {"router": ["front"]}
        waiting = await world.asked("berth_hybrid_waiting")
        assert {one["metric"]["site"]: one["value"][1] for one in waiting} == {"home": "20", "cloud": "0"}
        shares = await world.asked("router:backend_share:ratio_rate5m")
        assert {one["metric"]["envoy_cluster_name"] for one in shares} == {"home", "cloud"}
        assert sum(float(one["value"][1]) for one in shares) > 0.99
