"""The dashboards of a stack, and how its Prometheus is reached."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from berth.cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from berth_components.monitoring.facts import Parts, Server

    from berth.cli.console import Console
    from berth.operations.dash import Board, Prometheus

RUNBOOKS = "/runbooks"
"""Where the page shows docs/runbooks."""


@contextlib.contextmanager
def board_of(
    stack: str | None, url: str | None, site: str | None, context: str | None, console: Console
) -> Iterator[Board]:
    """The dashboards of what a Prometheus scrapes, ready to be asked.

    Args:
        stack: whose Prometheus; None where `url` is given.
        url: of a Prometheus.
        site: which of the stack's; None takes the only one.
        context: of a kubeconfig.
        console: where progress goes.

    Raises:
        UserError: there is no such Prometheus, or it scrapes no model server.
    """
    from berth_components.monitoring.dashboards import dashboards

    from berth.operations.dash import Board, Prometheus, read_pages

    absent: Mapping[str, str] = {}
    if url is not None:
        prometheus = Prometheus(_checked(url))
    elif stack is not None:
        prometheus, absent = _of_stack(stack, site, context, console)
    with prometheus:
        servers, parts = _facts(prometheus, absent)
        documents = dashboards(servers, {}, parts, runbooks=RUNBOOKS)
        yield Board(read_pages(documents), prometheus, scrape_seconds=parts.scrape_seconds, name=stack or "")


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UserError(f"--prometheus {url}: an address such as http://127.0.0.1:9090 is meant")
    return url


def _of_stack(
    stack: str, site: str | None, context: str | None, console: Console
) -> tuple[Prometheus, Mapping[str, str]]:
    """A stack's Prometheus, by the address that its outputs tell, else through the API server."""
    from berth import deployer
    from berth.cli.preparing import Need, prepare
    from berth.operations.dash import Prometheus, through_api_server

    prepared = prepare(stack, console, need=Need.EXISTING, context=context)
    outputs = asyncio.run(deployer.outputs(prepared.request))
    monitoring = outputs.get("monitoring")
    if not isinstance(monitoring, dict) or not monitoring:
        raise UserError(
            f"the stack '{stack}' has no output `monitoring`: `berth up {stack}` with monitoring first, or "
            "name a Prometheus by --prometheus URL"
        )
    if site is None and len(monitoring) == 1:
        site = next(iter(monitoring))
    if site not in monitoring:
        raise UserError(f"--site {site or '(none)'}: the stack has monitoring at {', '.join(monitoring)}")
    found: Mapping[str, Any] = monitoring[site]
    at: Mapping[str, Any] = found["prometheus"]
    absent: Mapping[str, str] = found.get("absent", {})
    if at.get("url"):
        return Prometheus(at["url"]), absent
    config = prepared.request.config
    connections = json.loads(config.get("berth:connections", "{}"))
    connection = connections.get(site) or json.loads(config["berth:sites"])[site].get("cluster", {})
    return (
        through_api_server(
            connection["kubeconfig"],
            connection.get("context") or "",
            found["namespace"],
            at["service"],
            at["port"],
        ),
        absent,
    )


def _facts(prometheus: Prometheus, absent: Mapping[str, str]) -> tuple[list[Server], Parts]:
    """What a Prometheus scrapes: model servers, and the sources beside them."""
    from berth_catalogue.engines import engines
    from berth_components.monitoring.facts import JOBS, Parts, Server

    now = time.time()

    def has(name: str) -> set[tuple[str | None, str | None]]:
        found = prometheus.instant(f"count by (site, model) ({name})", now)
        return {(one.labels.get("site"), one.labels.get("model")) for one in found}

    jobs = {one.labels.get("job", "") for one in prometheus.instant("count by (job) (up)", now)}
    told = prometheus.instant("count by (site, model, variant, namespace, engine) (berth_server_info)", now)
    priced, filtered = has("berth_cost_dollars_total"), has("berth_filter_duration_seconds_count")
    refusing, tls = has("server:refusals:share1h"), has("berth_certificate_expires_timestamp_seconds")
    servers = []
    for labels in (one.labels for one in told):
        key = labels.get("site"), labels.get("model")
        if labels.get("site") and labels.get("model") and labels.get("engine") in engines():
            servers.append(
                Server(
                    site=labels["site"],
                    model=labels["model"],
                    namespace=labels.get("namespace", ""),
                    name=labels["model"],
                    engine=labels["engine"],
                    variant=labels.get("variant", "main"),
                    priced=key in priced,
                    filtered=key in filtered,
                    refusals=key in refusing,
                    tls=key in tls,
                )
            )
    if not servers:
        raise UserError(
            f"{prometheus.url} scrapes no model server: no series berth_server_info has the labels "
            "site and model. Is the stack's model server running, and is this its Prometheus?"
        )
    return servers, Parts(jobs=frozenset(jobs & set(JOBS)), absent=absent)
