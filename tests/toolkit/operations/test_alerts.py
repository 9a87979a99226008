"""Which alerts fire, asked of a real Prometheus and a real Alertmanager."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth.operations.diagnosis import Snapshot, diagnose, page
from berth.operations.diagnosis.probes import _alerts
from berth.operations.status import page as status_page
from berth.operations.status import status

from tests.serving.conftest import free_port
from tests.toolkit.operations import monitoring
from tests.toolkit.operations.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from berth.operations.diagnosis import Alert

RULE: dict[str, Any] = {
    "alert": "QueueFull",
    "expr": "vector(1)",
    "labels": {"severity": "page", "model": "smollm2", "namespace": "berth-local"},
    "annotations": {"summary": "The queue is full", "runbook_url": "docs/runbooks/QueueFull.md"},
}
PENDING = {**RULE, "alert": "NotYet", "for": "1h"}
HEARTBEAT = {**RULE, "alert": "Watchdog", "labels": {"severity": "none"}}


def watched(**urls: str) -> Snapshot:
    """The recorded stack, with monitoring at these addresses."""
    parts = {name: {"service": f"berth-{name}", "port": 9090, "url": url} for name, url in urls.items()}
    seen = World().snapshot
    return replace(seen, outputs={**seen.outputs, "monitoring": {"local": {"namespace": "m", **parts}}})


async def asked(seen: Snapshot) -> tuple[tuple[Alert, ...] | None, str]:
    reader: Any = None  # each has an address of its own, so no API server is asked
    return await _alerts(reader, seen)


async def until_it_fires(seen: Snapshot) -> tuple[tuple[Alert, ...], str]:
    async with asyncio.timeout(60):
        while True:
            alerts, source = await asked(seen)
            if alerts:
                return alerts, source
            await asyncio.sleep(0.1)


async def test_what_fires_by_prometheus(tmp_path: Path) -> None:
    rules = {"groups": [{"name": "a", "interval": "1s", "rules": [RULE, PENDING, HEARTBEAT]}]}
    with monitoring.prometheus(tmp_path, {"rule_files": ["rules.yml"]}, rules) as url:
        alerts, source = await until_it_fires(watched(prometheus=url))
    assert source == "Prometheus"
    assert [one.name for one in alerts] == ["QueueFull", "Watchdog"]
    full = alerts[0]
    assert (full.severity, full.labels["model"], full.summary) == ("page", "smollm2", "The queue is full")
    seen = replace(watched(), alerts=alerts, alerts_from=source)
    (told,) = (one for one in diagnose(seen) if one.check == "alerts")
    assert told.remedy == ("read docs/runbooks/QueueFull.md",)
    assert "alert QueueFull: The queue is full" in page(seen, [told])
    text = " ".join(status_page(status(seen)).split())
    assert "alert page: QueueFull (berth-local, smollm2) since" in text
    assert "Watchdog" not in text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a mount of its own for Alertmanager's templates")
async def test_alertmanager_is_asked_first_and_knows_what_is_silenced(tmp_path: Path) -> None:
    with monitoring.alertmanager(tmp_path) as url:
        sent = [
            {"labels": {"alertname": name, "severity": "ticket"}, "annotations": {"summary": name}}
            for name in ("EngineLost", "QueueFull")
        ]
        async with httpx.AsyncClient(trust_env=False) as client:
            (await client.post(f"{url}/api/v2/alerts", json=sent)).raise_for_status()
            silence = {
                "matchers": [{"name": "alertname", "value": "EngineLost", "isRegex": False}],
                "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z",
                "createdBy": "test", "comment": "known",
            }  # fmt: skip
            (await client.post(f"{url}/api/v2/silences", json=silence)).raise_for_status()
        nobody = f"http://127.0.0.1:{free_port()}"
        alerts, source = await until_it_fires(watched(alertmanager=url, prometheus=nobody))
        async with asyncio.timeout(60):
            while len(alerts) != 1:
                alerts, source = await until_it_fires(watched(alertmanager=url, prometheus=nobody))
    assert (source, [one.name for one in alerts]) == ("Alertmanager", ["QueueFull"])


async def test_nobody_to_ask_is_said() -> None:
    assert await asked(watched()) == (None, "no monitoring")
    alerts, source = await asked(watched(prometheus=f"http://127.0.0.1:{free_port()}"))
    assert alerts is None
    assert source.startswith("Prometheus: GET http://127.0.0.1:")
    seen = replace(watched(), alerts=None, alerts_from=source)
    assert "alerts     unknown: Prometheus: GET" in status_page(status(seen))
    (told,) = (one for one in diagnose(seen) if one.check == "alerts")
    assert told.found == "nobody could be asked which fire"
