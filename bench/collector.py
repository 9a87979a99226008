"""Traces and logs through the real Collector, for real: `python bench/collector.py [--outage]`, as root.

Builds the Collector from its Go modules with the components that our configurations name (minutes, once: it
stays in the cache), makes a cluster of its own, and deploys `local` with `collector` and `log-shipper` beside
the other parts, sending on to a backend of the bench's own. Then quick requests, one to an engine that stands
still meanwhile, and one whose engine is killed: prints how many of each kind arrived, and what the Collector
says it dropped; compares the labels of lines with those of series. Then the backend is away while a slow
request comes and the Collector's pod is replaced: its trace has to arrive afterwards. With --outage the
backend stays away until the alert has fired, and prints when people were told, and when it was over (ten
minutes). The last line is JSON; the exit code is 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from berth.cli.console import ClusterProgress, Console  # noqa: E402 - found by the line above
from berth.localcluster import Cluster  # noqa: E402
from berth.localcluster.images import ScratchImage  # noqa: E402

from tests.monitoring.collected import Backend, backend, is_failed, program, seconds  # noqa: E402
from tests.monitoring.faulty import MODEL, NAMESPACE, Watched, hook, until  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CLUSTER = "berth-bench-collector"
ENGINE = (NAMESPACE, "model-server", "llama_cpp")
# An engine that says nothing for longer than five seconds is lost, and its requests with it.
SLOW_SECONDS, LONGEST_SECONDS, NORMAL_PERCENT = 3, 20, 50
QUICK = 40
PATIENCE = 600
ALERT = "CollectorNotDelivering"
JUDGED = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"


def deploy(watched: Watched, image: str, to: Backend) -> None:
    """The stack `local` with the two parts that Debian has not."""
    file = watched.checkout / "stacks" / "Pulumi.local.yaml"
    content = yaml.safe_load(file.read_text())
    at = urlsplit(to.url)
    monitoring = content["config"]["berth:monitoring"]
    monitoring["parts"] += ["collector", "log-shipper"]
    monitoring["collector"] = {
        "slowSeconds": SLOW_SECONDS,
        "normalPercent": NORMAL_PERCENT,
        "longestSeconds": LONGEST_SECONDS,
        "storage": "256Mi",
        "backend": {"endpoint": to.url, "egress": {"cidr": f"{at.hostname}/32", "port": at.port}},
    }
    content["config"]["berth:monitoringSecrets"] = {"collector": to.token}
    content["config"]["berth:images"] = {"refs": {"collector": image}}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    watched.up()


@dataclass
class Client:
    """Asks the model, each request in a trace of its own."""

    watched: Watched
    url: str
    key: str

    def ask(self, tokens: int = 1) -> str:
        """One request, as soon as somebody takes it; its trace, which tells whether it failed."""
        trace = secrets.token_hex(16)
        body = {"inputs": "Tell me of harbours.", "parameters": {"max_new_tokens": tokens}}
        request = Request(  # noqa: S310 - our own stack's
            self.url + "/generate",
            json.dumps(body).encode(),
            {
                "content-type": "application/json",
                "authorization": f"Bearer {self.key}",
                "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01",
            },
        )

        def taken() -> bool:
            try:
                with build_opener(ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
                    answer.read()
            except HTTPError as error:
                return error.code not in {429, 503}
            except (URLError, OSError):
                return False
            return True

        until(taken, "a replica that takes a request", PATIENCE)
        return trace

    @contextmanager
    def held(self) -> Iterator[list[str]]:
        """One request while the engine stands still; its trace, once it is over."""
        trace: list[str] = []
        for pid in self.watched.processes(*ENGINE):
            os.kill(pid, signal.SIGSTOP)
        thread = threading.Thread(target=lambda: trace.append(self.ask()))
        thread.start()
        try:
            yield trace
        finally:
            for pid in self.watched.processes(*ENGINE):
                os.kill(pid, signal.SIGCONT)
            thread.join()

    def slow(self) -> str:
        """A request that takes longer than what counts as slow."""
        with self.held() as trace:
            time.sleep(SLOW_SECONDS + 1)
        return trace[0]

    def failing(self) -> str:
        """A request whose engine is killed."""
        with self.held() as trace:
            time.sleep(1)
            for pid in self.watched.processes(*ENGINE):
                os.kill(pid, signal.SIGKILL)
        return trace[0]


def told(watched: Watched, **labels: str) -> float:
    """Traces that the Collector judged, by what it said."""
    wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return watched.value(f"sum({JUDGED}{{{wanted}}})") or 0.0


def traces(watched: Watched, to: Backend, client: Client) -> dict[str, Any]:
    """Requests of three kinds; how many of each arrived."""
    quick = {client.ask() for _ in range(QUICK)}
    slow, failed = {client.slow()}, {client.failing()}
    sent = quick | slow | failed
    # `up` asked, too: there may be more.
    until(lambda: told(watched) >= len(sent), "every trace judged", PATIENCE)
    until(lambda: slow | failed <= to.spans.keys(), "failed and slow ones arrived", PATIENCE)
    until(lambda: len(to.spans) == told(watched, sampled="true"), "all that is kept arrived", PATIENCE)
    kept = quick & to.spans.keys()
    normal = {one for one in kept if seconds(to.spans[one]) < SLOW_SECONDS and not is_failed(to.spans[one])}
    dropped = told(watched, sampled="false")
    return {
        "sent": {"quick": len(quick), "slow": len(slow), "failed": len(failed)},
        "arrived": {
            "quick": len(normal),
            "slow": sum(seconds(to.spans[one]) >= SLOW_SECONDS for one in slow),
            "failed": sum(is_failed(to.spans[one]) for one in failed),
        },
        "of quick ones slow or failed here": len(kept - normal),
        "dropped by its own count": dropped,
        # What `up` itself asked was kept or dropped, too.
        "ok": 0 <= dropped - (QUICK - len(kept)) <= told(watched) - len(sent) and 0 < len(normal) < QUICK,
    }


def logs(watched: Watched, to: Backend) -> dict[str, Any]:
    """Whether lines carry the labels of their series."""
    labels = ("site", "namespace", "model", "variant", "pod")
    [series] = watched.ask("query", query=f'up{{job="berth-gateway",model="{MODEL}"}}')["result"]
    wanted = {label: series["metric"][label] for label in labels}

    def of(container: str) -> list[Mapping[str, str]]:
        return [
            line.source
            for line in to.lines
            if line.source.get("k8s.container.name") == container and line.source.get("pod") == wanted["pod"]
        ]

    for container in ("gateway", "engine"):
        until(lambda container=container: of(container), f"a line of {container}", PATIENCE)  # type: ignore[misc] # bound now
    same = all(
        {label: one.get(label) for label in labels} == wanted for one in (*of("gateway"), *of("engine"))
    )
    namespaces = {line.source.get("namespace", "") for line in to.lines}
    return {
        "labels": wanted,
        "lines": {name: len(of(name)) for name in ("gateway", "engine")},
        "namespaces": sorted(namespaces),
        "ok": same and "kube-system" not in namespaces,
    }


def away(watched: Watched, to: Backend, client: Client, *, outage: bool) -> dict[str, Any]:
    """The backend is away; nothing is lost, and after a while somebody knows."""
    found: dict[str, Any] = {}
    began = time.monotonic()
    to.status = 503
    trace = client.slow()
    waits = 'otelcol_exporter_queue_size{data_type="traces"}'
    until(lambda: (watched.value(waits) or 0) > 0, "the trace waits", PATIENCE)
    where = ("-n", "berth-monitoring")
    watched.cluster.kubectl("delete", "pod", "berth-collector-0", *where, timeout=PATIENCE)
    watched.cluster.kubectl(
        "rollout", "status", "statefulset/berth-collector", *where, f"--timeout={PATIENCE}s", timeout=PATIENCE
    )
    if outage:
        fired = until(lambda: watched.hook.told("firing", began, alertname=ALERT), f"{ALERT} told", 1800)
        found["alert told after seconds"] = round(fired["time"] - began)
    to.status = 200
    over = time.monotonic()
    until(lambda: trace in to.spans, "what waited arrived", PATIENCE)
    found["arrived after its return, seconds"] = round(time.monotonic() - over, 1)
    if outage:
        done = until(lambda: watched.hook.told("resolved", over, alertname=ALERT), f"{ALERT} over", 1800)
        found["alert over after seconds"] = round(done["time"] - over)
    return {**found, "ok": True}


def main() -> int:
    """Build, deploy, ask and print; the cluster is deleted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outage", action="store_true", help="until the alert has fired, and is over")
    parser.add_argument("--delay", type=float, default=0.1, help="alertDelay of the stack")
    parser.add_argument("--build", action="store_true", help="only build the Collector")
    parser.add_argument("--cluster", default=CLUSTER)
    given = parser.parse_args()
    progress = ClusterProgress(Console(), "collector")
    binary = program(progress)
    if given.build:
        return 0
    before = os.getloadavg()[0]
    cluster = Cluster(given.cluster)
    found: dict[str, Any] = {}
    try:
        cluster.start(progress)
        address = urlsplit(cluster.server).hostname or ""
        token = secrets.token_hex(16)
        with (
            tempfile.TemporaryDirectory() as folder,
            backend(address, token) as to,
            hook(cluster) as receiver,
        ):
            image = ScratchImage("collector", binary)
            cluster.import_image(image.write(Path(folder)))
            watched = Watched(ROOT, Path(folder), cluster, receiver, given.delay)
            deploy(watched, image.reference, to)
            until(lambda: watched.value('up{job="collector"}') == 1, "the collector scraped", PATIENCE)
            outputs = json.loads(watched.berth("outputs", "local", "--json"))
            url = outputs.get("outputs", outputs)["endpoints"][f"local/{MODEL}"]
            client = Client(watched, url, watched.key())
            found["traces"] = traces(watched, to, client)
            print(json.dumps(found["traces"]), flush=True)
            found["logs"] = logs(watched, to)
            print(json.dumps(found["logs"]), flush=True)
            until(lambda: watched.value(f'up{{job="berth-gateway",model="{MODEL}"}}') == 1, "it is well")
            found["away"] = away(watched, to, client, outage=given.outage)
    finally:
        cluster.delete(progress)
    ok = all(one["ok"] for one in found.values())
    machine = {
        "machine": platform.platform(),
        "processors": os.cpu_count(),
        "load_average": [round(before, 2), round(os.getloadavg()[0], 2)],
    }
    print(json.dumps({"ok": ok, **machine, **found}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
