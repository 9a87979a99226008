"""The dashboards of a stack, and how its Prometheus is reached."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from berth.cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from berth_components.monitoring.facts import Parts, Server
    from berth_components.monitoring.objectives import Objectives

    from berth.operations.dash import Board, Prometheus

    _Told = tuple[list[Server], Mapping[str, Objectives], Parts]

RUNBOOKS = "/runbooks"
"""Where the page shows docs/runbooks."""
PROMETHEUS, PROMETHEUS_PORT = "prometheus", 9090
"""The part of monitoring, and its Service's port."""


@contextlib.contextmanager
def board_of(
    stack: str | None, url: str | None, site: str | None = None, contexts: Sequence[str] = ()
) -> Iterator[Board]:
    """The dashboards of a stack, or of what a Prometheus scrapes, ready to be asked.

    Args:
        stack: whose dashboards; None takes those of whatever the Prometheus scrapes.
        url: of a Prometheus; None takes the stack's.
        site: which of the stack's; None takes the only one.
        contexts: of a kubeconfig, as `reach` takes them.

    Raises:
        UserError: there is no such Prometheus, or it scrapes no model server.
        PrometheusError: of `berth.operations`: it cannot be asked.
    """
    from berth_components.monitoring.dashboards import dashboards

    from berth.operations.dash import Board, Prometheus, read_pages

    prometheus = None if url is None else Prometheus(_checked(url))
    told: _Told | None = None
    if stack is not None:
        found, told = _of_stack(stack, site, contexts, ask=prometheus is None)
        prometheus = prometheus or found
    if prometheus is None:
        raise UserError("name a stack or a Prometheus")
    with prometheus:
        # One that cannot be asked is said once, here, and not by every panel.
        prometheus.instant("vector(1)", time.time())
        servers, objectives, parts = told or _seen(prometheus)
        documents = dashboards(servers, objectives, parts, runbooks=RUNBOOKS)
        yield Board(read_pages(documents), prometheus, scrape_seconds=parts.scrape_seconds, name=stack or "")


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UserError(f"--prometheus {url}: an address such as http://127.0.0.1:9090 is meant")
    return url


def _of_stack(
    stack: str, site: str | None, contexts: Sequence[str], *, ask: bool
) -> tuple[Prometheus | None, _Told]:
    """A stack's Prometheus, if it is to be asked, and what its settings say of a site."""
    from berth_stacks import watching

    from berth.cli.reaching import reach
    from berth.operations.dash import through_api_server

    reached = reach(stack, contexts)
    loaded = reached.loaded
    monitoring = loaded.settings.monitoring
    if monitoring.mode == "none":
        raise UserError(
            f"{stack}: berth:monitoring.mode is none, so nobody watches; set it to bundled and "
            f"`berth up {stack}`"
        )
    if monitoring.mode == "operator" and ask:
        raise UserError(
            f"{stack}: berth:monitoring.mode is operator, so its Prometheus is the operator's; forward a "
            "port to it and name it by --prometheus URL"
        )
    served = sorted({one.site for one in watching.servers(loaded.settings, loaded.name)})
    if site is None and len(served) == 1:
        site = served[0]
    if site not in served:
        raise UserError(f"--site {site or '(none)'}: the stack serves models at {', '.join(served)}")
    told = (
        watching.servers(loaded.settings, loaded.name, [site]),
        watching.objectives(loaded.settings),
        watching.parts(loaded.settings, site),
    )
    if not ask:
        return None, told
    [at] = [one for one in reached.sites if one.site == site]
    if not at.kubeconfig:
        raise UserError(f"{stack}, site {site}: {at.reason}")
    prometheus = through_api_server(
        at.kubeconfig, at.context, monitoring.namespace, f"berth-{PROMETHEUS}", PROMETHEUS_PORT
    )
    return prometheus, told


def _seen(prometheus: Prometheus) -> _Told:
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
