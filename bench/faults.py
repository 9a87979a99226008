"""Faults and their alerts: `python bench/faults.py [--delay 1] [--only killed,wedged,…]`, as root.

Makes a cluster of its own, deploys `local` with monitoring, and injects one fault of each kind: engine
killed, wedged, slow, out of memory, queue full, target down, disk full. Each has to fire its alert within its
time, be told to a webhook receiver, and be over after the fault is. Prints a line for each and, last, one of
JSON; the exit code is 1 where one came late or not at all. With --delay 1 alerts wait as long as in
production; 0.1 is quicker. It takes 20 to 40 minutes: an alert on an increase over 10 minutes is over 10
minutes later.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from berth.localcluster import Cluster  # noqa: E402 - found by the line above

from tests.monitoring.faulty import MODEL, NAMESPACE, Watched, hook  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLUSTER = "berth-bench-faults"
SCRAPE, EVALUATION, GROUP_WAIT, MARGIN = 5, 5, 60, 30
NEVER, PATIENCE = 1800, 300
ENGINE = (NAMESPACE, "model-server", "llama_cpp")


@dataclass(frozen=True)
class Fault:
    """A fault, its alert, and the seconds that its condition must last (`for`) and take to be seen."""

    alert: str
    labels: dict[str, str]
    inject: Callable[[Watched], Any]
    seen: float
    lasts: float = 0


@contextmanager
def killed(watched: Watched) -> Iterator[None]:
    """One engine, once."""
    for pid in watched.processes(*ENGINE):
        os.kill(pid, signal.SIGKILL)
    yield


@contextmanager
def slow(watched: Watched) -> Iterator[None]:
    """The engine computes a fifth of the time, while two clients ask it."""
    over = threading.Event()

    def turn(what: signal.Signals) -> None:
        for pid in watched.processes(*ENGINE):
            os.kill(pid, what)

    def slowly() -> None:
        while not over.is_set():
            turn(signal.SIGSTOP)
            over.wait(0.8)
            turn(signal.SIGCONT)
            over.wait(0.2)

    thread = threading.Thread(target=slowly)
    with asked(watched, clients=2, tokens=6):
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def out_of_memory(watched: Watched) -> Iterator[None]:
    """Something in the engine's container takes more than its limit."""
    [pod] = watched.cluster.kubectl(
        "get", "pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/instance={MODEL}",
        "-o", "jsonpath={.items[0].metadata.name}",
    ).split()  # fmt: skip
    words = watched.cluster.kubectl_command(
        "exec", "-n", NAMESPACE, pod, "-c", "engine", "--", "python3", "-c", "b'x' * (2 << 30)"
    )
    subprocess.run(words, capture_output=True, check=False, timeout=120)
    yield


@contextmanager
def full(watched: Watched) -> Iterator[None]:
    """More clients than three replicas have places for."""
    with asked(watched, clients=160, tokens=200):
        yield


@contextmanager
def disk(watched: Watched) -> Iterator[None]:
    """A file system of the node, 64 MB, written full."""
    pid = next(one.pid for one in watched.cluster.processes() if one.program == "kubelet")
    inside = ("nsenter", f"--target={pid}", "--mount")
    with tempfile.TemporaryDirectory() as folder:
        # As a disk of its own is: the node exporter is no root, and must come as far as its root.
        Path(folder).chmod(0o755)
        image, place = Path(folder, "disk"), Path(folder, "mounted")
        place.mkdir()
        with image.open("wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        subprocess.run([*inside, "mount", "-o", "loop", image, place], check=True)
        try:
            fill = ["dd", "if=/dev/zero", f"of={place}/zeros", "bs=1M"]
            subprocess.run([*inside, *fill], capture_output=True, check=False)
            yield
        finally:
            subprocess.run([*inside, "umount", place], check=True)


@contextmanager
def asked(watched: Watched, clients: int, tokens: int) -> Iterator[threading.Event]:
    """Clients that ask again as soon as they are answered, or refused; says once one was answered."""
    over, answered = threading.Event(), threading.Event()
    key, opener = watched.key(), build_opener(ProxyHandler({}))
    outputs = json.loads(watched.berth("outputs", "local", "--json"))
    url = outputs.get("outputs", outputs)["endpoints"][f"local/{MODEL}"]
    body = {"inputs": "Tell me of harbours.", "parameters": {"max_new_tokens": tokens}}
    request = Request(  # noqa: S310 - our own stack's
        url + "/generate",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
    )

    refused: list[str] = []

    def ask() -> None:
        while not over.is_set():
            try:
                with opener.open(request, timeout=300) as answer:
                    answer.read()
                answered.set()
            except HTTPError as error:
                if error.code in {400, 401, 404, 422}:
                    refused.append(f"{error.code} {error.read()[:200]!r}")
                    return
                over.wait(0.5)
            except (URLError, OSError):
                over.wait(0.5)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        over.set()
        for thread in threads:
            thread.join(310)
        if refused:
            print(f"the bench's own requests were refused: {refused[0]}", flush=True)


SERVER = {"model": MODEL, "namespace": NAMESPACE}
FAULTS = {
    "engine killed": Fault("EngineLost", SERVER, killed, 30, 0),
    "engine wedged": Fault("ModelUnavailable", SERVER, lambda one: one.stopped(*ENGINE), 45, 120),
    "engine slow": Fault("InterTokenBudgetBurn", SERVER | {"window": "1h"}, slow, 180, 0),
    "out of memory": Fault("NodeOutOfMemory", {}, out_of_memory, 30, 0),
    "queue full": Fault("QueueFull", SERVER, full, 130, 60),
    "target down": Fault(
        "TargetDown",
        {"job": "node"},
        lambda one: one.stopped("berth-node-agents", "node-exporter", "node-exporter"),
        30,
        180,
    ),
    "disk full": Fault("NodeDiskFull", {}, disk, 30, 300),
}


@dataclass
class Measured:
    """One fault: when it fired, was told, and was over."""

    name: str
    fault: Fault
    allowed: float
    firing: float | None = None
    arrived: float | None = None
    over: float = 0
    resolved: float | None = None

    @property
    def ok(self) -> bool:
        """Told in time, and over."""
        return self.arrived is not None and self.arrived <= self.allowed and self.resolved is not None

    def to_json(self) -> dict[str, Any]:
        """As the bench's last line has it."""
        return {
            "fault": self.name,
            "alert": self.fault.alert,
            "firing_seconds": self.firing,
            "arrived_seconds": self.arrived,
            "allowed_seconds": self.allowed,
            "resolved_seconds": self.resolved,
            "ok": self.ok,
        }


def run(watched: Watched, name: str, fault: Fault, delay: float) -> Measured:
    """Inject one fault until it was told."""
    allowed = fault.seen + fault.lasts * delay + SCRAPE + EVALUATION + GROUP_WAIT * delay + MARGIN
    query = f'count(ALERTS{{alertname="{fault.alert}", alertstate="firing"}})'
    made = Measured(name, fault, allowed)
    before = time.monotonic()
    with fault.inject(watched):
        began = time.monotonic()
        while time.monotonic() - began < allowed + PATIENCE and made.arrived is None:
            if made.firing is None and watched.value(query):
                made.firing = time.monotonic() - began
            told = watched.hook.told("firing", before, alertname=fault.alert, **fault.labels)
            made.arrived = None if told is None else float(told["time"]) - began
            time.sleep(0.5)
    made.over = time.monotonic()
    return made


def wait_until_over(watched: Watched, all_: list[Measured]) -> None:
    """Until every alert that was told is told to be over."""
    waiting = [one for one in all_ if one.arrived is not None]
    while waiting and time.monotonic() - max(one.over for one in waiting) < NEVER:
        for one in list(waiting):
            labels = one.fault.labels
            told = watched.hook.told("resolved", one.over, alertname=one.fault.alert, **labels)
            if told:
                one.resolved = told["time"] - one.over
                waiting.remove(one)
                print(f"{one.name:14} {one.fault.alert:21} over {shown(one.resolved)} after it", flush=True)
        time.sleep(0.5)


def shown(seconds: float | None) -> str:
    """Seconds for people."""
    return "never" if seconds is None else f"{seconds:.0f} s"


def main() -> int:
    """Run them all; 1 where an alert came late, or not at all, or stayed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--delay", type=float, default=1.0, help="alertDelay of the stack")
    parser.add_argument("--only", default="", help="faults, separated by commas")
    given = parser.parse_args()
    only = [word.strip() for word in given.only.split(",") if word.strip()]
    chosen = {name: one for name, one in FAULTS.items() if not only or any(word in name for word in only)}
    cluster = Cluster(os.environ.get("BERTH_BENCH_CLUSTER", CLUSTER))
    kept = "BERTH_BENCH_CLUSTER" in os.environ
    cluster.start()
    results: list[Measured] = []
    try:
        with tempfile.TemporaryDirectory() as folder, hook(cluster) as receiver:
            watched = Watched(ROOT, Path(folder), cluster, receiver, given.delay)
            watched.up()
            for name, fault in chosen.items():
                results.append(run(watched, name, fault, given.delay))
                told, allowed = shown(results[-1].arrived), shown(results[-1].allowed)
                print(f"{name:14} {fault.alert:21} told after {told} (allowed {allowed})", flush=True)
            wait_until_over(watched, results)
    finally:
        if not kept:
            cluster.delete()
    ok = all(one.ok for one in results)
    machine = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
    print(
        json.dumps(
            {"ok": ok, "delay": given.delay, "machine": machine, "faults": [one.to_json() for one in results]}
        )
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
