"""Reaction times of the local scale path: at two HPA sync periods, from an empty pool and with nodes there.

    .venv/bin/python bench/scale_path.py --bursts 20          # about an hour; `./berth up local` first
    .venv/bin/python bench/scale_path.py --bursts 5 --sync 1  # one part of it

Nodes are simulated: sandboxes of this machine, which share its processors. Prints every value of every link,
with the machine and how busy it was, and beside it what a 15 s scrape and a 30 s poll would make of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_SYNC = 15.0
AIMS = {15.0: 20.0, 1.0: 6.0}  # seconds from a burst to Ready, 95th percentile, image and weights present
ENOUGH_SECONDS = 4 * 3600


def berth(*words: str) -> str:
    """Run one command of Berth; its progress goes to this terminal."""
    done = subprocess.run(
        [str(ROOT / "berth"), *words], stdout=subprocess.PIPE, text=True, check=False, timeout=ENOUGH_SECONDS
    )
    if done.returncode:
        sys.exit(f"berth {' '.join(words)} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def measure(sync: float, bursts: int, *, warm: bool, seed: int, folder: Path | None) -> dict[str, Any]:
    """One part: its numbers, and the load of the machine before and after."""
    cluster = os.environ.get("BERTH_CLUSTER", "berth")
    berth("cluster", "start", "--name", cluster, "--hpa-sync-seconds", f"{sync:g}")
    before = os.getloadavg()[0]
    words = ["prove", "scale", "local", "--bursts", str(bursts), "--seed", str(seed), "--json"]
    words += ["--warm"] if warm else []
    words += ["--out", str(folder)] if folder else []
    found: dict[str, Any] = json.loads(berth(*words))
    return {
        "hpa_sync_seconds": sync,
        "nodes_before_the_burst": found["nodes_before_the_burst"],
        "load_average": [round(before, 2), round(os.getloadavg()[0], 2)],
        **{
            key: value for key, value in found.items() if key.endswith("_seconds") and isinstance(value, dict)
        },
    }


def show(part: dict[str, Any]) -> None:
    """The values of a part as text."""
    sync = part["hpa_sync_seconds"]
    where = (
        f"{part['nodes_before_the_burst']} nodes there" if part["nodes_before_the_burst"] else "empty pool"
    )
    print(f"\nHPA sync {sync:g} s, {where}; load average {part['load_average']}")
    for key, value in part.items():
        if isinstance(value, dict):
            marks = " ".join(f"{name} {value[name]}" for name in ("p50", "p95", "max") if name in value)
            print(f"  {key:<38} {marks}  {value.get('values', 'computed')}")
    if (aim := AIMS.get(sync)) and "p95" in part["burst_to_ready_seconds"]:
        reached = "reached" if part["burst_to_ready_seconds"]["p95"] <= aim else "not reached"
        print(f"  aim: p95 of burst_to_ready_seconds at most {aim:g} s: {reached}")


def main() -> None:
    """Measure, print, and leave the cluster's sync period at Kubernetes' default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bursts", type=int, default=20)
    parser.add_argument("--sync", type=float, action="append", help="seconds; default: 15 and 1")
    parser.add_argument("--only", choices=["empty", "warm"], help="default: both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="for the last timeline as JSON and SVG")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    warms = {"empty": [False], "warm": [True], None: [False, True]}[given.only]
    parts = []
    try:
        for sync in given.sync or [DEFAULT_SYNC, 1.0]:
            for warm in warms:
                parts.append(measure(sync, given.bursts, warm=warm, seed=given.seed, folder=given.out))
                if not given.json:
                    show(parts[-1])
    finally:
        cluster = os.environ.get("BERTH_CLUSTER", "berth")
        berth("cluster", "start", "--name", cluster, "--hpa-sync-seconds", f"{DEFAULT_SYNC:g}")
    machine = {"machine": platform.platform(), "processors": os.cpu_count()}
    print(json.dumps({**machine, "parts": parts}, indent=2) if given.json else f"\n{machine}")


if __name__ == "__main__":
    main()
