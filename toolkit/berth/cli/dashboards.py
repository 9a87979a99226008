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
    from berth_components.monitoring.objectives import Objectives

    from berth.cli.console import Console
    from berth.deployer import RunRequest
    from berth.operations.dash import Board, Prometheus

RUNBOOKS = "/runbooks"
"""Where the page shows docs/runbooks."""


@contextlib.contextmanager
def board_of(
    stack: str | None, url: str | None, site: str | None, context: str | None, console: Console
) -> Iterator[Board]:
    """The dashboards of a stack, or of what a Prometheus scrapes, ready to be asked.

    Args:
        stack: whose dashboards; None takes those of whatever the Prometheus scrapes.
        url: of a Prometheus; None takes the stack's.
        site: which of the stack's; None takes the only one.
        context: of a kubeconfig.
        console: where progress goes.

    Raises:
        UserError: there is no such Prometheus, or it scrapes no model server.
    """
    from berth_components.monitoring.dashboards import dashboards

    from berth.operations.dash import Board, Prometheus, read_pages

    prometheus = None if url is None else Prometheus(_checked(url))
    told: tuple[list[Server], Mapping[str, Objectives], Parts] | None = None
    if stack is not None:
        found, told = _of_stack(stack, site, context, console, ask=prometheus is None)
        prometheus = prometheus or found
    if prometheus is None:
        raise UserError("name a stack or a Prometheus")
    with prometheus:
        servers, objectives, parts = told or _seen(prometheus)
        documents = dashboards(servers, objectives, parts, runbooks=RUNBOOKS)
        yield Board(read_pages(documents), prometheus, scrape_seconds=parts.scrape_seconds, name=stack or "")


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UserError(f"--prometheus {url}: an address such as http://127.0.0.1:9090 is meant")
    return url


def _of_stack(
    stack: str, site: str | None, context: str | None, console: Console, *, ask: bool
) -> tuple[Prometheus | None, tuple[list[Server], Mapping[str, Objectives], Parts]]:
    """A stack's Prometheus, if it is to be asked, and what its settings say of a site."""
    from berth_stacks import watching
    from berth_stacks.load import read

    from berth.cli.preparing import Need, prepare
    from berth.cli.stackfile import STACKS

    prepared = prepare(stack, console, need=Need.EXISTING if ask else Need.LOOK, context=context)
    request = prepared.request
    settings = read(STACKS, request.stack, request.config, request.secret_keys).settings
    if settings.monitoring.mode == "none":
        raise UserError(
            f"{stack}: berth:monitoring.mode is none, so nobody watches; set it to bundled and "
            f"`berth up {stack}`"
        )
    served = sorted({one.site for one in watching.servers(settings, request.stack)})
    if site is None and len(served) == 1:
        site = served[0]
    if site not in served:
        raise UserError(f"--site {site or '(none)'}: the stack has monitoring at {', '.join(served)}")
    told = (
        watching.servers(settings, request.stack, [site]),
        watching.objectives(settings),
        watching.parts(settings, site),
    )
    return (_prometheus(stack, site, request) if ask else None), told


def _prometheus(stack: str, site: str, request: RunRequest) -> Prometheus:
    """By the address that the stack's outputs tell, else through the API server."""
    from berth import deployer
    from berth.operations.dash import Prometheus, through_api_server

    outputs = asyncio.run(deployer.outputs(request))
    found = (outputs.get("monitoring") or {}).get(site, {})
    if "prometheus" not in found:
        raise UserError(
            f"{stack} has no Prometheus at {site} yet: `berth up {stack}` first, or name one by "
            "--prometheus URL"
        )
    at: Mapping[str, Any] = found["prometheus"]
    if at.get("url"):
        return Prometheus(at["url"])
    connections = json.loads(request.config.get("berth:connections", "{}"))
    sites = json.loads(request.config["berth:sites"])
    connection = connections.get(site) or sites[site].get("cluster", {})
    return through_api_server(
        connection["kubeconfig"],
        connection.get("context") or "",
        found["namespace"],
        at["service"],
        at["port"],
    )


def _seen(prometheus: Prometheus) -> tuple[list[Server], Mapping[str, Objectives], Parts]:
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
    return servers, {}, Parts(jobs=frozenset(jobs & set(JOBS)))
