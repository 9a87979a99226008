"""What a router and its controller send to other sites is encrypted, to who can prove it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.routers._documents import HYBRID, ROUTER, Document, documents, entries, items
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Stack, mapping, sequence, survey

_HERE = re.compile(r"http://[-a-z0-9]+\.[-a-z0-9]+\.svc(\.[-.a-z0-9]+)?(:[0-9]+)?")
"""A Service of the cluster: its network policies say who is there."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each backend and each reporter that is not in the cluster."""
    yield from survey(documents(stack, ROUTER), _backends)
    yield from survey(documents(stack, HYBRID), _reporters)


def _backends(router: Document) -> Iterator[Finding]:
    for name, backend in entries(router.body, "backends"):
        if sequence(backend.get("hosts")):
            tls = mapping(backend.get("tls"))
            yield from _proof(router, f"backends.{name}.tls", tls)


def _reporters(hybrid: Document) -> Iterator[Finding]:
    for place, site in items(hybrid.body, "sites"):
        url = str(site.get("url") or "")
        if _HERE.fullmatch(url):
            continue
        if not url.startswith("https://"):
            found = f"{hybrid.path}: {place}.url is {url}, which carries its token in clear"
            yield Finding(found, "https://", hybrid.object.resource)
        yield from _proof(hybrid, place, site)


def _proof(document: Document, place: str, tls: Mapping[str, Any]) -> Iterator[Finding]:
    for key, wanted in (
        ("serverName", "the name that the certificate carries"),
        ("caFile", "the file of the CA that alone may vouch for it"),
    ):
        if not tls.get(key):
            yield Finding(f"{document.path}: {place}.{key} is absent", wanted, document.object.resource)


RULE = Rule(
    name="routers-tls",
    group="routers",
    title="In production a router and its controller speak TLS to other sites, and say who may answer.",
    why="Prompts and keys cross networks that others run; without a name and a CA anybody may answer.",
    fix="Set hybrid.beyond.tls with secret, serverName and caSecret.",
    levels=IN_PRODUCTION,
    types=("kubernetes:core/",),
    check_stack=check,
)
