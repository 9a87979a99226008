"""The page's server: loopback only, the pages' own panels only, and nothing for other sites' pages."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from berth.operations.dash import Board, Prometheus, serve
from berth.operations.dash.server import PortTakenError

from tests.toolkit.dash.conftest import last, served

if TYPE_CHECKING:
    from pathlib import Path


def window() -> dict[str, float]:
    now = last()
    return {"from": now.start, "to": now.end}


def get(address: str, path: str, **headers: str) -> tuple[int, Any, http.client.HTTPMessage]:
    """Ask with exactly these headers."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, answer.headers


def test_it_listens_on_loopback_alone(address: str) -> None:
    port = urlsplit(address).port
    assert port
    own = socket.gethostbyname(socket.gethostname())
    if own.startswith("127."):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("198.51.100.1", 9))
            own = probe.getsockname()[0]
    with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
        socket.create_connection((own, port), timeout=10).close()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "", "127.0.0.1.evil.example"]
)
def test_a_name_that_was_rebound_gets_nothing(address: str, host: str) -> None:
    for path in ("/", "/api/pages"):
        status, body, _ = get(address, path, Host=host)
        assert status == 421
        assert b"only" in body


def test_a_page_of_another_site_gets_nothing(address: str) -> None:
    for site in ("cross-site", "same-site"):
        status, _, headers = get(address, "/api/pages", Sec_Fetch_Site=site)
        assert status == 403
        assert not [name for name in headers if name.lower().startswith("access-control")]
    assert get(address, "/api/pages", Sec_Fetch_Site="same-origin")[0] == 200


def test_it_is_no_way_to_ask_prometheus_anything_else(address: str, board: Board) -> None:
    query = {"query": "up", "expr": "up", **window()}
    for path in (
        "/api/v1/query",
        "/api/v1/status/config",
        "/graph",
        "/-/reload",
        "/plotly.js/..%2f..",
        "/../x",
    ):
        assert get(address, f"{path}?{urlencode(query)}")[0] == 404
    # What is not a name of ours changes nothing.
    plain = get(address, f"/api/panel?{urlencode({'page': 'fleet', 'panel': 1, **window()})}")
    more = get(address, f"/api/panel?{urlencode({'page': 'fleet', 'panel': 1, **query})}")
    assert plain[0] == more[0] == 200
    assert [one["ref"] for one in json.loads(more[1])["answers"]] == ["A"]
    assert "password" not in board.prometheus.url


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_only_get_is_answered(address: str, method: str) -> None:
    answer = httpx.request(method, f"{address}/api/pages", content=b"" if method == "HEAD" else b"x" * 100)
    assert answer.status_code == 405


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({}, "panel"),
        ({"page": "fleet", "panel": "1"}, "from has to be given once"),
        ({"page": "fleet", "panel": "one", "from": 1, "to": 2}, "panel 'one' is no number"),
        ({"page": "fleet", "panel": "999", "from": 1, "to": 2}, "page fleet has no panel 999"),
        ({"page": "moon", "panel": "1", "from": 1, "to": 2}, "no page 'moon'; there are: fleet, environment"),
        ({"page": "fleet", "panel": "1", "from": "x", "to": 2}, "seconds since 1970"),
        ({"page": "fleet", "panel": "1", "from": "nan", "to": 2}, "begin before it ends"),
        ({"page": "fleet", "panel": "1", "from": 3, "to": 2}, "begin before it ends"),
        ({"page": "fleet", "panel": "1", "from": 1, "to": 2, "var-site": "x" * 999}, "variable site"),
    ],
)
def test_wrong_input_is_named(address: str, query: dict[str, Any], says: str) -> None:
    status, body, _ = get(address, f"/api/panel?{urlencode(query)}")
    assert status == 400
    assert says in json.loads(body)["error"]


def test_too_much_is_refused(address: str) -> None:
    assert get(address, "/" + "x" * 20_000)[0] == 414
    assert get(address, "/api/panel?" + "&".join(f"a{i}=1" for i in range(900)))[0] == 400


def test_every_answer_forbids_what_the_page_does_not_need(address: str) -> None:
    for path in ("/", "/dash.js", "/api/pages", "/nothing"):
        headers = get(address, path)[2]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Python" not in headers.get("Server", "")


def test_runbooks_are_shown_and_no_other_file(address: str, root: Path) -> None:
    for name in ("../features.md", "..%2ffeatures.md", "/etc/passwd", "No Such.md", "NoSuchAlert.md"):
        assert get(address, f"/runbooks/{name}".replace(" ", "%20"))[0] == 404
    pages = sorted((root / "docs" / "runbooks").glob("[A-Z]*.md"))
    for page in pages[:2]:
        status, body, headers = get(address, f"/runbooks/{page.name}")
        assert (status, body) == (200, page.read_bytes())
        assert headers["Content-Type"].startswith("text/plain")


def test_a_taken_port_is_told(address: str, board: Board, script: Path) -> None:
    port = urlsplit(address).port
    assert port
    with pytest.raises(PortTakenError, match=f"port {port} .* name another by --port"):
        serve(board, script, port)


def test_values_are_those_of_the_servers(address: str) -> None:
    asked = {"page": "fleet", **window()}
    _, body, _ = get(address, f"/api/values?{urlencode(asked)}")
    assert json.loads(body)["values"] == {
        "site": ["home"],
        "model": ["chat", "summaries"],
        "variant": ["main"],
    }
    _, body, _ = get(address, f"/api/values?{urlencode({**asked, 'var-site': 'elsewhere'})}")
    assert json.loads(body)["values"]["model"] == []


def test_a_prometheus_that_is_away_is_an_answer_and_no_failure(
    board: Board, script: Path, root: Path
) -> None:
    with Prometheus("http://127.0.0.1:1") as gone:
        for address in served(Board(board.pages, gone), script, root):
            query = {"page": "fleet", "panel": 1, **window()}
            status, body, _ = get(address, f"/api/panel?{urlencode(query)}")
            assert status == 200
            assert "is it running?" in json.loads(body)["error"]
