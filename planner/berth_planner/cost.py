"""What a stack's machines cost: at the fewest and at the most replicas.

Only machines: fees of clusters, disks, load balancers, addresses and traffic come on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from berth_planner.figures import Figure
from berth_planner.plan import Check, Section
from berth_planner.prices import MAX_AGE_DAYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from berth_planner.prices import Price, PriceKey

HOURS = 730
"""Hours of a month, as clouds' calculators count them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Machines of one kind that belong together.

    Attributes:
        subject: `<site>/<pool>`.
        key: what is priced.
        fewest: machines at the fewest replicas.
        planned: machines at the planned replicas; None where their number follows the load.
        most: machines at the most replicas.
        accelerator: key of their accelerator; "" where they have none.
        accelerators: in each of them.
        wanted_accelerators: what all replicas ask for at the most.
        zones: where they may be; none where any zone will do.
        account: Google's project; else "".
    """

    subject: str
    key: PriceKey
    fewest: int
    planned: int | None
    most: int
    accelerator: str = ""
    accelerators: int = 0
    wanted_accelerators: int = 0
    zones: tuple[str, ...] = ()
    account: str = ""


def cost(
    fleets: Sequence[Fleet],
    prices: Mapping[PriceKey, Price],
    today: date,
    tokens_per_second: float | None = None,
) -> Section:
    """Prices of all machines, and what they come to.

    A sum is given only where every price is known: one with a gap would be too low.

    Args:
        fleets: the machines.
        prices: as far as they are known.
        today: older prices than a quarter are unknown.
        tokens_per_second: that the planned load of all models generates; None where a load is not planned, or
            the replicas that it needs are unknown.
    """
    checks = tuple(_check(fleet, prices.get(fleet.key), today) for fleet in fleets)
    figures: list[Figure] = []
    unknown: list[str] = []
    if all(check.status == "passed" for check in checks):
        rates = {fleet.subject: prices[fleet.key].usd_per_hour for fleet in fleets}
        figures += _sums("fewest", {fleet.subject: fleet.fewest for fleet in fleets}, rates)
        if all(fleet.planned is not None for fleet in fleets):
            figures += _sums("planned", {fleet.subject: fleet.planned or 0 for fleet in fleets}, rates)
        else:
            unknown.append("at the planned: unknown, for what the planned load needs is not known")
        figures += _sums("most", {fleet.subject: fleet.most for fleet in fleets}, rates)
    planned = next((one for one in figures if one.name == "at the planned"), None)
    if planned and tokens_per_second:
        figures.append(_of_tokens(planned.value, tokens_per_second))
    else:
        unknown.append("USD per million tokens: unknown, for no load with a measured throughput is planned")
    title = "machines alone; cluster fees, disks, balancers and traffic come on top"
    return Section(subject="cost", title=title, checks=checks, figures=tuple(figures), unknown=tuple(unknown))


def per_million_tokens(usd_per_hour: float, tokens_per_second: float) -> float:
    """US dollars per million tokens, at a measured throughput of all replicas together."""
    return usd_per_hour / (tokens_per_second * 3600) * 1_000_000


def _of_tokens(usd_per_hour: float, tokens_per_second: float) -> Figure:
    value = per_million_tokens(usd_per_hour, tokens_per_second)
    return Figure(
        name="USD per million tokens",
        unit="USD",
        value=value,
        low=value,
        high=value,
        formula="USD/h / (tokens/s * 3600) * 1,000,000",
        inputs={"USD/h": usd_per_hour, "tokens/s": tokens_per_second},
    )


def _check(fleet: Fleet, price: Price | None, today: date) -> Check:
    count = str(fleet.fewest) if fleet.fewest == fleet.most else f"{fleet.fewest} to {fleet.most}"
    why = f"{count} of them" + ("" if fleet.fewest else "; asleep when idle")
    wanted = f"one not older than {MAX_AGE_DAYS} days"
    key = fleet.key
    remedy = (
        f"in stacks/prices.yaml: ground {key.ground}, region {key.region}, machine {key.machine}, "
        f"capacity {key.capacity}"
    )
    if key.ground != "own" and key.capacity != "reserved":
        remedy += "; or ./berth plan --ask, with an account of the cloud"
    if price is None or price.is_stale(today):
        return Check(
            subject=fleet.subject,
            name="price",
            status="unknown",
            found=f"no price of {key}" if price is None else f"a price of {key} of {price.day}",
            wanted=wanted,
            why=why,
            remedy=remedy,
        )
    return Check(
        subject=fleet.subject,
        name="price",
        status="passed",
        found=f"{price.usd_per_hour:.4f} USD/h for {key}",
        wanted=wanted,
        why=f"{why}; {price.source}, {price.day}",
    )


def _sums(name: str, counts: Mapping[str, int], rates: Mapping[str, float]) -> list[Figure]:
    hourly = sum(counts[subject] * rate for subject, rate in rates.items())
    inputs: dict[str, float | str] = {}
    for subject, rate in rates.items():
        inputs |= {f"{subject} machines": counts[subject], f"{subject} USD/h": rate}
    monthly = hourly * HOURS
    return [
        Figure(
            name=f"at the {name}",
            unit="USD/h",
            value=hourly,
            low=hourly,
            high=hourly,
            formula="sum of machines * USD/h",
            inputs=inputs,
        ),
        Figure(
            name=f"at the {name}, a month",
            unit="USD",
            value=monthly,
            low=monthly,
            high=monthly,
            formula=f"USD/h * {HOURS}",
            inputs={"USD/h": hourly},
        ),
    ]
