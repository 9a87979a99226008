"""Whether what was seen is what must hold. Pure: from a record to findings."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from berth.operations.drill.faults import FAILOVER_SECONDS, Fault
from berth.operations.drill.ground import Ground, Objectives
from berth.operations.drill.seen import LOAD, PROBE, Answer, Record, costs, count

PASSED, FAILED, UNKNOWN = "passed", "failed", "unknown"
HELD_SECONDS = 2.0
"""A probe that took longer waited for somebody who was gone, where the router does not say its attempts."""
ABOVE_CAP_SECONDS = 60.0
"""Replicas that end still cost; the controller has so long to get below the cap again."""
LAST_PROBES = 5
"""So many in a row say who answers."""
_TENTH = 0.1
_FEWEST = 20


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: of the check, for programs.
        verdict: passed, failed or unknown.
        text: what was seen, and what was wanted.
        value: the figure, where there is one.
        limit: what it is held against, where there is one.
    """

    name: str
    verdict: str
    text: str
    value: float | None = None
    limit: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The check as plain data."""
        return asdict(self)


def failover_seconds(probes: Sequence[Answer], fault: float, until: float, lost: str) -> float | None:
    """From a site's loss to the first of an unbroken run of answers from elsewhere; `None`: there was none.

    Only probes count that ended, or began, while the site was gone. One is wrong that failed, that the lost
    site answered, or that was first sent to it and tried again elsewhere. Where the last wrong one ended
    after the run's first had ended, it is what counts: until then somebody still waited for the lost site.
    One that was under way when the site came back, and that it answered without delay, says nothing.

    Args:
        probes: small requests at a constant rate, in any order.
        fault: when the site was gone.
        until: when it came back, or the look at it ended.
        lost: the router's name for it.
    """

    def is_wrong(one: Answer) -> bool:
        again = one.attempts > 1 if one.attempts is not None else one.seconds > HELD_SECONDS
        return one.result != "ok" or again or (one.backend == lost and one.began >= fault)

    def met_its_return(one: Answer) -> bool:
        prompt = one.result == "ok" and (one.attempts or 1) == 1 and one.seconds <= HELD_SECONDS
        return prompt and one.backend == lost and one.ended >= until

    within = [one for one in probes if one.ended >= fault and one.began < until and not met_its_return(one)]
    ordered = sorted(within, key=lambda one: one.began)
    wrong = [number for number, one in enumerate(ordered) if is_wrong(one)]
    run = ordered[wrong[-1] + 1 if wrong else 0 :]
    run = [one for one in run if one.began >= fault]
    if not run:
        return None
    return max(run[0].ended, *(ordered[number].ended for number in wrong), fault) - fault


def silence_seconds(probes: Sequence[Answer], fault: float, until: float) -> float:
    """The longest time between two good answers to probes, whoever gave them.

    Args:
        probes: small requests at a constant rate, in any order.
        fault: when the site began to leave.
        until: when the look at it ended.
    """
    good = sorted(one.ended for one in probes if one.result == "ok" and fault <= one.ended < until)
    return max(after - before for before, after in itertools.pairwise([fault, *good, until]))


def taken_over(probes: Sequence[Answer], lost: str) -> bool:
    """Whether the last probes were all answered by others than the lost site."""
    last = sorted(probes, key=lambda one: one.began)[-LAST_PROBES:]
    return len(last) == LAST_PROBES and all(one.result == "ok" and one.backend != lost for one in last)


def checks(record: Record, ground: Ground, fault: Fault, site: str) -> list[Check]:
    """Everything that must hold for a fault of a site."""
    found = [_overflow(record, ground)]
    if fault.moves and fault.ends_in_order:
        found += [_left(record, ground, site), _none_failed(record, "while it left")]
    elif fault.moves:
        found += _moved(record, ground, site)
    if fault.hides:
        found += [_not_moved(record, ground, site), _none_failed(record, "while it said nothing")]
    if fault.slows:
        found += [_share_left(record, site), _none_failed(record, "while it was slow")]
    found += [_residency(record, ground, rule.name) for rule in ground.residency]
    found += [_cap(record, ground), _back(record)]
    return found


def _none_failed(record: Record, when: str) -> Check:
    """Of all requests that ran while the fault was there, those that began before it among them."""
    phase = record.phase("fault")
    start = record.fault_at
    if phase is None or start is None:
        return Check("failed-in-fault", UNKNOWN, "the fault was never there")
    answers = [one for one in record.of(LOAD) if one.ended >= start and one.began < phase.ended]
    return _none_of(answers, "failed-in-fault", when)


def _none_of(answers: Sequence[Answer], name: str, when: str) -> Check:
    found = count(answers)
    bad = found["failed"] + found["cut"]
    if not answers:
        return Check(name, UNKNOWN, f"no request was sent {when}")
    text = f"{bad} of {len(answers)} requests failed or were cut {when}; {found['refused']} were refused"
    return Check(name, PASSED if not bad else FAILED, text, bad, 0)


def _overflow(record: Record, ground: Ground) -> Check:
    """What the overflow did, before the fault: requests that were still running then are the fault's."""
    first = ground.preferred
    end = record.fault_at if record.fault_at is not None else math.inf
    answers = [one for one in record.began_in("overload") if one.ended < end]
    bad = _none_of(answers, "overflow", "in the overflow")
    if bad.verdict != PASSED:
        return bad
    elsewhere = [one for one in answers if one.backend not in {"", first.backend}]
    if not elsewhere:
        return Check("overflow", FAILED, f"no other site answered while {first.name} had too much", 0, 1)
    return Check("overflow", PASSED,
                 f"{len(elsewhere) / len(answers):.0%} of the answers came from other sites; {bad.text}",
                 0, 0)  # fmt: skip


def _left(record: Record, ground: Ground, site: str) -> Check:
    """A site that leaves in order answers until it is gone: nobody may wait, whoever answers."""
    phase = record.phase("fault")
    if phase is None or record.fault_at is None:
        return Check("failover", UNKNOWN, "the fault was never there")
    probes = [one for one in record.of(PROBE) if one.began < phase.ended]
    if not taken_over(probes, ground.site(site).backend):
        return Check("failover", FAILED, f"no other site took over from {site}", None, FAILOVER_SECONDS)
    seconds = silence_seconds(probes, record.fault_at, phase.ended)
    verdict = PASSED if seconds <= FAILOVER_SECONDS else FAILED
    text = f"at most {seconds:.1f} s without an answer while it left; {FAILOVER_SECONDS:g} are aimed at"
    return Check("failover", verdict, text, round(seconds, 3), FAILOVER_SECONDS)


def _moved(record: Record, ground: Ground, site: str) -> list[Check]:
    phase = record.phase("fault")
    if phase is None or record.fault_at is None:
        return [Check("failover", UNKNOWN, "the fault was never there")]
    lost = ground.site(site).backend
    seconds = failover_seconds(record.of(PROBE), record.fault_at, phase.ended, lost)
    if seconds is None:
        return [Check("failover", FAILED, f"no other site took over from {site}", None, FAILOVER_SECONDS)]
    verdict = PASSED if seconds <= FAILOVER_SECONDS else FAILED
    text = f"{seconds:.1f} s until other sites answered everything; {FAILOVER_SECONDS:g} are aimed at"
    taken = record.fault_at + seconds
    since = [one for one in record.of(LOAD) if record.fault_at <= one.ended and one.began < phase.ended]
    late = [one for one in since if one.began >= taken]
    early = [one for one in since if one.began < taken]
    after = count(late)
    meanwhile = count(early)
    return [
        Check("failover", verdict, text, round(seconds, 3), FAILOVER_SECONDS),
        Check(
            "failed-after-failover",
            (PASSED if not after["failed"] + after["cut"] else FAILED) if late else UNKNOWN,
            f"{after['failed'] + after['cut']} of {len(late)} requests failed or were cut after it, "
            f"{after['refused']} were refused",
            after["failed"] + after["cut"],
            0,
        ),
        Check(
            "not-begun",
            PASSED if not meanwhile["failed"] else FAILED,
            f"{meanwhile['failed']} of {len(early)} requests before it failed without an answer begun; "
            f"{meanwhile['cut']} that had begun were cut",
            meanwhile["failed"],
            0,
        ),
    ]


def _weights(record: Record, site: str, since: float, until: float) -> list[tuple[float, float]]:
    """When, and how many percent a site had."""
    return [
        (one.at, one.weights.get(site, 0.0))
        for one in record.readings
        if one.weights is not None and since <= one.at < until
    ]


def _not_moved(record: Record, ground: Ground, site: str) -> Check:
    phase = record.phase("fault")
    if phase is None or record.fault_at is None:
        return Check("share", UNKNOWN, "the fault was never there")
    # Until it counts as silent its last word counts, and a decision may take another second or two.
    since = record.fault_at + ground.silent_seconds + 2
    seen = _weights(record, site, since, phase.ended)
    if len(seen) < 2:  # noqa: PLR2004 - one look shows no change
        return Check("share", UNKNOWN,
                     f"the fault was over before {site} was silent for {ground.silent_seconds:g} s; "
                     f"--seconds {ground.silent_seconds + 10:.0f} or more shows it")  # fmt: skip
    shares = [share for _, share in seen]
    # A site that costs gives load back after a while, since its cost cannot be watched.
    is_free = not ground.site(site).cost_per_replica_hour
    grew, fell = max(shares) - shares[0], shares[0] - min(shares)
    moved = grew > _TENTH or (is_free and fell > _TENTH)
    text = f"{site} had {shares[0]:g} % of the load when it fell silent and {shares[-1]:g} % at the end"
    return Check("share", FAILED if moved else PASSED, text, round(shares[-1] - shares[0], 2), 0)


def _share_left(record: Record, site: str) -> Check:
    phase = record.phase("fault")
    if phase is None or record.fault_at is None:
        return Check("share", UNKNOWN, "the fault was never there")
    seen = _weights(record, site, record.fault_at, phase.ended)
    before = _weights(record, site, 0.0, record.fault_at)
    if not seen or not before:
        return Check("share", UNKNOWN, "the weights could not be read")
    had = before[-1][1]
    least = min(share for _, share in seen)
    if had == 0:
        return Check("share", UNKNOWN, f"{site} had no load that could leave it")
    first = next((at - record.fault_at for at, share in seen if share < had), None)
    if first is None:
        return Check("share", FAILED, f"{site} had {had:g} % of the load, and kept it", had, None)
    text = f"the share of {site} fell from {had:g} to {least:g} %, first after {first:.1f} s"
    return Check("share", PASSED, text, least, None)


def _residency(record: Record, ground: Ground, name: str) -> Check:
    rule = next(one for one in ground.residency if one.name == name)
    title = f"residency-{name}"
    if not rule.can_be_asked:
        return Check(title, UNKNOWN, "its keys are not on this machine, so no request of its was sent")
    answers = record.of(name)
    if not answers:
        return Check(title, UNKNOWN, "no request of its was sent")
    allowed = ground.backends(rule.sites)
    elsewhere = [one for one in answers if one.backend and one.backend not in allowed]
    at_home = sum(one.backend in allowed for one in answers)
    nobody = len(answers) - at_home - len(elsewhere)
    text = (
        f"{len(elsewhere)} of {len(answers)} requests were answered outside of {', '.join(rule.sites)}; "
        f"{at_home} there, {nobody} by nobody"
    )
    if not at_home and not elsewhere:
        return Check(title, UNKNOWN, f"{text}: does the router say who answers (x-berth-backend)?")
    return Check(title, FAILED if elsewhere else PASSED, text, len(elsewhere), 0)


def _cap(record: Record, ground: Ground) -> Check:
    cap = ground.cost_cap_per_hour
    if any(site.cost_per_replica_hour is None for site in ground.sites):
        return Check("cost", UNKNOWN, "what a replica costs is not known at every site")
    seen = costs(record.readings) if any(any(one.sites.values()) for one in record.readings) else []
    if not seen:
        return Check("cost", UNKNOWN, "no site said how many replicas it pays for")
    most = max(dollars for _, dollars in seen)
    if cap is None:
        return Check("cost", PASSED, f"at most {most:.2f} dollars an hour; there is no cap", most)
    longest = above = 0.0
    for (at, dollars), (following, _) in itertools.pairwise(seen):
        above = above + following - at if dollars > cap else 0.0
        longest = max(longest, above)
    text = f"at most {most:.2f} dollars an hour, the cap is {cap:.2f}"
    if most > cap:
        text += f"; above it for {longest:.0f} s, {ABOVE_CAP_SECONDS:g} are allowed"
    return Check("cost", PASSED if longest <= ABOVE_CAP_SECONDS else FAILED, text, round(most, 4), cap)


def _back(record: Record) -> Check:
    phase = record.phase("recovery")
    if phase is None or record.restored_at is None:
        return Check("back", UNKNOWN, "what was broken is not yet whole")
    normal = next((at for at, text in record.notes if text == NORMAL and at >= record.restored_at), None)
    if normal is None:
        spent = phase.ended - record.restored_at
        return Check("back", FAILED, f"not as before {spent:.0f} s after the fault was mended", None)
    seconds = normal - record.restored_at
    return Check("back", PASSED, f"as before {seconds:.1f} s after the fault was mended", round(seconds, 3))


NORMAL = "as before"
"""The note that says that the preferred site has its load again."""


@dataclass(frozen=True)
class Kept:
    """What a drill did to one objective.

    Attributes:
        name: as the stack's file calls it.
        verdict: passed where what the drill spent is within the budget of the whole window.
        text: what was seen.
        bad, total: requests.
        allowed: share that may be bad.
        spent: share of the window's error budget, at the drill's rate; `None` where nothing is known.
    """

    name: str
    verdict: str
    text: str
    bad: int = 0
    total: int = 0
    allowed: float | None = None
    spent: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The objective as plain data."""
        return asdict(self)


def objectives(record: Record, stated: Objectives | None, seconds: float) -> list[Kept]:
    """What the drill spent of each objective's error budget.

    A drill is an overload and a fault; that its own two minutes are worse than a month may be says nothing.
    What counts is how much of the month's budget one such event takes.

    Args:
        record: what was seen.
        stated: what the stack states.
        seconds: how long the drill sent requests.
    """
    if stated is None:
        return []
    answers = record.of(LOAD)
    windows = stated.window_days * 86_400 / seconds if seconds > 0 else 0.0
    rows: list[tuple[str, float, Sequence[Answer], Callable[[Answer], bool]]] = []
    admitted = [one for one in answers if one.result != "refused"]
    tokens = [one for one in answers if one.first_token is not None]
    several = [one for one in answers if one.per_token is not None]
    if stated.availability is not None:
        rows.append(("availability", 1 - stated.availability, answers, lambda one: one.result != "ok"))
    if stated.error_ratio is not None:
        rows.append(("errorRatio", stated.error_ratio, admitted, lambda one: one.result != "ok"))
    for name, share, limit in (
        ("firstTokenP95Seconds", 0.05, stated.first_token_p95_seconds),
        ("firstTokenP99Seconds", 0.01, stated.first_token_p99_seconds),
    ):
        if limit is not None:
            rows.append((name, share, tokens, _slower("first_token", limit)))
    if stated.inter_token_seconds is not None:
        rows.append(
            (
                "interTokenSeconds",
                1 - stated.inter_token_target,
                several,
                _slower("per_token", stated.inter_token_seconds),
            )
        )
    return [_kept(name, allowed, total, bad, windows) for name, allowed, total, bad in rows]


def _slower(what: str, limit: float) -> Callable[[Answer], bool]:
    return lambda one: bool(getattr(one, what) > limit)


def _kept(
    name: str, allowed: float, answers: Sequence[Answer], is_bad: Callable[[Answer], bool], windows: float
) -> Kept:
    bad, total = sum(map(is_bad, answers)), len(answers)
    if total < _FEWEST:
        return Kept(name, UNKNOWN, f"{total} requests say nothing; {_FEWEST} are needed", bad, total, allowed)
    text = f"{bad} of {total} were bad ({bad / total:.1%}; {allowed:.2%} may be)"
    budget = allowed * total * windows
    if not budget:
        verdict = PASSED if not bad else FAILED
        return Kept(name, verdict, f"{text}: there is no budget for any", bad, total, allowed)
    spent = bad / budget
    verdict = PASSED if spent <= 1 else FAILED
    return Kept(name, verdict, f"{text}: {spent:.2%} of the budget", bad, total, allowed, round(spent, 6))
