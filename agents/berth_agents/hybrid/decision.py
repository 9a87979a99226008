"""Which share of the requests each site gets, from what was observed. Pure: no clock, no network.

Sites are in order of preference. The first one has everything until its queue is longer than wanted; then
the next ones take a share, a step at a time, as long as what they cost stays below the cap. When the queue is
short again the share goes back, slower than it came, so that two sites do not swing.

A site that says nothing gets nothing: who is gone cannot be asked, and a request that waits for it is lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOTAL = 10_000
"""All of the requests, in hundredths of a percent."""


@dataclass(frozen=True)
class Site:
    """A place where the model is served.

    Attributes:
        name: as the router's variants call it.
        cost_per_replica_hour: in US dollars; 0 for own hardware.
        most_replicas: it can have no more.
    """

    name: str
    cost_per_replica_hour: float
    most_replicas: int


@dataclass(frozen=True)
class Policy:
    """How load is divided.

    Attributes:
        cost_cap_per_hour: US dollars that all sites together may cost an hour; None is no cap.
        overflow_at: waiting requests per replica of a site, above which load leaves it.
        return_below: waiting requests per replica, below which load comes back to it. Less than overflow_at.
        step: hundredths of a percent that move to another site at a time.
        return_step: the same for the way back; smaller, so that it does not swing.
    """

    cost_cap_per_hour: float | None
    overflow_at: float = 4.0
    return_below: float = 1.0
    step: int = 1_000
    return_step: int = 500


@dataclass(frozen=True)
class Observed:
    """What a site said of itself.

    Attributes:
        waiting: requests that wait for a slot, of all its gateways.
        ready_replicas: that serve now.
        billed_replicas: that cost now, those that start among them.
    """

    waiting: int
    ready_replicas: int
    billed_replicas: int

    @property
    def per_replica(self) -> float:
        """Waiting requests per replica."""
        return self.waiting / self.ready_replicas if self.ready_replicas else 0.0


@dataclass(frozen=True)
class Decision:
    """What to do, and why.

    Attributes:
        weights: hundredths of a percent by site, together `TOTAL`; empty where no site can serve.
        cost_per_hour: what all sites cost now, in US dollars.
        capped: whether load stays where it waits because of the cost cap.
        reason: in a few words, for the log.
    """

    weights: Mapping[str, int]
    cost_per_hour: float
    capped: bool
    reason: str


def check(sites: Sequence[Site], policy: Policy) -> None:
    """Refuse what cannot work.

    Raises:
        ValueError: names the value and what is allowed.
    """
    names = [site.name for site in sites]
    if not sites or len(set(names)) != len(names):
        raise ValueError(f"sites are {names}; at least one is needed, each name once")
    for site in sites:
        if site.cost_per_replica_hour < 0 or site.most_replicas < 1:
            raise ValueError(f"site {site.name} costs less than nothing, or has no replica")
    if not 0 <= policy.return_below < policy.overflow_at:
        raise ValueError(
            f"return_below is {policy.return_below:g}; it must be at least 0 and below overflow_at, "
            f"{policy.overflow_at:g}"
        )
    if not 0 < policy.return_step <= policy.step <= TOTAL:
        raise ValueError(
            f"return_step is {policy.return_step} and step {policy.step}; they must be above 0, at most "
            f"{TOTAL}, and return_step no larger than step"
        )
    if policy.cost_cap_per_hour is not None and policy.cost_cap_per_hour < 0:
        raise ValueError(f"cost_cap_per_hour is {policy.cost_cap_per_hour:g}; it must be at least 0")


@dataclass
class _Work:
    """One decision in the making: who can serve, and the weights so far."""

    able: Sequence[Site]
    policy: Policy
    observed: Mapping[str, Observed]
    weights: dict[str, int]
    cost: float

    @property
    def room(self) -> float | None:
        """Dollars an hour below the cap; None where there is no cap."""
        cap = self.policy.cost_cap_per_hour
        return None if cap is None else cap - self.cost

    def move(self, source: Site, target: Site, most: int) -> None:
        moved = min(most, self.weights[source.name])
        self.weights[source.name] -= moved
        self.weights[target.name] += moved

    def done(self, reason: str, *, capped: bool = False) -> Decision:
        weights = {name: weight for name, weight in self.weights.items() if weight}
        return Decision(weights, self.cost, capped=capped, reason=reason)


def decide(
    sites: Sequence[Site],
    policy: Policy,
    observed: Mapping[str, Observed],
    current: Mapping[str, int],
) -> Decision:
    """Divide the load anew.

    Args:
        sites: in order of preference.
        policy: how.
        observed: by site; a site that was not heard of is left out.
        current: the weights in force; empty at the start.
    """
    heard = [site for site in sites if site.name in observed]
    cost = sum(site.cost_per_replica_hour * observed[site.name].billed_replicas for site in heard)
    able = [site for site in heard if observed[site.name].ready_replicas]
    if not able:
        return Decision({}, cost, capped=False, reason="no site can serve")
    weights = {site.name: current.get(site.name, 0) for site in able}
    # What the silent had goes to the one that is preferred.
    weights[able[0].name] += TOTAL - sum(weights.values())
    work = _Work(able, policy, observed, weights, cost)
    if work.room is not None and work.room < 0:
        return _retreat(work)
    if lost := sorted(name for name, weight in current.items() if weight and name not in weights):
        return work.done(f"{', '.join(lost)} cannot serve")
    for here, source in enumerate(able):
        if weights[source.name] and observed[source.name].per_replica > policy.overflow_at:
            return _overflow(work, here)
    return _back(work)


def _overflow(work: _Work, here: int) -> Decision:
    source, policy = work.able[here], work.policy
    waiting = f"{work.observed[source.name].per_replica:.1f} wait per replica at {source.name}"
    capped = False
    for target in work.able[here + 1 :]:
        seen = work.observed[target.name]
        if seen.per_replica > policy.overflow_at and seen.billed_replicas >= target.most_replicas:
            continue  # it is as full, and cannot grow
        # Load makes a site grow: room for one more replica must be there, unless nobody waits for one.
        grows = seen.waiting > 0 and seen.billed_replicas < target.most_replicas
        if work.room is not None and grows and target.cost_per_replica_hour > work.room:
            capped = True
            continue
        work.move(source, target, policy.step)
        return work.done(f"{waiting}; more to {target.name}")
    why = "the cost cap keeps it there" if capped else "no other site has room"
    return work.done(f"{waiting}; {why}", capped=capped)


def _back(work: _Work) -> Decision:
    """Some of the load of the last site that has any goes back to the first that has room."""
    for number, source in reversed([*enumerate(work.able)]):
        for target in work.able[:number] if work.weights[source.name] else ():
            if work.observed[target.name].per_replica < work.policy.return_below:
                work.move(source, target, work.policy.return_step)
                return work.done(f"{target.name} has room again; less to {source.name}")
    return work.done("as it was")


def _retreat(work: _Work) -> Decision:
    """It costs more than it may: the dearest site gives load to the first that costs less."""
    used = (site for site in work.able if work.weights[site.name])
    dearest = max(used, key=lambda site: site.cost_per_replica_hour)
    cheaper = [site for site in work.able if site.cost_per_replica_hour < dearest.cost_per_replica_hour]
    reason = f"{work.cost:.2f} dollars an hour are above the cap"
    if cheaper:
        work.move(dearest, cheaper[0], work.policy.step)
        reason += f"; less to {dearest.name}"
    return work.done(reason, capped=True)
