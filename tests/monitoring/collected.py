"""The real Collector's program, and a backend that it sends to: for tests and `bench/collector.py`."""

from __future__ import annotations

import gzip
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.localcluster import SILENT, Progress, build_tool
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.listening import listening

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = Path(__file__).parent / "otelcol"
_FAILED = 2
_NANO = 1_000_000_000


def program(progress: Progress = SILENT) -> Path:
    """The Collector, built once into the cache: three minutes of two cores."""
    return build_tool("otelcol", MODULE, ["."], expected_seconds=200, progress=progress) / "otelcol"


@dataclass(frozen=True)
class Line:
    """A line of a log: its text, and what was said of its source."""

    text: str
    source: dict[str, str]


@dataclass
class Backend:
    """Takes traces and logs by OTLP over HTTP, as long as it wishes to.

    Attributes:
        url: where it listens.
        token: what it lets in.
        status: what it answers who has the token: 200 takes, 503 is away, 400 refuses for good.
        spans: what it took, by trace.
        lines: what it took of logs.
        asked: how often it was asked.
    """

    url: str
    token: str
    status: int = 200
    spans: dict[str, list[Any]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    asked: int = 0

    def take(self, path: str, body: bytes) -> None:
        """Take what came."""
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self.spans.setdefault(span.trace_id.hex(), []).append(span)
        elif path == "/v1/logs":
            for one in ExportLogsServiceRequest.FromString(body).resource_logs:
                source = {each.key: each.value.string_value for each in one.resource.attributes}
                self.lines += [
                    Line(record.body.string_value, source)
                    for scope in one.scope_logs
                    for record in scope.log_records
                ]


def is_failed(spans: list[Any]) -> bool:
    """Whether one of a trace's spans failed."""
    return any(span.status.code == _FAILED for span in spans)


def seconds(spans: list[Any]) -> float:
    """How long a trace was."""
    began = min(one.start_time_unix_nano for one in spans)
    return float((max(one.end_time_unix_nano for one in spans) - began) / _NANO)


@contextmanager
def backend(host: str, token: str) -> Iterator[Backend]:
    """Listen while the block runs."""
    made = Backend("", token)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            made.asked += 1
            known = self.headers.get("authorization") == f"Bearer {made.token}"
            status = made.status if known else 401
            if status == 200:
                made.take(self.path, body)
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with listening(host, Handler) as url:
        made.url = url
        yield made
