"""How soon a lost site is out of a router: `python bench/failover.py [--runs 5] [--rate 40]`.

A real Envoy, told by our controller's own delivery, in front of two sites whose gateways are processes. One
of them is lost under a constant rate of requests, in three ways: killed, its node dead (nothing is
acknowledged), frozen (its kernel answers, the process does not). Printed for each run:

- failover: from the loss until the first request that the other site answered and after which no other one
  was answered by the lost site or not at all;
- worst: the longest that a request took that began after the loss;
- failed: requests that had another answer than 200, or none within a minute.

Requests in flight at a frozen process wait until it wakes; it is killed after `FROZEN_SECONDS`, as a liveness
probe would do. Aim: failover within 5 s, 0 failed. No timing is asserted; the machine's load is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.agents.test_router_sites import two  # noqa: E402 - found by the line above

OK = 200
FROZEN_SECONDS = 8.0
AFTER_SECONDS = 10.0
LOSSES = {"killed": signal.SIGKILL, "dead node": signal.SIGUSR2, "frozen": signal.SIGSTOP}


@dataclass
class Asked:
    """One request: seconds since the start, and who answered; "" where nobody did."""

    began: float
    ended: float
    by: str


async def run(loss: str, rate: float) -> tuple[float, float, int]:
    """Lose a site once: failover and worst in seconds, and how many requests failed."""
    with tempfile.TemporaryDirectory() as folder:
        async with two(Path(folder)) as (router, home, _):
            asked: list[Asked] = []

            async def ask() -> None:
                began, by = time.monotonic(), ""
                try:
                    async with asyncio.timeout(60):
                        status, headers, _body = await router.get()
                        by = str(headers.get("x-berth-backend", "")) if status == OK else ""
                except (OSError, TimeoutError):
                    pass
                asked.append(Asked(began, time.monotonic(), by))

            async def load(seconds: float) -> list[asyncio.Task[None]]:
                begun = []
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    begun.append(asyncio.create_task(ask()))
                    await asyncio.sleep(1 / rate)
                return begun

            begun = await load(2)
            lost = time.monotonic()
            home.send(LOSSES[loss])
            begun += await load(FROZEN_SECONDS)
            if loss == "frozen":
                home.send(signal.SIGKILL)
            begun += await load(AFTER_SECONDS - FROZEN_SECONDS)
            await asyncio.gather(*begun)
    after = sorted((one for one in asked if one.ended > lost), key=lambda one: one.ended)
    others = [number for number, one in enumerate(after) if one.by != "cloud"]
    first = after[others[-1] + 1] if others else after[0]
    worst = max(one.ended - one.began for one in after if one.began > lost)
    return first.ended - lost, worst, sum(not one.by for one in asked)


async def main() -> None:
    """Print all values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    given = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for loss in LOSSES:
        found = [await run(loss, given.rate) for _ in range(given.runs)]
        failovers = [one[0] for one in found]
        print(
            f"{loss:10} failover s {' '.join(f'{value:.2f}' for value in failovers)}"
            f" (median {statistics.median(failovers):.2f})"
            f" | worst request s {' '.join(f'{one[1]:.2f}' for one in found)}"
            f" | failed {' '.join(str(one[2]) for one in found)}"
        )


if __name__ == "__main__":
    asyncio.run(main())
