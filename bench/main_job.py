"""How long the README's commands take: `python bench/main_job.py [--cold]`, as root.

Clones this checkout's HEAD into a folder of its own, with a cache of its own, and runs the launcher there as
a person would. With --cold every cache is empty at first (Berth's, Go's, uv's, pip's): about 10 minutes on 2
cores. Without it Go's and uv's caches are the user's. Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = "berth-bench"


class Bench:
    """A fresh clone with its caches, and the times measured so far."""

    def __init__(self, folder: Path, *, cold: bool) -> None:
        self.checkout = folder / "berth"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.checkout)], check=True)
        self.environment = {**os.environ, "BERTH_CACHE": str(folder / "cache"), "BERTH_CLUSTER": CLUSTER}
        if cold:
            for name in ("GOCACHE", "GOMODCACHE", "UV_CACHE_DIR", "PIP_CACHE_DIR"):
                self.environment[name] = str(folder / name.lower())
        self.seconds: dict[str, float] = {}

    def berth(self, *words: str) -> str:
        """Run the launcher; what it printed on standard output."""
        done = subprocess.run(
            [self.checkout / "berth", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = f"{done.stderr[-3000:]}\n{done.stdout[-2000:]}"
            sys.exit(f"berth {' '.join(words)}: exit code {done.returncode}\n{said}")
        return done.stdout

    def timed(self, name: str, *words: str) -> str:
        """Run the launcher and keep how long it took."""
        began = time.monotonic()
        said = self.berth(*words)
        self.keep(name, began)
        return said

    def keep(self, name: str, began: float) -> None:
        """Keep what has passed since `began`, and say so."""
        self.seconds[name] = round(time.monotonic() - began, 2)
        print(f"{name:<44} {self.seconds[name]:8.2f} s", flush=True)

    def serve(self, name: str) -> None:
        """Time `berth serve` until the model has answered one request."""
        began = time.monotonic()
        process = subprocess.Popen(
            [self.checkout / "berth", "serve", "--port", "0"],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            found = next(filter(None, (re.search(r"http://[\d.:]+", line) for line in process.stdout)))
            body = json.dumps({"inputs": "Hello", "parameters": {"max_new_tokens": 8}}).encode()
            request = urllib.request.Request(  # noqa: S310 - our own server on loopback
                f"{found[0]}/generate", body, {"Content-Type": "application/json"}
            )
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                json.load(answer)
            self.keep(name, began)
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    """Measure, print, and leave nothing behind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cold", action="store_true", help="with every cache empty at first")
    cold = parser.parse_args().cold
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as folder:
        bench = Bench(Path(folder), cold=cold)
        try:
            bench.serve("serve, fresh clone")
            bench.serve("serve, warm")
            bench.timed("--help, warm", "--help")
            bench.timed(
                "up local --yes, fresh clone" + (", empty caches" if cold else ""), "up", "local", "--yes"
            )
            bench.timed("up local, nothing to change", "up", "local")
            bench.timed("preview local", "preview", "local")
            bench.berth("cluster", "stop")
            bench.timed("up local, from a stopped cluster", "up", "local")
            bench.timed("down local", "down", "local")
            bench.timed("up local, cluster running, stack gone", "up", "local")
        finally:
            bench.timed("cluster delete", "cluster", "delete")
        machine = f"{os.cpu_count()} cores, {platform.release()}, load {os.getloadavg()[0]:.1f}"
        print(json.dumps({"machine": machine, "cold": cold, "seconds": bench.seconds}))


if __name__ == "__main__":
    main()
