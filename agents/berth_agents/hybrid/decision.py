"""Which share of the requests each site gets, from what was observed. Pure: no clock, no network.

Sites are in order of preference. The first one has everything until its queue is longer than wanted; then
the next ones take a share, a step at a time, as long as what they cost stays below the cap. When there is
room again the share goes back, slower than it came; all at once to a site that was lost, if it is little.

Two things keep it from swinging. After load left a site the next step waits until the queue has not got
shorter by it. And load comes back only where the engines have slots for it, what came a moment ago included.

A site that falls silent keeps what it has, gets no more and gives no more: the router itself sees within
seconds whether its gateways are gone, and a lost reporter must not send everything to the site that costs.
But after a while a silent site that costs money loses its load, step by step, since the cap cannot be
watched. A site that says that nothing is ready there loses its load at once.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

TOTAL = 10_000
"""All of the requests, in hundredths of a percent."""
REASONS = ("overflow", "back", "lost", "retreat", "unwatched", "capped", "none")
"""Kinds of decisions. `retreat`: it costs more than it may. `unwatched`: a site that costs is silent for too
long. `capped`: load waits because of the cap. `none`: nothing to do."""
SETTLE = 5
"""Decisions after which a move has shown its effect."""
ROOM = 0.85
"""Of a site's slots; above, another request is likely to wait."""
HALF = 0.5
"""Of a site's slots; below, load may come back without waiting for the effect of what came before."""
SHORTER = 0.8
"""Of what the queue was; below, it gets shorter by itself, and the next step is not needed."""
_SMOOTHING = 0.25


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
        return_step: the same for the way back; no larger.
        silent_seconds: without a word for longer, a site is silent.
        hold_seconds: a silent site that costs money keeps its load for so long.
    """

    cost_cap_per_hour: float | None
    overflow_at: float = 4.0
    return_below: float = 1.0
    step: int = 1_000
    return_step: int = 500
    silent_seconds: float = 10.0
    hold_seconds: float = 60.0


@dataclass(frozen=True)
class Observed:
    """What a site said of itself.

    Attributes:
        waiting: requests that wait for a slot, of the gateways that could be read.
        running: requests that have one.
        slots: of those gateways; 0 where nobody said.
        ready_replicas: that serve now.
        billed_replicas: that cost now, those that start or end among them.
        unread: ready replicas whose gateways could not be read.
    """

    waiting: int
    ready_replicas: int
    billed_replicas: int
    running: int = 0
    slots: int = 0
    unread: int = 0

    @property
    def known(self) -> bool:
        """Whether its numbers say anything: at least one ready gateway was read."""
        return self.ready_replicas > self.unread

    @property
    def per_replica(self) -> float:
        """Waiting requests per replica that could be read."""
        return self.waiting / (self.ready_replicas - self.unread) if self.known else 0.0


@dataclass(frozen=True)
class Heard:
    """What is known of a site.

    Attributes:
        said: what it said last; None: nothing yet.
        seconds: since it said so; where it never did, since somebody asks.
        new: it said so after the decision before.
    """

    said: Observed | None
    seconds: float = 0.0
    new: bool = True


@dataclass(frozen=True)
class Past:
    """What one decision tells the next.

    Attributes:
        weights: in force, hundredths of a percent by site; empty: all at the first site.
        running: requests that run, smoothed, by site.
        left: by site that load left because of its queue: the queue per replica then, decisions since.
        came: by site: hundredths that came to it, in each of the last `SETTLE` decisions.
        lost: sites that could not serve what they had, and have not got it back.
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, float] = field(default_factory=dict)
    left: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    came: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Decision:
    """What to do, and why.

    Attributes:
        weights: hundredths of a percent by site, all sites in their order, together `TOTAL`.
        cost_per_hour: what all sites cost, in US dollars, by the last that each said.
        capped: the cost cap keeps load where it waits, or is exceeded.
        reason: one of `REASONS`.
        words: the same in a few words, for the log.
        past: for the next decision.
    """

    weights: Mapping[str, int]
    cost_per_hour: float
    capped: bool
    reason: str
    words: str
    past: Past


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
    if not 0 < policy.silent_seconds <= policy.hold_seconds:
        raise ValueError(
            f"silent_seconds is {policy.silent_seconds:g}; it must be above 0 and at most hold_seconds, "
            f"{policy.hold_seconds:g}"
        )


def decide(sites: Sequence[Site], policy: Policy, heard: Mapping[str, Heard], past: Past) -> Decision:
    """Divide the load anew.

    Args:
        sites: in order of preference.
        policy: how.
        heard: by site; one that is left out was never heard.
        past: of the decision before; at the start the weights in force alone.
    """
    work = _Work(sites, policy, heard, past)
    for attempt in (_lost, _retreat, _unwatched, _pushed_back, _overflow, _back):
        if words := attempt(work):
            return work.done(attempt.__name__.lstrip("_"), words)
    return work.done("none", work.note or "as it was")


class _Work:
    """One decision in the making: who can serve, and the weights so far."""

    def __init__(self, sites: Sequence[Site], policy: Policy, heard: Mapping[str, Heard], past: Past) -> None:
        self.sites, self.policy, self.past = sites, policy, past
        self.heard = {
            site.name: heard.get(site.name) or Heard(None, policy.hold_seconds, new=False) for site in sites
        }
        self.weights = {site.name: past.weights.get(site.name, 0) for site in sites}
        self.weights[sites[0].name] += TOTAL - sum(self.weights.values())
        self.left = {name: (queue, age + 1) for name, (queue, age) in past.left.items()}
        self.came = {site.name: 0 for site in sites}
        used = [number for number, site in enumerate(sites) if self.weights[site.name]]
        # What no later site has, it has got back.
        self.lost = past.lost & {site.name for site in sites[: max(used)]}
        self.running = self._smoothed()
        self.cost = sum(
            site.cost_per_replica_hour * seen.said.billed_replicas
            for site in sites
            if (seen := self.heard[site.name]).said
        )
        self.capped = False
        self.note = ""

    def _smoothed(self) -> dict[str, float]:
        found = dict(self.past.running)
        for name, one in self.heard.items():
            if one.said and not one.said.ready_replicas:
                found[name] = 0.0
            elif one.said and one.said.known and one.new:
                before = found.get(name, float(one.said.running))
                found[name] = before + _SMOOTHING * (one.said.running - before)
        return found

    @property
    def is_above(self) -> bool:
        """Whether it costs more than it may."""
        cap = self.policy.cost_cap_per_hour
        return cap is not None and self.cost > cap

    def may_get(self, site: Site) -> bool:
        """Above the cap nobody who costs gets more."""
        return not (self.is_above and site.cost_per_replica_hour)

    @property
    def room(self) -> float | None:
        """Dollars an hour below the cap; None where there is no cap."""
        cap = self.policy.cost_cap_per_hour
        if cap is None:
            return None
        if any(site.cost_per_replica_hour and not self.heard[site.name].said for site in self.sites):
            return 0.0  # nobody knows what it costs, so nothing may be added
        return cap - self.cost

    def said(self, site: Site) -> Observed | None:
        """What a site says that is not silent."""
        one = self.heard[site.name]
        return one.said if one.seconds <= self.policy.silent_seconds else None

    def news(self, site: Site) -> Observed | None:
        """What it said since the last decision, where that says anything of its load."""
        seen = self.said(site)
        return seen if seen and seen.known and self.heard[site.name].new else None

    def able(self) -> Iterable[Site]:
        """Those that say that they serve; those whose load is known first."""
        serving = [(site, seen) for site in self.sites if (seen := self.said(site)) and seen.ready_replicas]
        return (site for site, seen in sorted(serving, key=lambda one: not one[1].known))

    def cheaper(self, than: Site) -> Site | None:
        return next(
            (site for site in self.able() if site.cost_per_replica_hour < than.cost_per_replica_hour), None
        )

    def pressed(self, site: Site, queue_at: float) -> Observed | None:
        """What it said, where load must leave it: a long queue that the last step does not make shorter."""
        seen = self.news(site)
        if not seen or not self.weights[site.name] or seen.per_replica <= queue_at:
            return None
        queue, age = self.left.get(site.name, (0.0, SETTLE))
        if seen.per_replica > queue or age > 2 * SETTLE:
            return seen
        if age < SETTLE:
            return None
        if seen.per_replica < SHORTER * queue:
            self.left[site.name] = (seen.per_replica, 0)
            return None
        return seen

    def has_just_left(self, site: Site) -> bool:
        """Whether load left it a moment ago: too soon for any to come."""
        return self.left.get(site.name, (0.0, SETTLE))[1] < SETTLE

    def load_with(self, site: Site, seen: Observed, more: int) -> float | None:
        """Share of its slots that would be used with so many more hundredths; None where nobody knows."""
        if not seen.slots:
            return None
        unseen = more + sum(self.past.came.get(site.name, ()))
        return (self.running.get(site.name, 0.0) + unseen / TOTAL * sum(self.running.values())) / seen.slots

    def bears_all(self, seen: Observed) -> bool:
        """Whether all that waits and runs anywhere would leave half of the slots of who said this."""
        there = [one.said for one in self.heard.values() if one.said]
        if not seen.slots or seen.waiting:
            return False
        now = sum(one.running + one.waiting for one in there)
        return max(now, sum(self.running.values())) <= HALF * seen.slots

    def would_exceed(self, site: Site) -> bool:
        """Whether it would cost more than the cap allows to grow as an autoscaler does: by its queue."""
        if self.room is None or not site.cost_per_replica_hour:
            return False
        seen = self.said(site)
        if seen is None:
            return True
        wanted = max(seen.billed_replicas + 1, math.ceil(seen.waiting / self.policy.overflow_at))
        more = min(wanted, site.most_replicas) - seen.billed_replicas
        return more > 0 and more * site.cost_per_replica_hour > self.room

    def move(self, source: Site, target: Site, most: int) -> None:
        moved = min(most, self.weights[source.name])
        self.weights[source.name] -= moved
        self.weights[target.name] += moved
        self.came[target.name] += moved

    def done(self, reason: str, words: str) -> Decision:
        if reason == "pushed_back" or (reason == "overflow" and self.capped):
            reason = "capped"
        came = {name: (*self.past.came.get(name, ()), moved)[-SETTLE:] for name, moved in self.came.items()}
        past = Past(dict(self.weights), self.running, self.left, came, self.lost)
        capped = self.capped or self.is_above
        return Decision(dict(self.weights), self.cost, capped, reason, words, past)


def _lost(work: _Work) -> str:
    """What a site has that says that nothing is ready there goes to the first that serves, at once."""
    target = next(iter(work.able()), None)
    lost = [
        site
        for site in work.sites
        if work.weights[site.name] and (seen := work.said(site)) and not seen.ready_replicas
    ]
    if not lost or target is None:
        return ""
    for site in lost:
        work.move(site, target, TOTAL)
    work.lost |= {site.name for site in lost}
    return f"{', '.join(site.name for site in lost)} cannot serve; all of it to {target.name}"


def _retreat(work: _Work) -> str:
    """It costs more than it may: the dearest site gives load to the first that costs less."""
    if not work.is_above:
        return ""
    work.note = f"{work.cost:.2f} dollars an hour are above the cap of {work.policy.cost_cap_per_hour:.2f}"
    used = [site for site in work.sites if work.weights[site.name]]
    dearest = max(used, key=lambda site: site.cost_per_replica_hour)
    target = work.cheaper(dearest)
    if target is None:
        return ""
    work.move(dearest, target, work.policy.step)
    return f"{work.note}; less to {dearest.name}"


def _unwatched(work: _Work) -> str:
    """Nobody can say what a silent site costs; after a while that is reason enough."""
    for site in reversed(work.sites):
        waits = work.heard[site.name].seconds <= work.policy.hold_seconds
        if waits or not work.weights[site.name] or not site.cost_per_replica_hour:
            continue
        if target := work.cheaper(site):
            work.move(site, target, work.policy.step)
            return f"{site.name} is silent and costs money; less to {site.name}"
    return ""


def _pushed_back(work: _Work) -> str:
    """Requests that wait at a site make it grow; where the cap forbids that they wait where it costs less."""
    for site in reversed(work.sites):
        target = work.cheaper(site)
        if target is None or not work.would_exceed(site):
            continue
        if seen := work.pressed(site, work.policy.return_below):
            work.move(site, target, work.policy.step)
            work.left[site.name] = (seen.per_replica, 0)
            work.capped = True
            return f"{site.name} may not grow below the cost cap; less to {site.name}"
    return ""


def _overflow(work: _Work) -> str:
    for here, source in enumerate(work.sites):
        if seen := work.pressed(source, work.policy.overflow_at):
            waiting = f"{seen.per_replica:.1f} wait per replica at {source.name}"
            for target in work.sites[here + 1 :]:
                there = work.news(target)
                if not there or there.per_replica > work.policy.overflow_at:
                    continue  # nobody knows, or it is as full
                if work.has_just_left(target) or not work.may_get(target):
                    work.capped |= work.would_exceed(target)
                    continue
                busy = work.load_with(target, there, work.policy.step)
                fills = there.waiting > 0 or (busy is not None and busy > ROOM)
                # Load makes a site grow: room for one more replica must be there, unless nobody will wait.
                if fills and work.would_exceed(target):
                    work.capped = True
                    continue
                work.capped = False
                work.move(source, target, work.policy.step)
                work.left[source.name] = (seen.per_replica, 0)
                return f"{waiting}; more to {target.name}"
            if work.capped:
                return f"{waiting}; the cost cap keeps it there"
            work.note = f"{waiting}; no other site has room"
            break
    return ""


def _back(work: _Work) -> str:
    """Some of the load of the last site that has any goes back to the first that has room."""
    step = work.policy.return_step
    for number, source in reversed([*enumerate(work.sites)]):
        # A silent site gives no more; nor does one that cannot be read.
        if not work.weights[source.name] or not work.news(source):
            continue
        for target in work.sites[:number]:
            seen = work.news(target)
            if not seen or seen.per_replica >= work.policy.return_below or not work.may_get(target):
                continue
            busy = work.load_with(target, seen, step)
            if busy is not None and busy > ROOM:
                continue
            settled = not any(work.past.came.get(target.name, ())) or (busy is not None and busy <= HALF)
            if not settled or work.has_just_left(target):
                continue
            if target.name in work.lost and work.bears_all(seen):
                work.move(source, target, TOTAL)
                return f"{target.name} serves again, with room for all that {source.name} has"
            work.move(source, target, step)
            return f"{target.name} has room again; less to {source.name}"
    return ""


def divided(weights: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """The weights of a route that may use some sites only: in hundredths of a percent, together `TOTAL`.

    Args:
        weights: of all sites.
        names: the route's sites in order of preference; where none of them has any, the first has all.
    """
    having = sum(weights.get(name, 0) for name in names)
    if not having:
        return {name: TOTAL if name == names[0] else 0 for name in names}
    found = {name: weights.get(name, 0) * TOTAL // having for name in names}
    # What rounding left goes to the one with the most, where it matters least.
    most = max(names, key=lambda name: found[name])
    return {**found, most: found[most] + TOTAL - sum(found.values())}
