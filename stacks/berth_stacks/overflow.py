"""What replicas of hybrid routers' sites cost, and whether the cap leaves room for them."""

from collections.abc import Iterator, Mapping
from datetime import date

from berth_planner.figures import Figure
from berth_planner.plan import Check, Section
from berth_planner.prices import MAX_AGE_DAYS, Price, PriceKey

from berth_stacks import pools
from berth_stacks.build import Placed, placed
from berth_stacks.hybrid_settings import Hybrid
from berth_stacks.router_settings import Router
from berth_stacks.settings import Stack

REPLICA_PRICE, CAP = "replica price", "cost cap"
"""Names of the checks."""
OWN = "own hardware, which is paid anyway"


def replica_costs(stack: Stack, prices: Mapping[PriceKey, Price], today: date) -> dict[str, dict[str, float]]:
    """US dollars per replica and hour, by router and site; one that is not known is left out."""
    return {
        key: {
            site: cost
            for site, (cost, _) in _costs(stack, router.hybrid, prices, today).items()
            if cost is not None
        }
        for key, router in stack.routers.items()
        if router.hybrid
    }


def overflow(stack: Stack, prices: Mapping[PriceKey, Price], today: date) -> list[Section]:
    """Of each hybrid router: what a replica costs at each site, and whether the cap holds the fewest.

    Args:
        stack: its settings, which are right.
        prices: as far as they are known.
        today: older prices than a quarter are unknown.
    """
    return [
        _section(stack, key, router, router.hybrid, _costs(stack, router.hybrid, prices, today))
        for key, router in stack.routers.items()
        if router.hybrid
    ]


_Costs = Mapping[str, tuple[float | None, str]]
"""US dollars per replica and hour by site, None where they are not known; and where they are from."""


def _costs(stack: Stack, hybrid: Hybrid, prices: Mapping[PriceKey, Price], today: date) -> _Costs:
    return {
        at.site_key: _cost(hybrid, at, prices, today)
        for at in sorted(_of(stack, hybrid), key=lambda one: hybrid.sites.index(one.site_key))
    }


def _of(stack: Stack, hybrid: Hybrid) -> list[Placed]:
    return [one for one in placed(stack) if one.model_key == hybrid.model and one.site_key in hybrid.sites]


def _cost(
    hybrid: Hybrid, at: Placed, prices: Mapping[PriceKey, Price], today: date
) -> tuple[float | None, str]:
    if at.site_key in hybrid.cost_per_replica_hour:
        return hybrid.cost_per_replica_hour[at.site_key], "costPerReplicaHour"
    if at.site.cluster and at.site.cluster.stack is None:
        return 0, OWN
    pool = at.pool
    machine = pools.machine_of(at.site, pool) if pool else None
    if pool is None or machine is None or not at.gpus:
        return None, "no pool whose machine has a price"
    capacity = pools.capacity_of(pool)
    key = PriceKey(pools.catalogue_ground(at.site), pools.region_of(at.site), machine.name, capacity)
    price = prices.get(key)
    if price is None or price.is_stale(today):
        return None, f"no price of {key}" if price is None else f"a price of {key} of {price.day}"
    on_one = max(1, pool.accelerators_per_node // at.gpus)
    return price.usd_per_hour / on_one, f"{key}, {on_one} on a machine; {price.source}, {price.day}"


def _section(stack: Stack, key: str, router: Router, hybrid: Hybrid, costs: _Costs) -> Section:
    known = {site: cost for site, (cost, _) in costs.items() if cost is not None}
    figures: tuple[Figure, ...] = ()
    if len(known) == len(costs):
        figures = tuple(_sums(stack, hybrid, known))
    return Section(
        subject=f"{router.site}/{key}",
        title=f"hybrid: {hybrid.model} at {', '.join(hybrid.sites)}",
        checks=(*_prices(key, costs), _cap(key, router, hybrid, figures)),
        figures=figures,
        unknown=() if figures else ("at the fewest replicas: unknown, for a price is",),
    )


def _prices(key: str, costs: _Costs) -> Iterator[Check]:
    wanted = f"US dollars per hour, not older than {MAX_AGE_DAYS} days"
    for site, (cost, source) in costs.items():
        yield Check(
            subject=f"{site}/{key}",
            name=REPLICA_PRICE,
            status="unknown" if cost is None else "passed",
            found=source if cost is None else f"{cost:.4f} USD/h",
            wanted=wanted,
            why="the controller keeps what all sites cost below costCapPerHour" if cost is None else source,
            remedy=(
                f"set berth:routers.{key}.hybrid.costPerReplicaHour.{site}, a price in stacks/prices.yaml, "
                "or ./berth plan --ask with an account of the cloud"
                if cost is None
                else ""
            ),
        )


def _cap(key: str, router: Router, hybrid: Hybrid, figures: tuple[Figure, ...]) -> Check:
    cap = hybrid.cost_cap_per_hour
    fewest = figures[0].value if figures else None
    fits = fewest is not None and fewest <= cap
    return Check(
        subject=f"{router.site}/{key}",
        name=CAP,
        status="unknown" if fewest is None else "passed" if fits else "failed",
        found=f"{cap:.4f} USD/h"
        if fewest is None
        else f"{cap:.4f} USD/h, {fewest:.4f} at the fewest replicas",
        wanted="no less than the fewest replicas of all sites cost",
        why="those run whether load goes there or not",
        remedy="" if fits else _remedy(key, known=fewest is not None),
    )


def _remedy(key: str, *, known: bool) -> str:
    if not known:
        return "say what a replica costs at each site"
    return f"raise berth:routers.{key}.hybrid.costCapPerHour, or lower autoscaling.min"


def _sums(stack: Stack, hybrid: Hybrid, costs: Mapping[str, float]) -> Iterator[Figure]:
    at = {one.site_key: one for one in _of(stack, hybrid)}
    counts = {
        "fewest": {
            site: one.model.autoscaling.min if one.model.autoscaling else one.most for site, one in at.items()
        },
        "most": {site: one.most for site, one in at.items()},
    }
    for name, replicas in counts.items():
        hourly = sum(replicas[site] * cost for site, cost in costs.items())
        inputs: dict[str, float | str] = {}
        for site, cost in costs.items():
            inputs |= {f"{site} replicas": replicas[site], f"{site} USD/h": cost}
        yield Figure(
            name=f"replicas at the {name}",
            unit="USD/h",
            value=hourly,
            low=hourly,
            high=hourly,
            formula="sum of replicas * USD/h",
            inputs=inputs,
        )
