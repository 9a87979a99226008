"""Rolling updates under streaming clients: `python bench/rolling_update.py [--updates 10] [--clients 50]`.

As root, with the packages of `./berth test`. Makes a cluster of its own, serves `local` with three replicas,
and restarts its Deployment again and again while clients stream. Prints a line for each update and, last, one
of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.cluster.streams import stream_through  # noqa: E402 - found by the line above

CLUSTER = "berth-bench-updates"
DEPLOYMENT = ("deployment/smollm2", "-n", "berth-local")


class Bench:
    """A fresh clone of HEAD whose stack has three replicas."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "berth"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.checkout)], check=True)
        stack = self.checkout / "stacks" / "Pulumi.local.yaml"
        text = stack.read_text().replace("min: 1", "min: 3")
        # So that a fourth pod fits on two cores while one replaces another.
        stack.write_text(text.replace("cpuRequest: 400m", "cpuRequest: 100m"))
        rooms = [str(path.parent) for path in self.checkout.glob("*/pyproject.toml")]
        self._environment = {**os.environ, "BERTH_CLUSTER": CLUSTER, "PYTHONPATH": ":".join(rooms)}

    def berth(self, *words: str) -> str:
        """Run the command line; what it printed on standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "berth.cli", *words],
            cwd=self.checkout,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"berth {' '.join(words)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
        return done.stdout

    def kubectl(self, *words: str) -> str:
        """Run kubectl against the bench's cluster."""
        return self.berth("cluster", "kubectl", *words)

    def update(self) -> None:
        """Replace every pod, and wait until that is done."""
        self.kubectl("rollout", "restart", *DEPLOYMENT)
        self.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=300s")


def main() -> None:
    """Measure, print, and leave nothing behind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--clients", type=int, default=50)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as folder:
        bench = Bench(Path(folder))
        try:
            report = json.loads(bench.berth("up", "local", "--yes", "--json"))
            url, key = report["outputs"]["endpoints"]["local/smollm2"], bench.berth("key", "local").strip()
            bench.kubectl("wait", *DEPLOYMENT, "--for=jsonpath={.status.readyReplicas}=3", "--timeout=300s")
            print(f"{'update':>6} {'seconds':>8} {'streams':>8} {'asked again':>12} {'failed':>7}")
            for number in range(1, asked.updates + 1):
                began = time.monotonic()
                seen = asyncio.run(stream_through(url, key, asked.clients, bench.update))
                seconds = round(time.monotonic() - began, 1)
                rows.append([seconds, seen.whole, seen.again, len(seen.failed)])
                print(f"{number:>6} {seconds:>8} {seen.whole:>8} {seen.again:>12} {len(seen.failed):>7}")
                for one in seen.failed[:5]:
                    print(f"       {one}")
        finally:
            bench.berth("cluster", "delete")
    machine = f"{os.cpu_count()} cores, {platform.release()}, load {os.getloadavg()[0]:.1f}"
    columns = [[*column] for column in zip(*rows, strict=True)]
    found = dict(zip(("seconds", "streams", "again", "failed"), columns, strict=True))
    print(json.dumps({"machine": machine, "clients": asked.clients, **found}))


if __name__ == "__main__":
    main()
