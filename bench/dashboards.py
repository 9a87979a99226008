"""Screenshots of every dashboard under load, and how long they take.

`.venv/bin/python bench/dashboards.py`
`.venv/bin/python bench/dashboards.py --stack local-hybrid --site home --only sites`
Without --prometheus it starts model servers, Prometheus and the node exporter on loopback and loads them.
Needs Debian's chromium. Prints every value with the machine; the pictures go to docs/images/dash-*.jpg.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.cli.dash import LOCK
from berth.cli.dashboards import board_of
from berth.localcluster import tool_venv
from berth.operations.dash import Board, Prometheus, State, Window, examine, read_pages, serve
from berth_components.monitoring.dashboards import dashboards
from dashboards_parts.watched import OBJECTIVES, PARTS, SERVERS, Watched
from playwright.sync_api import Browser, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TALLEST = 2600


@contextlib.contextmanager
def own_board(seconds: float) -> Iterator[Board]:
    """Dashboards over servers that were loaded for some time, and still are."""
    with (
        tempfile.TemporaryDirectory(prefix="berth-bench-") as folder,
        Watched(Path(folder)) as watched,
        Prometheus(watched.url) as prometheus,
    ):
        watched.press(4)
        time.sleep(seconds)
        documents = dashboards(SERVERS, OBJECTIVES, PARTS, runbooks="/runbooks")
        yield Board(read_pages(documents), prometheus, scrape_seconds=PARTS.scrape_seconds)


def shoot(browser: Browser, address: str, name: str, file: Path, *, width: int, dark: bool) -> dict[str, Any]:
    """One page as a picture; how long it took until every panel had its answer."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    began = time.monotonic()
    page.goto(f"{address}/#{name}?range=900")
    page.wait_for_function(
        "name => { const main = document.getElementById('panels');"
        " return main.dataset.page === name && main.dataset.loaded"
        " && !main.querySelector('[data-state=waiting]') }",
        arg=name,
        timeout=120_000,
    )
    seconds = time.monotonic() - began
    page.wait_for_timeout(300)
    height = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(300)
    page.screenshot(path=file, type="jpeg", quality=62)
    context.close()
    return {"page": name, "width": width, "seconds": round(seconds, 2), "bytes": file.stat().st_size,
            "console": said}  # fmt: skip


def main() -> None:
    """Start, load, look, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", help="one that scrapes model servers under load; default: its own")
    parser.add_argument("--stack", help="one whose Prometheus is asked; put load on it meanwhile")
    parser.add_argument("--site", help="of a stack with several Prometheuses: whose")
    parser.add_argument("--only", help="one page instead of all")
    parser.add_argument("--seconds", type=float, default=300, help="of load before the pictures")
    parser.add_argument("--out", type=Path, default=IMAGES)
    given = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("needs Debian's chromium: apt-get install chromium")
    venv = tool_venv("dash", LOCK, expected_seconds=10)
    [script] = venv.glob("lib/python*/site-packages/plotly/package_data/plotly.min.js")
    source = (
        board_of(given.stack, given.prometheus, given.site)
        if given.prometheus or given.stack
        else own_board(given.seconds)
    )
    with source as board, serve(board, script, 0) as server, sync_playwright() as tool:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        now = time.time()
        began = time.monotonic()
        findings = examine(board, Window(now - 900, now))
        checked = time.monotonic() - began
        browser = tool.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        shots = [
            shoot(browser, address, page.name, given.out / f"dash-{page.name}.jpg", width=1280, dark=False)
            for page in board.pages
            if given.only in {None, page.name}
        ]
        if given.only in {None, "fleet"}:
            shots.append(
                shoot(browser, address, "fleet", given.out / "dash-fleet-phone.jpg", width=390, dark=True)
            )
        browser.close()
        server.shutdown()
    states = [one.state for one in findings]
    result = {
        "machine": {"processors": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()},
        "panels": {state.value: states.count(state) for state in State},
        "wrong": [f"{one.page}: {one.panel}: {one.reason}" for one in findings if one.is_wrong],
        "check_seconds": round(checked, 2),
        "page_seconds_median": statistics.median(one["seconds"] for one in shots),
        "script_bytes": script.stat().st_size,
        "pages": shots,
    }
    print(json.dumps(result, indent=2))
    sys.exit(bool(result["wrong"]) or any(one["console"] for one in shots))


if __name__ == "__main__":
    main()
