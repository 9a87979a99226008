"""What the router costs, and a change of it: `python bench/router.py [--seconds 10] [--changes 1000]`.

A real Envoy, told by our controller's own delivery, in front of two real gateways whose stand-in engine does
nothing.

1. added latency: requests at a fixed rate, to a gateway alone and through the router, in turns, so that what
   else the machine does falls on both.
2. changes: so many changes of the weights, one after another, each waited for until Envoy has taken it, while
   requests arrive at the same rate. How many requests failed, and how long a change takes to count.

The machine is shared with whatever else runs on it; its load is printed. As root, `nice -n -15` before the
command keeps others out. Aim: 0 failed requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving_parts.client import Latencies, Request, at_rate

from serving import CORES, free_port, gateway, milliseconds, running, stand_in, tgi

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from berth_agents.router import files  # noqa: E402 - found by the line above
from berth_agents.router.delivery import Delivery  # noqa: E402
from berth_agents.router.document import Document, Host, parse  # noqa: E402
from berth_agents.router.envoy import Envoy  # noqa: E402
from berth_images.programs import envoy as envoy_program  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

RATE = 200


def told(port: int, metrics_port: int, weights: Sequence[float]) -> Document:
    """Two variants with these weights."""
    names = ("main", "next")
    whole = {
        "version": 1,
        "listener": {"port": port, "metricsPort": metrics_port, "accessLog": False},
        "backends": {name: {"service": {"namespace": "models", "name": name}} for name in names},
        "variants": {name: {"backends": [name]} for name in names},
        "routes": [{"name": "all", "weights": dict(zip(names, weights, strict=True)), "sticky": "x-user"}],
    }
    return parse(json.dumps(whole))


def envoy(folder: Path, metrics_port: int) -> AbstractContextManager[Any]:
    """Envoy on the gateways' core."""
    command = [
        str(envoy_program()), "-c", str(folder / files.BOOTSTRAP), "--concurrency", "1",
        "--disable-hot-restart", "--log-level", "error",
    ]  # fmt: skip
    return running(command, {}, metrics_port, "/ready", CORES[0])


async def added(direct: Request, through: Request, seconds: float, rounds: int) -> dict[str, Any]:
    """Latency with and without the router, in turns."""
    bare, routed = Latencies(), Latencies()
    for _ in range(rounds):
        for found, request in ((bare, direct), (routed, through)):
            one = await at_rate(request, RATE, seconds / rounds)
            found.all += one.all
            found.failed += one.failed
    rows = {}
    for share in (0.5, 0.9, 0.99):
        alone, with_it = milliseconds(bare, share), milliseconds(routed, share)
        rows[f"p{share * 100:g}"] = {"alone": alone, "routed": with_it, "added": with_it - alone}
    return {
        "milliseconds": rows,
        "requests": len(routed.all),
        "not_200": {"alone": bare.failed, "routed": routed.failed},
    }


async def answered(admin: Envoy) -> dict[str, int]:
    """Answers to clients so far, by class."""
    found = await admin.stats("^http.clients.downstream_rq_[45]xx$")
    return {name.rpartition("_")[2]: int(value) for name, value in found.items()}


async def changed(
    folder: Path, ports: tuple[int, int], where: dict[str, list[Host]], through: Request, changes: int
) -> dict[str, Any]:
    """Change the weights again and again under load."""
    took: list[float] = []
    async with Envoy(folder) as admin:
        before = await answered(admin)
        delivery = Delivery(folder, admin)
        done = asyncio.Event()
        total = Latencies()

        async def load() -> None:
            while not done.is_set():
                one = await at_rate(through, RATE, 2, warm_up=0)
                total.all += one.all
                total.failed += one.failed

        loading = asyncio.create_task(load())
        for number in range(changes):
            share = number % 101
            began = time.monotonic()
            await delivery.deliver(told(*ports, (share, 100 - share)), where)
            took.append(time.monotonic() - began)
        done.set()
        await loading
        after = await answered(admin)
        refused = await admin.stats("^http.clients.rds.routes.(update_rejected|update_success)$")
    ordered = sorted(took)
    return {
        "changes": changes,
        "taken": int(refused["http.clients.rds.routes.update_success"]),
        "refused": int(refused["http.clients.rds.routes.update_rejected"]),
        "requests": len(total.all) + total.failed,
        # A machine that cannot keep up the rate: the gateways say 429, with and without a router.
        "refused_by_gateways": after["4xx"] - before["4xx"],
        "failed": max(total.failed - (after["4xx"] - before["4xx"]), after["5xx"] - before["5xx"]),
        "change_milliseconds": {
            "p50": statistics.median(took) * 1000,
            "p99": ordered[int(0.99 * len(ordered))] * 1000,
        },
        "latency_milliseconds": {"p50": milliseconds(total, 0.5), "p99": milliseconds(total, 0.99)},
    }


def _machine() -> dict[str, Any]:
    return {"cores": len(CORES), "python": platform.python_version(), "load": os.getloadavg()}


def main() -> int:
    """Run both parts; exit code 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of each of the two ways (10)")
    parser.add_argument("--changes", type=int, default=1000, help="of the weights (1000)")
    given = parser.parse_args()
    found: dict[str, Any] = {"rate": RATE, "machine": _machine()}
    with tempfile.TemporaryDirectory() as temporary:
        for part in _parts(Path(temporary), given.seconds, given.changes):
            found |= part
            print(json.dumps(part, indent=1), flush=True)
    found["machine"]["load_after"] = os.getloadavg()
    print(json.dumps(found))
    return 1 if found["changed"]["failed"] else 0


def _parts(folder: Path, seconds: float, changes: int) -> Iterator[dict[str, Any]]:
    keys, run = folder / "keys", folder / "run"
    keys.mkdir()
    run.mkdir()
    ports = free_port(), free_port()
    with (
        stand_in() as engine,
        gateway(engine.port, keys, CORES[0]) as one,
        gateway(engine.port, keys, CORES[0]) as two,
    ):
        where = {"main": [Host("127.0.0.1", one.port)], "next": [Host("127.0.0.1", two.port)]}
        files.begin(told(*ports, (100, 0)), run, where)
        with envoy(run, ports[1]):
            direct, through = (tgi(port, "x", 1, stream=False) for port in (one.port, ports[0]))
            yield {"latency": asyncio.run(added(direct, through, seconds, 5))}
            yield {"changed": asyncio.run(changed(run, ports, where, through, changes))}


if __name__ == "__main__":
    sys.exit(main())
