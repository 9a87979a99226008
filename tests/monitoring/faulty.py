"""A watched local stack, faults for it, and a receiver of its alerts: for tests and `bench/faults.py`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, build_opener

import yaml

from tests.checkouts import copy_of, environment
from tests.listening import listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from berth.localcluster import Cluster

RECEIVER = "tests"
NAMESPACE, MODEL = "berth-local", "smollm2"
_ASK = build_opener(ProxyHandler({}))


def put_behind_router(config: dict[str, Any], node_port: int) -> None:
    """Change the settings of the stack `local`: its model may sleep, behind a router that wakes it."""
    model = config["berth:models"][MODEL]
    del model["service"]
    model["autoscaling"] |= {"min": 0, "holdSeconds": 240}
    entrance = {"type": "NodePort", "nodePort": node_port, "externalTrafficPolicy": "Cluster"}
    config["berth:routers"] = {
        "front": {"site": "local", "replicas": 1, "weights": {MODEL: 100}, "entrance": entrance}
    }


@dataclass
class Hook:
    """A webhook receiver on the local cluster's bridge, where pods reach it.

    Attributes:
        url: where it listens.
        alerts: what came: time (monotonic seconds), status, labels, annotations.
    """

    url: str
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def told(self, status: str, since: float = 0, **labels: str) -> dict[str, Any] | None:
        """The first message about an alert after a time."""
        return next(
            (
                one
                for one in list(self.alerts)
                if one["status"] == status
                and one["time"] >= since
                and labels.items() <= one["labels"].items()
            ),
            None,
        )


@contextmanager
def hook(cluster: Cluster) -> Iterator[Hook]:
    """Listen while the block runs."""
    address = urlsplit(cluster.server).hostname
    assert address
    made = Hook("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            now = time.monotonic()
            made.alerts += [
                {key: one[key] for key in ("status", "labels", "annotations")} | {"time": now}
                for one in body["alerts"]
            ]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with listening(address, Handler) as url:
        made.url = f"{url}/"
        yield made


class Watched:
    """A copy of a checkout, deployed on a cluster with its alerts sent to a hook."""

    def __init__(self, root: Path, folder: Path, cluster: Cluster, hook: Hook, delay: float) -> None:
        self.checkout = copy_of(root, folder)
        self.cluster = cluster
        self.hook = hook
        stack = self.checkout / "stacks" / "Pulumi.local.yaml"
        content = yaml.safe_load(stack.read_text())
        monitoring = content["config"].setdefault("berth:monitoring", {"mode": "bundled"})
        monitoring |= {"receivers": {RECEIVER: {"kind": "webhook"}}, "alertDelay": delay, "scrapeSeconds": 5}
        content["config"]["berth:alertSecrets"] = {RECEIVER: hook.url}
        stack.write_text(yaml.safe_dump(content, sort_keys=False))
        self.environment = environment(self.checkout, cluster.name)
        self.prometheus = ""

    def berth(self, *words: str, check: bool = True) -> str:
        """Run the command line; what it printed on standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "berth.cli", *words],
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert not check or done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
        return done.stdout

    def up(self) -> dict[str, Any]:
        """Deploy it."""
        report: dict[str, Any] = json.loads(self.berth("up", "local", "--yes", "--json"))
        self.prometheus = report["outputs"]["monitoring"]["local"]["prometheus"]["url"]
        return report

    def ask(self, path: str, **query: str) -> Any:
        """Prometheus' HTTP API."""
        url = f"{self.prometheus}/api/v1/{path}?{urlencode(query)}"
        with _ASK.open(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def value(self, query: str) -> float | None:
        """The value of a query with one result at most."""
        found = self.ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def processes(self, namespace: str, app: str, program: str) -> list[int]:
        """Processes of pods: by their label app.kubernetes.io/name, and a word of the command."""
        pods = json.loads(
            self.cluster.kubectl(
                "get", "pods", "-n", namespace, "-l", f"app.kubernetes.io/name={app}", "-o", "json"
            )
        )["items"]
        found = []
        for pod in pods:
            uid = pod["metadata"]["uid"]
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    inside = uid in (folder / "cgroup").read_text()
                    if inside and program in (folder / "cmdline").read_text():
                        found.append(int(folder.name))
                except OSError:
                    continue
        return found

    @contextmanager
    def stopped(self, namespace: str, app: str, program: str) -> Iterator[None]:
        """Stop every such process, and those that take their place, while the block runs."""
        over = threading.Event()

        def keep() -> None:
            while not over.is_set():
                for pid in self.processes(namespace, app, program):
                    _send(pid, signal.SIGSTOP)
                over.wait(1)

        thread = threading.Thread(target=keep)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            for pid in self.processes(namespace, app, program):
                _send(pid, signal.SIGCONT)

    def key(self) -> str:
        """An API key of the stack."""
        return self.berth("key", "local").strip()


def _send(pid: int, what: signal.Signals) -> None:
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return


def until(condition: Callable[[], Any], what: str, seconds: float = 240) -> Any:
    """Wait for something to be true.

    Raises:
        AssertionError: it did not become true.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"after {seconds:g} s: not yet {what}"
        time.sleep(0.5)
    return found
