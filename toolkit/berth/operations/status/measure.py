"""Rates, which one look cannot tell: from Prometheus where there is one, else from two looks at gateways."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from berth.operations.diagnosis.probes import fetch, reading
from berth.operations.errors import ClusterReadError
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import read_access
from berth.operations.watching import prometheus_of

if TYPE_CHECKING:
    from berth.operations.diagnosis.facts import Reading, Snapshot
    from berth.operations.watching import Watcher

BETWEEN_SECONDS = 2.0
_QUERIES = {
    "requests": "sum by (namespace, model) (rate(tgi_request_success[5m]))",
    "tokens": "sum by (namespace, model) (rate(berth_generated_tokens_total[5m]))",
    "first_token": "histogram_quantile(0.95, sum by (namespace, model, le) "
    "(rate(berth_time_to_first_token_seconds_bucket[5m])))",
}
_COUNTERS = {"requests": ("tgi_request_success", "tgi_request_success_total"),
             "tokens": ("berth_generated_tokens_total",)}  # fmt: skip


async def measure(seen: Snapshot, kubeconfig: str, context: str) -> dict[str, dict[str, float]]:
    """Return rates by `<namespace>/<server>`: requests and tokens per second, first_token in seconds (p95).

    What nobody can tell is absent. Without a Prometheus this takes two seconds, and knows no percentile.
    """
    if not seen.reached:
        return {}
    async with KubeReader(await read_access(kubeconfig, context)) as reader:
        at = prometheus_of(seen.outputs, seen.site)
        if at is not None:
            try:
                return await _asked(reader, at)
            except ClusterReadError:
                pass  # that nobody answers there is said with the alerts
        return await _looked_again(reader, seen)


async def _asked(reader: KubeReader, at: Watcher) -> dict[str, dict[str, float]]:
    answers = await asyncio.gather(
        *(fetch(reader, at, "/api/v1/query?" + urlencode({"query": query})) for query in _QUERIES.values())
    )
    found: dict[str, dict[str, float]] = {}
    for name, answer in zip(_QUERIES, answers, strict=True):
        for sample in (answer.get("data") or {}).get("result") or []:
            about, value = sample["metric"], float(sample["value"][1])
            if value == value:  # noqa: PLR0124 - a quantile of nothing is NaN
                found.setdefault(f"{about.get('namespace')}/{about.get('model')}", {})[name] = value
    return found


async def _looked_again(reader: KubeReader, seen: Snapshot) -> dict[str, dict[str, float]]:
    first, at = [one for one in seen.readings if one.values], time.monotonic()
    if not first:
        return {}
    before = await asyncio.gather(*(reading(reader, one.namespace, one.pod) for one in first))
    began = time.monotonic()
    await asyncio.sleep(max(0.0, at + BETWEEN_SECONDS - began))
    after = await asyncio.gather(*(reading(reader, one.namespace, one.pod) for one in first))
    seconds = time.monotonic() - began
    found: dict[str, dict[str, float]] = {}
    for earlier, later in zip(before, after, strict=True):
        server = _server_of(seen, earlier)
        if not earlier.values or not later.values or server is None:
            continue
        rates = found.setdefault(server, dict.fromkeys(_COUNTERS, 0.0))
        for name, names in _COUNTERS.items():
            grown = sum(later.values.get(one, 0.0) - earlier.values.get(one, 0.0) for one in names)
            rates[name] += max(0.0, grown) / seconds
    return found


def _server_of(seen: Snapshot, one: Reading) -> str | None:
    pod = seen.one("pods", one.namespace, one.pod)
    instance = ((pod or {}).get("metadata") or {}).get("labels", {}).get("app.kubernetes.io/instance")
    return f"{one.namespace}/{instance}" if instance else None
