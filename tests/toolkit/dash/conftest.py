"""Real model servers under load, a real Prometheus that scrapes them, and the page over it."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from berth.localcluster import tool_venv
from berth.operations.dash import Board, Prometheus, Window, examine, read_pages, serve
from berth_components.monitoring.dashboards import dashboards

from bench.dashboards_parts.watched import OBJECTIVES, PARTS, SERVERS, Watched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SEEN_SECONDS = 240.0


def last(seconds: float = 900) -> Window:
    now = time.time()
    return Window(now - seconds, now)


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Servers that were under load until every panel had data; nothing moves any more."""
    with Watched(tmp_path_factory.mktemp("watched")) as found:
        found.press(3)
        with Prometheus(found.url) as prometheus:
            board = board_over(prometheus)
            deadline = time.monotonic() + _SEEN_SECONDS
            while wrong := [one for one in examine(board, last()) if one.is_wrong]:
                assert time.monotonic() < deadline, wrong
                time.sleep(1)
        found.calm()
        yield found


def board_over(prometheus: Prometheus) -> Board:
    documents = dashboards(SERVERS, OBJECTIVES, PARTS, runbooks="/runbooks")
    return Board(read_pages(documents), prometheus, scrape_seconds=PARTS.scrape_seconds, name="watched")


@pytest.fixture(scope="session")
def board(watched: Watched) -> Iterator[Board]:
    with Prometheus(watched.url) as prometheus:
        yield board_over(prometheus)


@pytest.fixture(scope="session")
def script(root: Path) -> Path:
    """The charting library."""
    venv = tool_venv("dash", root / "locks" / "tools" / "dash.txt", expected_seconds=10)
    [found] = venv.glob("lib/python*/site-packages/plotly/package_data/plotly.min.js")
    return found


@pytest.fixture(scope="session")
def address(board: Board, script: Path, root: Path) -> Iterator[str]:
    """Of the page."""
    yield from served(board, script, root)


def served(board: Board, script: Path, root: Path) -> Iterator[str]:
    with serve(board, script, 0, root / "docs" / "runbooks") as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(30)


class StandIn(ThreadingHTTPServer):
    """Answers as Prometheus does, with what a test says; remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.authorisations: list[str] = []
        self.valid = ""
        self.status = 200
        self.body: Any = {"status": "success", "data": {"resultType": "matrix", "result": []}}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        self.server.asked.append((split.path, parse_qs(split.query)))
        given = self.headers.get("Authorization", "")
        self.server.authorisations.append(given)
        body = json.dumps(self.server.body).encode()
        self.send_response(401 if self.server.valid not in {"", given} else self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(30)
