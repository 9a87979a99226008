"""Dashboards without Grafana: a local page that draws the same JSON from a Prometheus, and a check of it.

    with Prometheus("http://127.0.0.1:9090") as prometheus:
        board = Board(read_pages(documents), prometheus)
        for finding in examine(board): ...
        with serve(board, script=Path("plotly.min.js")) as server:
            server.serve_forever()

The page may ask for panels by name only: no PromQL comes from a browser.
"""

from .board import Board, Choice, ChoiceError, Window
from .documents import DocumentError, Page, Panel, read_pages
from .examine import Finding, State, examine
from .prometheus import Prometheus, PrometheusError, through_api_server
from .server import serve

__all__ = [
    "Board",
    "Choice",
    "ChoiceError",
    "DocumentError",
    "Finding",
    "Page",
    "Panel",
    "Prometheus",
    "PrometheusError",
    "State",
    "Window",
    "examine",
    "read_pages",
    "serve",
    "through_api_server",
]
