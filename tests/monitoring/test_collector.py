"""Our two configurations in the real Collector: what it keeps, what it says of lines, what is not lost.

Ports and folders are changed, since both run beside each other here and no pod is around them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
import yaml
from berth_catalogue.exporters import exporters
from berth_components.monitoring import collector, log_shipper, part
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.monitoring.collected import Backend, backend, program
from tests.monitoring.faulty import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# On a machine with an empty cache the first of them waits for the Collector to be compiled.
pytestmark = pytest.mark.timeout(1800)
TOKEN = "a-token"
POD, OTHER = "smollm2-5d8f7b9c6d-x2x4z", "berth-router-front-7c9f-abcde"
SERVER = {"namespace": "berth-local", "name": "smollm2", "site": "home", "model": "chat", "variant": "b"}
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def otelcol() -> Path:
    return program()


@dataclass
class Running:
    """A Collector's process, and where it answers."""

    process: subprocess.Popen[bytes]
    http: int
    grpc: int
    metrics: int
    health: int
    log: Path

    def told(self) -> dict[str, float]:
        """Its own metrics: the sums of each name, labels left out."""
        found: dict[str, float] = {}
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if not line.startswith("#"):
                    name, _, value = line.rpartition(" ")
                    found[name.partition("{")[0]] = found.get(name.partition("{")[0], 0) + float(value)
        return found

    def answers(self) -> bool:
        """Whether its probe is answered."""
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/", timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextmanager
def running(otelcol: Path, folder: Path, config: dict[str, Any]) -> Iterator[Running]:
    """Run it with a configuration whose ports are made free ones."""
    folder.mkdir(exist_ok=True)
    http, grpc, metrics, health = free_ports(4)
    text = yaml.safe_dump(config)
    pairs = (
        (f"0.0.0.0:{collector.HTTP_PORT}", f"127.0.0.1:{http}"),
        (f"0.0.0.0:{collector.GRPC_PORT}", f"127.0.0.1:{grpc}"),
        (f"0.0.0.0:{collector.HEALTH_PORT}", f"127.0.0.1:{health}"),
        (f"port: {collector.METRICS_PORT}", f"port: {metrics}"),
        (collector.DATA_DIR, str(folder)),
        (log_shipper.STATE_DIR, str(folder / "state")),
    )
    for ours, here in pairs:
        text = text.replace(ours, here)
    file, log = folder / "config.yaml", folder / "log"
    file.write_text(text)
    environment = {**os.environ, collector.TOKEN_VARIABLE: TOKEN, "NODE_NAME": "n1"}
    with log.open("ab") as said:
        process = subprocess.Popen([otelcol, f"--config={file}"], stdout=said, stderr=said, env=environment)
        made = Running(process, http, grpc, metrics, health, log)
        try:
            until(made.answers, "a Collector that answers")
            yield made
        finally:
            process.terminate()
            process.wait(60)


def collecting(to: Backend, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "storage": "64Mi",
        "slow_seconds": 10.0,
        "normal_percent": 50.0,
        "longest_seconds": 1,
        "retention_days": 7,
        "with_token": True,
        **changes,
    }
    return collector.configuration(to.url, **given)


def trace(key: int, lasts: float, *, failed: bool = False) -> str:
    """A trace as a gateway sends it, of two spans; in JSON, as OTLP has it too."""
    began = time.time_ns()
    spans = [
        {
            "traceId": f"{key * 0x9E3779B97F4A7C15 % 2**128:032x}",
            "spanId": f"{key + 1:015x}{number}",
            "name": name,
            "startTimeUnixNano": str(began),
            "endTimeUnixNano": str(began + int(lasts * SECOND)),
            "status": {"code": 2} if failed and not number else {},
        }
        for number, name in enumerate(("chat smollm2", "engine"))
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})


def send(to: Running, body: str) -> str:
    """Send a trace; its identity."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{to.http}/v1/traces", body.encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own
        assert answer.status == 200
    spans = json.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    return str(spans[0]["traceId"])


def say(to: Running, text: str) -> None:
    """Send a line of a log."""
    record = {"timeUnixNano": str(time.time_ns()), "body": {"stringValue": text}}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    request = urllib.request.Request(
        f"http://127.0.0.1:{to.http}/v1/logs", body.encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - our own
        pass


@pytest.mark.parametrize("kept", ["files", "backend"])
def test_the_configurations_are_valid(otelcol: Path, tmp_path: Path, kept: str) -> None:
    to = "https://otlp.example.com" if kept == "backend" else None
    whole = collector.configuration(to, "10Gi", 10, 1, 120, 7, with_token=bool(to))
    shipping = log_shipper.configuration([SERVER], "home", "berth-monitoring", ["berth-local"])
    for name, config in {"collector": whole, "shipper": shipping}.items():
        file = tmp_path / f"{name}.yaml"
        text = part.text_of(config).replace(log_shipper.STATE_DIR, str(tmp_path))
        file.write_text(text.replace(collector.DATA_DIR, str(tmp_path)))
        done = subprocess.run(
            [otelcol, "validate", f"--config={file}"],
            env={**os.environ, collector.TOKEN_VARIABLE: TOKEN, "NODE_NAME": "n1"},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "deprecated" not in done.stderr


def test_failed_and_slow_traces_are_kept_and_a_share_of_the_others(otelcol: Path, tmp_path: Path) -> None:
    with backend("127.0.0.1", TOKEN) as to, running(otelcol, tmp_path / "c", collecting(to)) as one:
        failed = {send(one, trace(key, 0.1, failed=True)) for key in range(1, 11)}
        slow = {send(one, trace(key, 11)) for key in range(11, 21)}
        others = {send(one, trace(key, 0.1)) for key in range(21, 121)}
        judged = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
        until(lambda: one.told().get(judged) == 120, "every trace judged")
        until(lambda: failed | slow <= to.spans.keys(), "failed and slow ones sent on")
        share = "otelcol_exporter_sent_spans_total"
        until(lambda: one.told().get(share) == sum(map(len, to.spans.values())), "all that is kept sent on")
        kept = others & to.spans.keys()
        # One half by chance: less than 20 or more than 80 of 100 is chance once in a thousand million.
        assert 20 < len(kept) < 80
        assert {len(spans) for spans in to.spans.values()} == {2}
        assert to.asked


def test_what_a_backend_does_not_take_waits_and_survives_the_collector(otelcol: Path, tmp_path: Path) -> None:
    with backend("127.0.0.1", TOKEN) as to:
        config = collecting(to)
        to.status = 503
        with running(otelcol, tmp_path / "c", config) as one:
            sent = {send(one, trace(key, 0.1, failed=True)) for key in range(1, 6)}
            until(lambda: one.told().get("otelcol_exporter_queue_size", 0) > 0, "something waits")
            until(lambda: to.asked, "the backend asked")
            judged = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
            until(lambda: one.told().get(judged) == len(sent), "every trace judged")
            assert not to.spans
        assert not to.spans
        to.status = 200
        with running(otelcol, tmp_path / "c", config) as again:
            until(lambda: sent <= to.spans.keys(), "what waited sent on")
            until(lambda: again.told().get("otelcol_exporter_queue_size") == 0, "nothing waits")


def test_what_is_refused_for_good_is_counted_where_the_alert_looks(otelcol: Path, tmp_path: Path) -> None:
    with backend("127.0.0.1", "another") as to, running(otelcol, tmp_path / "c", collecting(to)) as one:
        send(one, trace(1, 0.1, failed=True))
        say(one, "a line")
        for what in ("spans", "log_records"):
            until(lambda name=f"otelcol_exporter_send_failed_{what}_total": one.told().get(name), "counted")
        assert to.asked
        assert not to.spans
        assert not to.lines


def test_what_finds_no_room_to_wait_is_counted_where_the_alert_looks(otelcol: Path, tmp_path: Path) -> None:
    """And the names in the catalogue are the Collector's own."""
    with backend("127.0.0.1", TOKEN) as to:
        to.status = 503
        with running(otelcol, tmp_path / "c", collecting(to, storage="64")) as one:
            send(one, trace(1, 0.1, failed=True))
            with pytest.raises(HTTPError, match="503"):
                say(one, "a line")
            until(lambda: one.told().get("otelcol_exporter_enqueue_failed_spans_total"), "counted")
            told = one.told().keys()
            assert {name for name in exporters()["collector"].metrics if "send_failed" not in name} <= told


def test_without_a_backend_both_lie_in_files(otelcol: Path, tmp_path: Path) -> None:
    config = collector.configuration(None, "10Gi", 10.0, 1.0, 1, 7, with_token=False)
    with running(otelcol, tmp_path / "c", config) as one:
        failed = send(one, trace(1, 0.1, failed=True))
        file = tmp_path / "c" / "traces.json"
        until(lambda: file.exists() and failed in file.read_text(), "the trace in a file")


def test_lines_of_our_pods_arrive_with_the_labels_of_their_series(otelcol: Path, tmp_path: Path) -> None:
    logs = tmp_path / "pods"

    def write(namespace: str, pod: str, container: str, text: str) -> None:
        """As a kubelet's runtime writes it."""
        folder = logs / f"{namespace}_{pod}_0a1b2c3d-0000-0000-0000-000000000000" / container
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "0.log").open("a") as file:
            file.write(f"2026-11-28T10:00:00.123456789Z stdout F {text}\n")

    shipping = log_shipper.configuration([SERVER], "home", "x", ["berth-local", "berth-monitoring"])
    shipping = json.loads(json.dumps(shipping).replace(log_shipper.LOGS_DIR, str(logs)))
    with backend("127.0.0.1", TOKEN) as to, running(otelcol, tmp_path / "c", collecting(to)) as one:
        shipping["exporters"]["otlp_grpc"]["endpoint"] = f"127.0.0.1:{one.grpc}"

        def ours(text: str) -> list[dict[str, str]]:
            return [line.source for line in to.lines if line.text == text]

        write("berth-local", POD, "gateway", "first")
        write("berth-local", OTHER, "router", "of a router")
        write("berth-monitoring", "berth-log-shipper-k2j4x", "log-shipper", "about lines")
        write("kube-system", "coredns", "coredns", "nobody's business")
        with running(otelcol, tmp_path / "s", shipping):
            until(lambda: ours("first"), "a line from before it")
            write("berth-local", POD, "gateway", "second")
            until(lambda: ours("second"), "a line")
        write("berth-local", POD, "gateway", "third")
        with running(otelcol, tmp_path / "s", shipping):
            until(lambda: ours("third"), "a line from between two runs")
    [source] = ours("first")
    assert {label: source[label] for label in ("site", "model", "variant", "namespace", "pod")} == {
        **{label: SERVER[label] for label in ("site", "model", "variant", "namespace")},
        "pod": POD,
    }
    assert source["k8s.container.name"] == "gateway"
    [router] = ours("of a router")
    assert router["site"] == "home"
    assert "model" not in router
    texts = [line.text for line in to.lines]
    assert "about lines" not in texts
    assert "nobody's business" not in texts
    assert sorted(texts) == ["first", "of a router", "second", "third"], "none twice, over a restart too"


def test_the_stand_in_for_a_backend_reads_what_is_sent() -> None:
    made = Backend("", "")
    body = ExportTraceServiceRequest()
    body.resource_spans.add().scope_spans.add().spans.add(trace_id=b"\x01" * 16)
    made.take("/v1/traces", body.SerializeToString())
    assert made.spans.keys() == {"01" * 16}
