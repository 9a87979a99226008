"""Own hardware first, the rest under a cost cap: what is decided from what was observed."""

from __future__ import annotations

import re

import pytest
from berth_agents.hybrid.decision import (
    REASONS,
    SETTLE,
    TOTAL,
    Decision,
    Heard,
    Observed,
    Past,
    Policy,
    Site,
    check,
    decide,
    divided,
)
from hypothesis import given, settings
from hypothesis import strategies as st

HOME = Site("home", 0.0, 2)
CLOUD = Site("cloud", 2.0, 4)
DEAR = Site("dear", 9.0, 4)
POLICY = Policy(cost_cap_per_hour=10.0)
IDLE = Observed(waiting=0, ready_replicas=2, billed_replicas=2, running=0, slots=8)
BUSY = Observed(waiting=30, ready_replicas=2, billed_replicas=2, running=8, slots=8)


def run(
    observed: dict[str, Observed | Heard],
    current: dict[str, int] | Past,
    policy: Policy = POLICY,
    *sites: Site,
) -> Decision:
    heard = {name: one if isinstance(one, Heard) else Heard(one) for name, one in observed.items()}
    past = current if isinstance(current, Past) else Past(current)
    return decide(sites or (HOME, CLOUD), policy, heard, past)


def test_home_has_everything_while_it_keeps_up() -> None:
    found = run({"home": IDLE, "cloud": IDLE}, {})
    assert found.weights == {"home": TOTAL, "cloud": 0}
    assert (found.reason, found.words, found.capped) == ("none", "as it was", False)


def test_a_long_queue_overflows_a_step_at_a_time() -> None:
    first = run({"home": BUSY, "cloud": IDLE}, {"home": TOTAL})
    assert first.weights == {"home": 9_000, "cloud": 1_000}
    assert first.words == "15.0 wait per replica at home; more to cloud"
    assert first.reason == "overflow"
    longer = Observed(waiting=32, ready_replicas=2, billed_replicas=2, running=8, slots=8)
    second = run({"home": longer, "cloud": IDLE}, first.past)
    assert second.weights == {"home": 8_000, "cloud": 2_000}


def test_a_step_that_helps_is_given_time() -> None:
    past = run({"home": BUSY, "cloud": IDLE}, {"home": TOTAL}).past
    shorter = Observed(waiting=28, ready_replicas=2, billed_replicas=2, running=8, slots=8)
    for _ in range(SETTLE - 1):
        found = run({"home": shorter, "cloud": IDLE}, past)
        assert found.weights == {"home": 9_000, "cloud": 1_000}
        past = found.past
    assert run({"home": shorter, "cloud": IDLE}, past).weights["cloud"] == 2_000
    # A fifth less, and it gets shorter by itself.
    much = Observed(waiting=22, ready_replicas=2, billed_replicas=2, running=8, slots=8)
    assert run({"home": much, "cloud": IDLE}, past).weights["cloud"] == 1_000


def test_as_many_as_may_wait_are_not_too_many() -> None:
    four = Observed(waiting=8, ready_replicas=2, billed_replicas=2, running=8, slots=8)
    assert run({"home": four, "cloud": IDLE}, {"home": TOTAL}).reason == "none"
    one = Observed(waiting=2, ready_replicas=2, billed_replicas=2, running=0, slots=8)
    assert run({"home": one, "cloud": IDLE}, {"home": 9_000, "cloud": 1_000}).reason == "none"


def test_a_queue_of_requests_that_are_not_divided_moves_nothing() -> None:
    # Residents wait at home, which has none of the others.
    found = run({"home": BUSY, "cloud": IDLE}, {"cloud": TOTAL})
    assert found.weights == {"home": 0, "cloud": TOTAL}
    assert found.reason == "none"


def test_what_runs_is_remembered_while_nobody_can_read_it() -> None:
    works = Observed(waiting=0, ready_replicas=2, billed_replicas=2, running=4, slots=8)
    past = run({"home": works, "cloud": IDLE}, {}).past
    assert past.running["home"] == 4
    unread = Observed(waiting=0, ready_replicas=2, billed_replicas=2, unread=2)
    assert run({"home": unread, "cloud": IDLE}, past).past.running["home"] == 4
    full = Observed(waiting=0, ready_replicas=2, billed_replicas=2, running=8, slots=8)
    assert run({"home": Heard(full, new=False), "cloud": IDLE}, past).past.running["home"] == 4
    assert 4 < run({"home": full, "cloud": IDLE}, past).past.running["home"] < 8
    gone = Observed(waiting=0, ready_replicas=0, billed_replicas=0)
    assert run({"home": gone, "cloud": IDLE}, past).past.running["home"] == 0


def test_it_comes_back_slower_and_not_before_there_is_room() -> None:
    shares = {"home": 6_000, "cloud": 4_000}
    between = Observed(waiting=5, ready_replicas=2, billed_replicas=2)
    assert run({"home": between, "cloud": IDLE}, shares).weights == shares
    found = run({"home": IDLE, "cloud": IDLE}, shares)
    assert found.weights == {"home": 6_500, "cloud": 3_500}
    assert found.reason == "back"
    assert run({"home": IDLE, "cloud": IDLE}, {"home": 9_900, "cloud": 100}).weights["home"] == TOTAL
    # Nobody waits, but its slots are taken: what comes back would wait.
    full = Observed(waiting=0, ready_replicas=2, billed_replicas=2, running=8, slots=8)
    assert run({"home": full, "cloud": full}, shares).weights == shares
    # Nobody tells of slots: a step, then time to see.
    untold = Observed(waiting=0, ready_replicas=2, billed_replicas=2)
    first = run({"home": untold, "cloud": untold}, shares)
    assert first.weights["home"] == 6_500
    assert run({"home": untold, "cloud": untold}, first.past).weights["home"] == 6_500


def test_the_cap_keeps_load_where_it_waits() -> None:
    # Three replicas cost 6 of 7 dollars: a fourth would be above, and some wait, so there would be one.
    cloud = Observed(waiting=1, ready_replicas=3, billed_replicas=3, running=12, slots=12)
    shares = {"home": 7_000, "cloud": 3_000}
    seven = Policy(cost_cap_per_hour=7.0)
    found = run({"home": BUSY, "cloud": cloud}, shares, seven)
    assert found.weights == shares
    assert (found.capped, found.reason, found.cost_per_hour) == (True, "capped", 6.0)
    assert "the cost cap keeps it there" in found.words
    # Without anybody waiting there and with free slots it takes more before it grows.
    idle = Observed(waiting=0, ready_replicas=3, billed_replicas=3, running=2, slots=12)
    assert run({"home": BUSY, "cloud": idle}, shares, seven).weights["cloud"] == 4_000
    nearly = Observed(waiting=0, ready_replicas=3, billed_replicas=3, running=10, slots=12)
    assert run({"home": BUSY, "cloud": nearly}, shares, seven).weights == shares


def test_what_would_grow_above_the_cap_waits_where_it_costs_less() -> None:
    cloud = Observed(waiting=30, ready_replicas=3, billed_replicas=3, running=12, slots=12)
    shares = {"home": 7_000, "cloud": 3_000}
    found = run({"home": BUSY, "cloud": cloud}, shares, Policy(cost_cap_per_hour=7.0))
    assert found.weights == {"home": 8_000, "cloud": 2_000}
    assert (found.capped, found.reason) == (True, "capped")
    # At its most it does not grow.
    most = Observed(waiting=40, ready_replicas=4, billed_replicas=4, running=16, slots=16)
    assert run({"home": BUSY, "cloud": most}, shares, Policy(cost_cap_per_hour=8.0)).weights == shares


def test_above_the_cap_load_comes_home_even_into_a_queue() -> None:
    cloud = Observed(waiting=0, ready_replicas=4, billed_replicas=4)
    seven = Policy(cost_cap_per_hour=7.0)
    found = run({"home": BUSY, "cloud": cloud}, {"home": 5_000, "cloud": 5_000}, seven)
    assert found.weights == {"home": 6_000, "cloud": 4_000}
    assert (found.capped, found.reason) == (True, "retreat")
    assert found.words == "8.00 dollars an hour are above the cap of 7.00; less to cloud"
    # The dearest gives first.
    three = {"home": 4_000, "cloud": 3_000, "dear": 3_000}
    seen: dict[str, Observed | Heard] = {"home": BUSY, "cloud": IDLE, "dear": IDLE}
    found = run(seen, three, POLICY, HOME, CLOUD, DEAR)
    assert found.weights == {"home": 5_000, "cloud": 3_000, "dear": 2_000}


def test_above_the_cap_what_costs_nothing_may_still_help() -> None:
    lab = Site("lab", 0.0, 2)
    lingering = Observed(waiting=0, ready_replicas=4, billed_replicas=4, running=0, slots=16)
    seen: dict[str, Observed | Heard] = {"home": BUSY, "cloud": lingering, "lab": IDLE}
    found = run(seen, {"home": TOTAL}, Policy(cost_cap_per_hour=7.0), HOME, CLOUD, lab)
    assert found.weights == {"home": 9_000, "cloud": 0, "lab": 1_000}
    assert found.capped
    # What costs comes before it in the order, and gets nothing back while it costs too much.
    seen["lab"] = BUSY
    seven = Policy(cost_cap_per_hour=7.0)
    assert run(seen, {"home": 9_000, "lab": 1_000}, seven, HOME, CLOUD, lab).weights["cloud"] == 0


def test_a_later_overload_is_met_at_once() -> None:
    past = Past({"home": TOTAL}, left={"home": (20.0, 500)})
    less = Observed(waiting=12, ready_replicas=2, billed_replicas=2, running=8, slots=8)
    assert run({"home": less, "cloud": IDLE}, past).reason == "overflow"


def test_a_silent_site_keeps_what_it_has_and_gets_no_more() -> None:
    shares = {"home": 7_000, "cloud": 3_000}
    silent = Heard(BUSY, seconds=11, new=False)
    # Neither more to it nor less from it, whatever it said last.
    assert run({"home": silent, "cloud": IDLE}, shares).weights == shares
    assert run({"home": BUSY, "cloud": Heard(IDLE, 11, new=False)}, shares).weights == shares
    assert run({"home": IDLE, "cloud": Heard(IDLE, 11, new=False)}, shares).weights == shares
    # What it costs is the last that it said.
    assert run({"home": IDLE, "cloud": Heard(IDLE, 11, new=False)}, shares).cost_per_hour == 4.0
    # Ten seconds are not more than ten.
    assert run({"home": Heard(BUSY, 10), "cloud": IDLE}, shares).reason == "overflow"
    # All silent, or never heard: as it was.
    assert run({}, shares).weights == shares
    assert run({}, {}).weights == {"home": TOTAL, "cloud": 0}


def test_the_same_word_is_not_acted_upon_twice() -> None:
    shares = {"home": 7_000, "cloud": 3_000}
    assert run({"home": Heard(BUSY, 3, new=False), "cloud": IDLE}, shares).weights == shares


def test_a_silent_site_that_costs_loses_its_load_after_a_while_and_a_free_one_keeps_it() -> None:
    shares = {"home": 7_000, "cloud": 3_000}
    found = run({"home": IDLE, "cloud": Heard(IDLE, 61, new=False)}, shares)
    assert found.weights == {"home": 8_000, "cloud": 2_000}
    assert found.reason == "unwatched"
    assert run({"home": Heard(IDLE, 3_600, new=False), "cloud": IDLE}, shares).weights == shares
    # Nobody else can serve: as it was.
    empty = Observed(waiting=0, ready_replicas=0, billed_replicas=0)
    gone = run({"home": empty, "cloud": Heard(IDLE, 61, new=False)}, shares)
    assert gone.weights == shares


def test_a_cost_that_nobody_ever_said_lets_nothing_grow() -> None:
    three = {"home": TOTAL}
    waits = Observed(waiting=1, ready_replicas=2, billed_replicas=2, running=8, slots=8)
    seen: dict[str, Observed | Heard] = {"home": BUSY, "cloud": waits}
    assert run(seen, three, POLICY, HOME, CLOUD, DEAR).reason == "capped"
    assert run({**seen, "dear": Observed(0, 0, 0)}, three, POLICY, HOME, CLOUD, DEAR).reason == "overflow"
    # One that costs nothing need not say so.
    free = Site("lab", 0.0, 2)
    assert run(seen, three, POLICY, HOME, free, CLOUD).reason == "overflow"


def test_a_site_where_nothing_is_ready_loses_its_load_at_once() -> None:
    shares = {"home": 7_000, "cloud": 3_000}
    empty = Observed(waiting=0, ready_replicas=0, billed_replicas=1)
    found = run({"home": empty, "cloud": IDLE}, shares)
    assert found.weights == {"home": 0, "cloud": TOTAL}
    assert found.reason == "lost"
    assert found.words == "home cannot serve; all of it to cloud"
    assert run({"home": IDLE, "cloud": empty}, shares).weights == {"home": TOTAL, "cloud": 0}
    # It goes where the load can be seen, if that can be.
    unread = Observed(waiting=0, ready_replicas=2, billed_replicas=2, unread=2)
    seen: dict[str, Observed | Heard] = {"home": empty, "cloud": unread, "dear": IDLE}
    assert run(seen, {}, POLICY, HOME, CLOUD, DEAR).weights["dear"] == TOTAL
    assert run({"home": empty, "cloud": unread}, {}).weights["cloud"] == TOTAL
    assert run({"home": empty, "cloud": empty}, shares).weights == shares


def test_a_lost_site_gets_a_little_load_back_at_once_and_much_step_by_step() -> None:
    empty = Observed(waiting=0, ready_replicas=0, billed_replicas=1)

    def seen(waiting: int, running: int, slots: int = 8) -> Observed:
        return Observed(waiting, 2, 2, running, slots)

    lost = run({"home": empty, "cloud": IDLE}, {})
    assert (lost.reason, lost.weights["cloud"]) == ("lost", TOTAL)
    # A start, or a lost site that nobody misses: what is paid for needs not be used for twenty seconds more.
    back = run({"home": IDLE, "cloud": IDLE}, lost.past)
    assert (back.weights, back.reason) == ({"home": TOTAL, "cloud": 0}, "back")
    assert back.words == "home serves again, with room for all that cloud has"
    # Half of its slots are the most that comes at once; who waits anywhere counts, too.
    for cloud, share in (
        (seen(0, 4), TOTAL),
        (seen(0, 5), 500),
        (seen(2, 3), 500),
        (seen(30, 8), 500),
    ):
        past = run({"home": empty, "cloud": cloud}, {}).past
        assert run({"home": IDLE, "cloud": cloud}, past).weights["home"] == share
    # Where nobody says how many slots there are, and at a queue, as ever.
    assert run({"home": seen(0, 0, slots=0), "cloud": IDLE}, lost.past).weights["home"] == 500
    assert run({"home": seen(1, 0), "cloud": IDLE}, lost.past).weights["home"] == 500
    # What overflows later comes back by steps: it was not lost.
    later = run({"home": BUSY, "cloud": IDLE}, back.past)
    assert not later.past.lost
    quiet = Past(later.weights, lost=later.past.lost)
    assert run({"home": IDLE, "cloud": IDLE}, quiet).weights == {"home": 9_500, "cloud": 500}


def test_numbers_that_nobody_could_read_move_nothing() -> None:
    shares = {"home": 7_000, "cloud": 3_000}
    unread = Observed(waiting=0, ready_replicas=2, billed_replicas=2, unread=2)
    assert run({"home": unread, "cloud": IDLE}, shares).weights == shares
    assert run({"home": BUSY, "cloud": unread}, shares).weights == shares
    # One of two could be read: it counts for one.
    half = Observed(waiting=5, ready_replicas=2, billed_replicas=2, running=4, slots=4, unread=1)
    assert run({"home": half, "cloud": IDLE}, shares).words.startswith("5.0 wait per replica at home")


def test_a_full_site_is_passed_over() -> None:
    full = Observed(waiting=99, ready_replicas=4, billed_replicas=4)
    seen: dict[str, Observed | Heard] = {"home": BUSY, "cloud": full, "dear": Observed(0, 1, 1)}
    found = run(seen, {"home": TOTAL}, Policy(cost_cap_per_hour=None), HOME, CLOUD, DEAR)
    assert found.weights == {"home": 9_000, "cloud": 0, "dear": 1_000}
    nowhere = run({"home": BUSY, "cloud": full}, {"home": TOTAL})
    assert nowhere.weights == {"home": TOTAL, "cloud": 0}
    assert nowhere.words == "15.0 wait per replica at home; no other site has room"


SITES = (HOME, CLOUD, DEAR)
_SAID = st.builds(
    Observed,
    waiting=st.integers(0, 60),
    ready_replicas=st.integers(0, 3),
    billed_replicas=st.integers(0, 4),
    running=st.integers(0, 12),
    slots=st.sampled_from((0, 4, 12)),
    unread=st.integers(0, 3),
)
_HEARD = st.builds(
    Heard,
    said=st.none() | _SAID,
    seconds=st.sampled_from((0.0, 2.0, 15.0, 90.0)),
    new=st.booleans(),
)
_WORLDS = st.lists(st.fixed_dictionaries({site.name: _HEARD for site in SITES}), min_size=1, max_size=30)


@settings(max_examples=300, deadline=None)
@given(worlds=_WORLDS, cap=st.sampled_from((None, 0.0, 5.0, 20.0)))
def test_whatever_is_heard_the_whole_is_divided_and_nobody_unable_gets_more(
    worlds: list[dict[str, Heard]], cap: float | None
) -> None:
    past = Past()
    before = {"home": TOTAL, "cloud": 0, "dear": 0}
    for heard in worlds:
        found = decide(SITES, Policy(cost_cap_per_hour=cap), heard, past)
        assert sum(found.weights.values()) == TOTAL
        assert all(0 <= weight <= TOTAL for weight in found.weights.values())
        assert found.reason in REASONS
        able = {
            name for name, one in heard.items() if one.said and one.seconds <= 10 and one.said.ready_replicas
        }
        for site in SITES:
            name, one = site.name, heard[site.name]
            if found.weights[name] > before[name]:
                assert name in able
            silent = one.said is None or one.seconds > 10
            if silent and not site.cost_per_replica_hour:
                assert found.weights[name] == before[name] or found.reason == "retreat"
            if able and not silent and name not in able:
                assert not found.weights[name], "where nothing is ready nothing goes"
        paid = sum(found.weights[site.name] for site in SITES if site.cost_per_replica_hour)
        paid_before = sum(before[site.name] for site in SITES if site.cost_per_replica_hour)
        assert found.past.lost <= {site.name for site in SITES}
        # More than a step at a time comes back only to who was lost, and only where little runs.
        back = found.weights["home"] - before["home"]
        if found.reason == "back" and back > POLICY.return_step:
            home = heard["home"].said
            assert "home" in past.lost
            assert home
            assert sum(one.said.running + one.said.waiting for one in heard.values() if one.said) * 2 <= (
                home.slots
            )
        if cap is not None and found.cost_per_hour > cap:
            assert found.capped
            assert paid <= paid_before or found.reason == "lost", "above the cap nothing more is paid for"
            # Where home's load is not known, one that costs less than the dearest and is known comes first.
            known = "home" in able and heard["home"].said and heard["home"].said.known
            if found.reason == "retreat" and known and paid_before:
                assert paid < paid_before
        before, past = dict(found.weights), found.past


@given(
    weights=st.lists(st.integers(0, TOTAL), min_size=3, max_size=3),
    names=st.permutations(["home", "cloud", "dear"]),
    count=st.integers(1, 3),
)
def test_a_route_of_some_sites_is_divided_alike(weights: list[int], names: list[str], count: int) -> None:
    whole = dict(zip(("home", "cloud", "dear"), weights, strict=True))
    some = names[:count]
    found = divided(whole, some)
    assert [*found] == some
    assert sum(found.values()) == TOTAL
    having = sum(whole[name] for name in some)
    for name in some:
        wanted = whole[name] * TOTAL / having if having else (TOTAL if name == some[0] else 0)
        assert abs(found[name] - wanted) <= len(some)


@pytest.mark.parametrize(
    ("sites", "policy", "words"),
    [
        ((), POLICY, "at least one is needed"),
        ((HOME, HOME), POLICY, "each name once"),
        ((Site("a", -1, 1),), POLICY, "site a costs less than nothing"),
        ((HOME,), Policy(None, overflow_at=1, return_below=1), "return_below is 1"),
        ((HOME,), Policy(None, step=10, return_step=20), "return_step is 20"),
        ((HOME,), Policy(-1), "cost_cap_per_hour is -1"),
        ((HOME,), Policy(None, silent_seconds=90), "silent_seconds is 90"),
    ],
)
def test_what_cannot_work_is_refused(sites: tuple[Site, ...], policy: Policy, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        check(sites, policy)
