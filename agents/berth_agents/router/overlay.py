"""Weights that somebody other than the program sets for a while: a canary, or who divides load between sites.

They are in a ConfigMap of their own, so that neither writes over the other. What they do not name stays as
the document says, and where they are wrong or over, the document alone counts.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime

from berth_agents.router.document import Document, weights_of
from berth_agents.router.reading import DocumentError, Section

ENTRY = "weights.json"
"""Entry of the ConfigMap `<router>-weights`."""
SUFFIX = "-weights"
VERSION = 1
_MOST_BYTES = 100_000


def overlaid(document: Document, text: str, now: datetime) -> Document:
    """The document with the weights of some routes replaced.

    Args:
        document: what the program says.
        text: JSON such as `{"version": 1, "until": "2026-11-28T12:00:00Z", "routes": {"all": {"main": 80,
            "next": 20}}}`; `until` may be left out.
        now: with a time zone; from `until` on the document alone counts.

    Raises:
        DocumentError: the text is not as it should be, or names what the document does not have.
    """
    if len(text) > _MOST_BYTES:
        raise DocumentError(f"the weights have {len(text)} bytes; at most {_MOST_BYTES} are allowed")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"the weights are not JSON: {error}") from error
    top = Section(given, "")
    top.whole("version", VERSION, VERSION)
    until = _moment(top) if top.has("until") else None
    routes = top.section("routes")
    found = {
        route.name: replace(route, weights=weights_of(routes, route.name, document.variants))
        for route in document.routes
        if routes.has(route.name)
    }
    routes.end()
    top.end()
    if until is not None and now >= until:
        return document
    return replace(document, routes=tuple(found.get(route.name, route) for route in document.routes))


def _moment(top: Section) -> datetime:
    text = top.text("until")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise top.refuse("until", text, "a time such as 2026-11-28T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
