"""`berth status`: what runs of a stack, how loaded, what fires, and what it costs now."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from berth.cli.reports import json_option, stack_argument

if TYPE_CHECKING:
    from berth_stacks.load import Loaded

    from berth.cli.reaching import Reached
    from berth.operations.status import Machines, SiteStatus

WATCH_SECONDS = 5.0
UNKNOWN = 3


@click.command()
@stack_argument
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="[SITE=]NAME",
    help="Ask this context of your kubeconfig; once per site.",
)
@click.option("--watch", is_flag=True, help="Look again every 5 seconds, until Ctrl-C.")
@json_option
def status(stack: str, *, contexts: tuple[str, ...], watch: bool, as_json: bool) -> None:
    """Say what runs of STACK: release, replicas, autoscaler, load, alerts, cost.

    Rates come from the stack's Prometheus, else from two looks at the
    gateways, two seconds apart. What cannot be asked is said to be unknown,
    with what is missing. With --watch --json: one line of JSON for each look.

    Exit codes: 0 everything was seen, 3 a site could not be asked, 2 wrong
    input. Whether something is wrong: ./berth doctor STACK.
    """
    from berth.cli.reaching import reach
    from berth.operations.status import page

    reached = reach(stack, contexts)
    while True:
        began = time.monotonic()
        found = asyncio.run(_look(reached))
        if as_json:
            shown = {"stack": stack, "sites": [asdict(one) for one in found]}
            click.echo(json.dumps(shown, indent=None if watch else 2))
        else:
            if watch:
                click.clear()
            click.echo("\n\n".join(map(page, found)))
        if not watch:
            break
        time.sleep(max(0.0, WATCH_SECONDS - (time.monotonic() - began)))
    if not all(one.reached for one in found):
        raise click.exceptions.Exit(UNKNOWN)


async def _look(reached: Reached) -> list[SiteStatus]:
    from berth.cli.reaching import snapshot
    from berth.operations.status import status as summed
    from berth.operations.status.measure import measure

    machines = _machines(reached.loaded)

    async def one(number: int) -> SiteStatus:
        site = reached.sites[number]
        seen = await snapshot(reached, site)
        measured = await measure(seen, site.kubeconfig, site.context)
        return summed(seen, machines.get(site.site, []), measured)

    return list(await asyncio.gather(*map(one, range(len(reached.sites)))))


def _machines(loaded: Loaded) -> dict[str, list[Machines]]:
    """What costs at each site, with today's prices as the planner knows them."""
    from berth_stacks.fleets import REPLICA, fleets
    from berth_stacks.planned import known_prices

    from berth.cli.stackfile import STACKS
    from berth.operations.status import Machines

    prices, day = known_prices(STACKS), datetime.now(UTC).date()
    found: dict[str, list[Machines]] = {}
    for fleet in fleets(loaded.settings):
        site, _, name = fleet.subject.partition("/")
        price = prices.get(fleet.key)
        why = "" if price else f"no price of {fleet.key}: ./berth plan {loaded.name} says how to give it"
        if price is not None and price.is_stale(day):
            why, price = f"the price of {fleet.key} is of {price.day}, too old to be believed", None
        selector = None if fleet.key.machine == REPLICA else _selector(loaded, site, name)
        found.setdefault(site, []).append(
            Machines(
                subject=fleet.subject,
                kind=str(fleet.key),
                selector=selector,
                server=name if selector is None else "",
                usd_per_hour=None if price is None else price.usd_per_hour,
                why=why,
            )
        )
    return found


def _selector(loaded: Loaded, site: str, pool: str) -> dict[str, str]:
    """Labels that find a pool's nodes: its own on own hardware, else the one that we put on them."""
    from berth.cli.asking import pool_selector

    asked = loaded.settings.sites[site].pools.get(pool)
    if asked is not None and loaded.settings.sites[site].cluster is not None:
        return pool_selector(site, pool, asked)
    return {"berth.dev/pool": pool}
