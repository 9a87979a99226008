"""The page's server: loopback only, for one person, and no way to ask anything but the pages' own panels.

A page of another site cannot read it: the Host has to be loopback's (no name that is rebound), no header
allows another origin, and a request that says it comes from another site is refused.
"""

from __future__ import annotations

import json
import math
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from berth.operations.errors import OperationsError

from .board import Choice, ChoiceError, Window
from .prometheus import PrometheusError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .board import Answer, Board
    from .documents import Page, Panel

    Json = dict[str, Any]
    Query = dict[str, list[str]]

LOOPBACK = "127.0.0.1"
_JAVASCRIPT = "text/javascript; charset=utf-8"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/dash.js": ("dash.js", _JAVASCRIPT),
    "/draw.js": ("draw.js", _JAVASCRIPT),
    "/format.js": ("format.js", _JAVASCRIPT),
    "/dash.css": ("dash.css", "text/css; charset=utf-8"),
}
_SCRIPT = "/plotly.js"
_PAGE = Path(__file__).with_name("page")
_HEADERS = {
    # The charts set styles of their own elements, which needs 'unsafe-inline'; scripts are files only.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_LONGEST_PATH = 8000
_RUNBOOK = re.compile(r"/runbooks/([A-Za-z0-9-]{1,80}\.md)")
_VARIABLE = re.compile(r"var-(\w{1,40})")


class PortTakenError(OperationsError):
    """The port is in use, or not for us; the message says what to do."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    board: Board
    script: Path
    runbooks: Path | None = None

    @property
    def hosts(self) -> frozenset[str]:
        """What a browser on this machine calls us."""
        return frozenset(f"{name}:{self.server_address[1]}" for name in (LOOPBACK, "localhost"))


def serve(board: Board, script: Path, port: int = 0, runbooks: Path | None = None) -> ThreadingHTTPServer:
    """Listen on loopback; `serve_forever` answers.

    Args:
        board: what may be asked.
        script: the charting library.
        port: 0 takes a free one.
        runbooks: folder of `<alert>.md`, shown below /runbooks/.

    Raises:
        PortTakenError: the port cannot be had.
    """
    try:
        server = _Server((LOOPBACK, port), _Handler)
    except OSError as error:
        raise PortTakenError(
            f"port {port} of {LOOPBACK} cannot be had ({error.strerror}); name another by --port, "
            "0 takes a free one"
        ) from None
    server.board, server.script, server.runbooks = board, script, runbooks
    return server


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "berth", ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        objection = self._objection()
        if objection is not None:
            return self._refuse(*objection)
        split = urlsplit(self.path)
        if split.path == _SCRIPT:
            return self._send(self.server.script.read_bytes(), _JAVASCRIPT, keep=True)
        if split.path in _FILES:
            name, kind = _FILES[split.path]
            return self._send((_PAGE / name).read_bytes(), kind)
        runbook = _RUNBOOK.fullmatch(split.path)
        if runbook and self.server.runbooks and (self.server.runbooks / runbook[1]).is_file():
            # A name of letters: it leads to no other folder.
            text = (self.server.runbooks / runbook[1]).read_bytes()
            return self._send(text, "text/plain; charset=utf-8")
        if split.path in _ANSWERS:
            return self._answer(_ANSWERS[split.path], split.query)
        return self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _objection(self) -> tuple[HTTPStatus, str] | None:
        """Why this request is not even looked at."""
        if len(self.path) > _LONGEST_PATH:
            return HTTPStatus.REQUEST_URI_TOO_LONG, "this address is too long"
        if self.headers.get("Host", "") not in self.server.hosts:
            names = ", ".join(sorted(self.server.hosts))
            return HTTPStatus.MISDIRECTED_REQUEST, f"this answers to {names} only"
        if self.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            return HTTPStatus.FORBIDDEN, "another site's page may not read this"
        return None

    def _answer(self, answer: Callable[[Board, Query], Json], query: str) -> None:
        try:
            self._send_json(answer(self.server.board, parse_qs(query, max_num_fields=500)))
        except (ChoiceError, ValueError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except OperationsError as error:
            # The page says it where the panel would be; to the browser, nothing went wrong.
            self._send_json({"error": str(error)})

    def do_HEAD(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD  # noqa: N815 - the names that the base class looks for

    def _send_json(self, body: Json) -> None:
        self._send(json.dumps(body, allow_nan=False).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        # What came as a body, if anything, is not read: the connection ends.
        self.close_connection = True
        self._send(json.dumps({"error": message}).encode(), "application/json", status)

    def _send(
        self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, *, keep: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "private, max-age=86400" if keep else "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: one line per panel and refresh helps nobody."""


def _pages(board: Board, query: Query) -> Json:
    del query
    return {
        "name": board.name,
        "source": board.prometheus.url,
        "pages": [_page(page) for page in board.pages],
    }


def _page(page: Page) -> Json:
    return {
        "name": page.name,
        "title": page.title,
        "text": page.text,
        "variables": [{"name": one.name, "title": one.title} for one in page.variables],
        "panels": [_panel(panel) for panel in page.panels],
    }


def _panel(panel: Panel) -> Json:
    return {
        "id": panel.id,
        "title": panel.title,
        "text": panel.text,
        "kind": panel.kind,
        "section": panel.section,
        "unit": panel.unit,
        "width": panel.width,
        "stacked": panel.stacked,
        "source": panel.source,
        "needs": panel.needs,
        "content": panel.content,
        "queries": [{"ref": one.ref, "expr": one.expr, "legend": one.legend} for one in panel.targets],
        "thresholds": [{"value": one.value, "colour": one.colour} for one in panel.thresholds],
        "drawsThresholds": panel.draws_thresholds,
        "links": [
            {"title": title, "url": url}
            for title, url in panel.links
            if url.startswith(("https://", "/runbooks/"))
        ],
    }


def _values(board: Board, query: Query) -> Json:
    return {"values": board.values(_one(query, "page"), _choice(query), _window(query))}


def _data(board: Board, query: Query) -> Json:
    number = _one(query, "panel")
    if not number.isascii() or not number.isdigit():
        raise ChoiceError(f"panel {number!r} is no number")
    panel = board.panel(_one(query, "page"), int(number[:9]))
    choice, window = _choice(query), _window(query)
    answers = board.answers(panel, choice, window)
    waits = ""
    if panel.needs and not any(answer.has_value for answer in answers):
        try:
            met = board.is_met(panel, choice, window)
        except PrometheusError:
            met = None
        waits = "" if met else panel.needs
    return {"answers": [_answer(answer) for answer in answers], "waits": waits}


def _answer(answer: Answer) -> Json:
    return {
        "ref": answer.target.ref,
        "legend": answer.target.legend,
        "dashed": answer.target.dashed,
        "series": [
            {
                "labels": one.labels,
                "times": [time for time, _ in one.points],
                "values": [value if math.isfinite(value) else None for _, value in one.points],
            }
            for one in answer.series
        ],
    }


_ANSWERS: dict[str, Callable[[Board, Query], Json]] = {
    "/api/pages": _pages,
    "/api/values": _values,
    "/api/panel": _data,
}


def _one(query: Query, name: str) -> str:
    values = query.get(name, [])
    if len(values) != 1:
        raise ChoiceError(f"{name} has to be given once")
    return values[0]


def _window(query: Query) -> Window:
    try:
        return Window(float(_one(query, "from")), float(_one(query, "to")))
    except ValueError:
        raise ChoiceError("from and to are seconds since 1970") from None


def _choice(query: Query) -> Choice:
    found = {}
    for key, values in query.items():
        name = _VARIABLE.fullmatch(key)
        if name:
            found[name[1]] = values
    return Choice(found)
