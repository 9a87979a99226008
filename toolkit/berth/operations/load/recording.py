"""A load's results as series in Prometheus, while they come: pushed by remote write.

They are `berth_load_*` with the labels job (`berth-load`), profile, run and what the settings add. Buckets
are the gateway's own, so that what clients saw and what the server says can be laid over each other.
Debian's Prometheus is built without an OTLP receiver, so it is not OTLP.
"""

import asyncio
import functools
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import cramjam
import httpx
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from berth.operations.kubeconfig import read_access
from berth.operations.load.outcomes import Outcome
from berth.operations.load.settings import Recording
from berth.operations.tls import trusted

JOB = "berth-load"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
BETWEEN = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 5)
_PATH = "/api/v1/write"
_PUSH_SECONDS = 10.0
_FIRST_FAILURE = 400
_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def run_id() -> str:
    """Return a name for a run that no other one has."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


class Recorder:
    """Takes outcomes as they come, and pushes what they add up to."""

    def __init__(self, profile: str, labels: Mapping[str, str], outstanding: Callable[[], int]) -> None:
        self.run = run_id()
        self.problem = ""
        self.pushes = 0
        self._labels = {**labels, "job": JOB, "profile": profile, "run": self.run}
        self._registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *names: str) -> Counter:
            return Counter(f"berth_load_{name}", text, names, registry=registry)

        def seconds(name: str, text: str, buckets: Iterable[float]) -> Histogram:
            return Histogram(f"berth_load_{name}_seconds", text, registry=registry, buckets=(*buckets,))

        self._requests = counter("requests_total", "Requests that ended, by result", "result", "error")
        self._unsent = counter("unsent_requests_total", "Arrivals not sent: too many were in flight")
        self._tokens = counter("tokens_total", "Tokens that clients received")
        self._latency = seconds("latency", "From when it should have begun to the whole answer", SECONDS)
        self._first = seconds("time_to_first_token", "From when it should have begun to a token", SECONDS)
        self._between = seconds("inter_token_latency", "Between two tokens of an answer", BETWEEN)
        flying = Gauge("berth_load_requests_in_flight", "Requests sent and not ended", registry=registry)
        flying.set_function(outstanding)

    def add(self, outcome: Outcome) -> None:
        """Take what became of a request."""
        self._requests.labels(outcome.result, outcome.error or "").inc()
        self._tokens.inc(outcome.tokens)
        if outcome.result != "ok":
            return
        self._latency.observe(outcome.latency)
        if outcome.first_token is not None:
            self._first.observe(outcome.first_token)
        for gap in outcome.gaps:
            self._between.observe(gap)

    def unsent(self) -> None:
        """Count an arrival that was not sent."""
        self._unsent.inc()

    def to_json(self) -> dict[str, object]:
        """Say how it went: `run`, `pushes`, and `problem`, which is None where all is there."""
        nothing = None if self.pushes else "nothing was pushed"
        return {"run": self.run, "pushes": self.pushes, "problem": self.problem or nothing}

    async def push(self, client: httpx.AsyncClient, url: str) -> None:
        """Push what there is now; a failure is kept in `problem` until a push succeeds."""
        body = bytes(cramjam.snappy.compress_raw(self._encoded()))
        try:
            response = await client.post(url, content=body, headers=_HEADERS)
        except httpx.HTTPError as error:
            self.problem = f"{url}: {type(error).__name__}: {error}"
            return
        if response.status_code >= _FIRST_FAILURE:
            self.problem = f"{url} answered {response.status_code}: {' '.join(response.text.split())[:200]}"
            return
        self.problem = ""
        self.pushes += 1

    def _encoded(self) -> bytes:
        request = _write_request()()
        now = int(time.time() * 1000)
        for family in self._registry.collect():
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                series = request.timeseries.add()
                named = {**self._labels, **sample.labels, "__name__": sample.name}
                for name in sorted(named):
                    # An empty label is no label, and is refused.
                    if named[name]:
                        series.labels.add(name=name, value=named[name])
                series.samples.add(value=sample.value, timestamp=now)
        encoded: bytes = request.SerializeToString()
        return encoded


@asynccontextmanager
async def recording_to(
    recording: Recording, profile: str, outstanding: Callable[[], int]
) -> AsyncIterator[Recorder]:
    """Give a recorder that pushes every few seconds, and once more at the end.

    Raises:
        KubeconfigError: the receiver is reached through an API server whose kubeconfig cannot be used.
    """
    server, headers, tls = "", dict[str, str](), trusted(None)
    if recording.kubeconfig:
        access = await read_access(recording.kubeconfig, recording.context)
        server, headers, tls = access.server, access.headers, access.tls
    url = f"{server}{recording.url.rstrip('/')}"
    url = url if url.endswith((_PATH, "/push", "/write")) else url + _PATH
    recorder = Recorder(profile, recording.labels, outstanding)
    async with httpx.AsyncClient(
        headers=headers, verify=tls, trust_env=False, timeout=_PUSH_SECONDS
    ) as client:

        async def push_on() -> None:
            while True:
                await recorder.push(client, url)
                await asyncio.sleep(recording.seconds)

        pushing = asyncio.create_task(push_on())
        try:
            yield recorder
        finally:
            pushing.cancel()
            await asyncio.wait([pushing])
            await recorder.push(client, url)


@functools.cache
def _write_request() -> Any:
    """Return the class of remote write's message (prometheus/prompb/remote.proto, version 0.1.0)."""
    text, number, integer = (
        descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
        descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    )
    nested = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
    file = descriptor_pb2.FileDescriptorProto(
        name="berth/remote_write.proto", package="prometheus", syntax="proto3"
    )
    messages: dict[str, list[tuple[str, int, Any, str]]] = {
        "Label": [("name", 1, text, ""), ("value", 2, text, "")],
        "Sample": [("value", 1, number, ""), ("timestamp", 2, integer, "")],
        "TimeSeries": [("labels", 1, nested, "Label"), ("samples", 2, nested, "Sample")],
        "WriteRequest": [("timeseries", 1, nested, "TimeSeries")],
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, at, kind, of in fields:
            one = message.field.add(name=field, number=at, type=kind)
            one.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            if of:
                one.type_name = f".prometheus.{of}"
                one.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))
