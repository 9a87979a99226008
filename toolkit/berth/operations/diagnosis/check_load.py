"""Why it is slow, and what fails: queues, slots, KV cache, CPU limits, failures by kind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from berth.operations.diagnosis.findings import LOAD, Finding
from berth.operations.diagnosis.pods import INSTANCE, labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from berth.operations.diagnosis.facts import Reading, Snapshot

_THROTTLED, _FEWEST_PERIODS = 0.25, 200
_FULL, _NEARLY = 0.9, 0.95
_FAILING, _FEWEST_REQUESTS = 0.02, 20
_FAILURE = re.compile(r'^tgi_request_failure(?:_total)?\{err="([^"]*)"')
# The client's own doing, or the right answer to overload: no failure of the server's.
_NOT_OURS = frozenset({"validation", "overloaded", "content_filter"})
_CACHE = (
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "sglang:token_usage",
    "llamacpp:kv_cache_usage_ratio",
)


def check(seen: Snapshot) -> Iterator[Finding]:
    """Yield what was found."""
    for one in seen.readings:
        if one.values:
            yield from _gateway(seen, one)
        else:
            yield Finding(
                check="metrics",
                layer=LOAD,
                subject=f"Pod {one.namespace}/{one.pod}",
                state="unknown",
                found="its gateway's metrics cannot be read",
                evidence=(one.problem,),
                remedy=("ask for the right to get pods/proxy, or look at Prometheus",),
            )
    for each in seen.throttling:
        if each.periods >= _FEWEST_PERIODS and each.throttled / each.periods > _THROTTLED:
            share = each.throttled / each.periods
            yield Finding(
                check="slow/cpu",
                layer=LOAD,
                subject=f"Pod {each.namespace}/{each.pod}",
                state="warning",
                found=f"its CPU limit holds its container {each.container} back",
                evidence=(f"cAdvisor: throttled in {share:.0%} of {each.periods:.0f} scheduler periods",),
                remedy=(
                    (
                        f"raise {each.container}.resources.cpuLimit "
                        "(and the engine's threads follow), or run more replicas"
                    ),
                ),
            )


def _gateway(seen: Snapshot, one: Reading) -> Iterator[Finding]:
    subject, values = f"Pod {one.namespace}/{one.pod}", one.values
    pod = seen.one("pods", one.namespace, one.pod)
    about = frozenset({f"server:{one.namespace}/{labels(pod).get(INSTANCE) if pod else ''}"})
    waiting, running, slots = (
        values.get(name, 0.0)
        for name in ("berth_queue_depth", "berth_running_requests", "berth_engine_slots")
    )
    places = values.get("berth_max_concurrent_requests", 0.0)
    if places and waiting + running >= _FULL * places:
        yield Finding(
            check="slow/queue",
            layer=LOAD,
            subject=subject,
            state="warning",
            found="its queue is full: further requests are refused with 429",
            evidence=(f"{waiting:.0f} wait and {running:.0f} run, of {places:.0f} places",),
            remedy=(
                "more replicas: see the autoscaler above; or fewer requests",
                f"./berth status {seen.stack}",
            ),
            about=about,
            alert="QueueFull",
        )
    elif slots and waiting >= slots and running >= slots:
        yield Finding(
            check="slow/queue",
            layer=LOAD,
            subject=subject,
            state="warning",
            found="requests wait: every slot of its engine is busy",
            evidence=(f"{waiting:.0f} wait, {running:.0f} of {slots:.0f} slots are busy",),
            remedy=(
                "the autoscaler should be adding replicas; if it is not, see above",
                "concurrency.slots may be raised where memory allows it: ./berth plan",
            ),
            about=about,
            alert="SlotsSaturated",
        )
    cache = max((value for name, value in values.items() if name.startswith(_CACHE)), default=None)
    if cache is not None and cache >= _NEARLY:
        yield Finding(
            check="slow/cache",
            layer=LOAD,
            subject=subject,
            state="warning",
            found="the engine's KV cache is full: requests are put aside and begun again",
            evidence=(f"{cache:.0%} of it is used",),
            remedy=(
                "lower concurrency.slots or tokens.maxTotal, or more replicas; ./berth plan computes it",
            ),
            about=about,
            alert="KvCacheFull",
        )
    yield from _failures(seen, one, values, about)


def _failures(
    seen: Snapshot, one: Reading, values: Mapping[str, float], about: frozenset[str]
) -> Iterator[Finding]:
    total = values.get("tgi_request_count_total", values.get("tgi_request_count", 0.0))
    kinds = {
        match[1]: value
        for name, value in values.items()
        if (match := _FAILURE.match(name)) and value and match[1] not in _NOT_OURS
    }
    failed = sum(kinds.values())
    if total >= _FEWEST_REQUESTS and failed / total > _FAILING:
        shown = ", ".join(
            f"{kind}: {count:.0f}" for kind, count in sorted(kinds.items(), key=lambda each: -each[1])
        )
        yield Finding(
            check="errors",
            layer=LOAD,
            subject=f"Pod {one.namespace}/{one.pod}",
            state="warning",
            found=f"{failed / total:.1%} of its requests since it began failed for reasons of its own",
            evidence=(f"of {total:.0f}: {shown}",),
            remedy=(
                f"kubectl logs -n {one.namespace} {one.pod} -c engine  # and -c gateway",
                f"./berth status {seen.stack} --watch  # is it still going on?",
            ),
            about=about,
            alert="ErrorBudgetBurn",
        )
