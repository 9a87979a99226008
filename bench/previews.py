"""How long `./berth preview --all` takes: `python bench/previews.py [--runs 5]`.

Every run is a process of its own, as a person starts it: the launcher, the command line, one warm
interpreter with the SDKs of AWS, Google Cloud and Kubernetes, and a fork of it per stack. The first run fills
the file system's cache and is shown apart. Last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def once() -> tuple[float, dict[str, int]]:
    """Plan all stacks; the seconds, and how many resources each has."""
    began = time.monotonic()
    done = subprocess.run(
        [ROOT / "berth", "preview", "--all", "--json"], capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - began
    if done.returncode:
        sys.exit(f"berth preview --all: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return seconds, {one["stack"]: len(one["steps"]) for one in json.loads(done.stdout)["previews"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="runs after the first")
    runs = parser.parse_args().runs
    first, resources = once()
    print(", ".join(f"{name} {count}" for name, count in resources.items()), "resources")
    print(f"first run    {first:6.2f} s", flush=True)
    warm = []
    for number in range(1, runs + 1):
        seconds, _ = once()
        warm.append(round(seconds, 2))
        print(f"run {number:<8} {seconds:6.2f} s", flush=True)
    machine = f"{os.cpu_count()} cores, {platform.release()}, load {os.getloadavg()[0]:.1f}"
    print(json.dumps({"machine": machine, "resources": resources, "first": round(first, 2), "warm": warm}))


if __name__ == "__main__":
    main()
