"""Dashboards as code: nine pages of panels, as the JSON that Grafana reads and `berth dash` draws.

Pure. Each page is data (`model.py`) in a file of its own; `build.py` makes Grafana's JSON of it with
Grafana's own SDK. A panel whose scrape job is not deployed becomes a text that says which one it needs.
"""

from .build import VARIABLES, dashboards, uid
from .model import Dashboard, Kind, Panel, Query, Section
from .pages import PAGES

__all__ = ["PAGES", "VARIABLES", "Dashboard", "Kind", "Panel", "Query", "Section", "dashboards", "uid"]
