"""Own hardware first, the rest under a cost cap: what is decided from what was observed."""

from __future__ import annotations

import random
import re

import pytest
from berth_agents.hybrid.decision import TOTAL, Decision, Observed, Policy, Site, check, decide

HOME = Site("home", 0.0, 2)
CLOUD = Site("cloud", 2.0, 4)
DEAR = Site("dear", 9.0, 4)
POLICY = Policy(cost_cap_per_hour=10.0)
IDLE = Observed(waiting=0, ready_replicas=2, billed_replicas=2)
BUSY = Observed(waiting=30, ready_replicas=2, billed_replicas=2)


def run(
    observed: dict[str, Observed], current: dict[str, int], policy: Policy = POLICY, *sites: Site
) -> Decision:
    return decide(sites or (HOME, CLOUD), policy, observed, current)


def test_home_has_everything_while_it_keeps_up() -> None:
    assert run({"home": IDLE, "cloud": IDLE}, {}).weights == {"home": TOTAL}


def test_a_long_queue_overflows_a_step_at_a_time() -> None:
    first = run({"home": BUSY, "cloud": IDLE}, {"home": TOTAL})
    assert first.weights == {"home": 9_000, "cloud": 1_000}
    assert first.reason == "15.0 wait per replica at home; more to cloud"
    second = run({"home": BUSY, "cloud": IDLE}, dict(first.weights))
    assert second.weights == {"home": 8_000, "cloud": 2_000}


def test_it_comes_back_slower_and_not_before_the_queue_is_short() -> None:
    divided = {"home": 6_000, "cloud": 4_000}
    between = Observed(waiting=5, ready_replicas=2, billed_replicas=2)
    assert run({"home": between, "cloud": IDLE}, divided).weights == divided
    assert run({"home": IDLE, "cloud": IDLE}, divided).weights == {"home": 6_500, "cloud": 3_500}
    assert run({"home": IDLE, "cloud": IDLE}, {"home": 9_900, "cloud": 100}).weights == {"home": TOTAL}


def test_the_cap_keeps_load_where_it_waits() -> None:
    # Three replicas cost 6 of 7 dollars: a fourth would be above, and some wait, so there would be one.
    cloud = Observed(waiting=1, ready_replicas=3, billed_replicas=3)
    divided = {"home": 7_000, "cloud": 3_000}
    found = run({"home": BUSY, "cloud": cloud}, divided, Policy(cost_cap_per_hour=7.0))
    assert found.weights == divided
    assert found.capped
    assert found.cost_per_hour == 6.0
    assert "the cost cap keeps it there" in found.reason
    # Without anybody waiting there it takes more before it grows.
    idle = Observed(waiting=0, ready_replicas=3, billed_replicas=3)
    assert (
        run({"home": BUSY, "cloud": idle}, divided, Policy(cost_cap_per_hour=7.0)).weights["cloud"] == 4_000
    )


def test_above_the_cap_load_comes_home_even_into_a_queue() -> None:
    cloud = Observed(waiting=0, ready_replicas=4, billed_replicas=4)
    found = run(
        {"home": BUSY, "cloud": cloud}, {"home": 5_000, "cloud": 5_000}, Policy(cost_cap_per_hour=7.0)
    )
    assert found.weights == {"home": 6_000, "cloud": 4_000}
    assert found.capped
    # The dearest gives first.
    three = {"home": 4_000, "cloud": 3_000, "dear": 3_000}
    observed = {"home": BUSY, "cloud": IDLE, "dear": IDLE}
    found = run(observed, three, POLICY, HOME, CLOUD, DEAR)
    assert found.weights == {"home": 5_000, "cloud": 3_000, "dear": 2_000}


def test_a_site_that_says_nothing_gets_nothing_at_once() -> None:
    divided = {"home": 7_000, "cloud": 3_000}
    assert run({"cloud": IDLE}, divided).weights == {"cloud": TOTAL}
    assert run({"home": BUSY}, divided).weights == {"home": TOTAL}
    empty = Observed(waiting=0, ready_replicas=0, billed_replicas=1)
    assert run({"home": empty, "cloud": IDLE}, divided).weights == {"cloud": TOTAL}
    assert run({}, divided) == Decision({}, 0, capped=False, reason="no site can serve")


def test_a_full_site_is_passed_over() -> None:
    full = Observed(waiting=99, ready_replicas=4, billed_replicas=4)
    observed = {"home": BUSY, "cloud": full, "dear": Observed(0, 1, 1)}
    found = run(observed, {"home": TOTAL}, Policy(cost_cap_per_hour=None), HOME, CLOUD, DEAR)
    assert found.weights == {"home": 9_000, "dear": 1_000}
    nowhere = run({"home": BUSY, "cloud": full}, {"home": TOTAL})
    assert nowhere.weights == {"home": TOTAL}
    assert "no other site has room" in nowhere.reason


def test_whatever_is_observed_all_is_divided_among_those_that_serve() -> None:
    dice = random.Random(8)  # noqa: S311 - a test's
    sites = (HOME, CLOUD, DEAR)
    current: dict[str, int] = {}
    for _ in range(5_000):
        observed = {
            site.name: Observed(
                dice.choice((0, 3, 50)), dice.randint(0, 3), dice.randint(0, site.most_replicas)
            )
            for site in sites
            if dice.random() < 0.9
        }
        found = decide(
            sites, Policy(cost_cap_per_hour=dice.choice((None, 0.0, 5.0, 20.0))), observed, current
        )
        able = {name for name, one in observed.items() if one.ready_replicas}
        assert found.weights.keys() <= able
        assert sum(found.weights.values()) == (TOTAL if able else 0)
        assert all(weight > 0 for weight in found.weights.values())
        current = dict(found.weights)


def test_an_overload_settles_and_ends_at_home() -> None:
    """A small world: each site works off a fixed number of requests a step."""
    current: dict[str, int] = {"home": TOTAL}
    queues = {"home": 0.0, "cloud": 0.0}
    shares = []
    for step in range(200):
        arriving = 60 if step < 100 else 10
        for name, works in (("home", 40), ("cloud", 40)):
            queues[name] = max(0.0, queues[name] + arriving * current.get(name, 0) / TOTAL - works)
        observed = {name: Observed(round(waiting), 2, 2) for name, waiting in queues.items()}
        current = dict(run(observed, current).weights)
        shares.append(current.get("cloud", 0))
    # A third must go; it does, and not everything.
    assert 2_000 <= sum(shares[50:100]) / 50 <= 6_000
    assert max(queues.values()) < 10
    assert shares[-1] == 0


@pytest.mark.parametrize(
    ("sites", "policy", "words"),
    [
        ((), POLICY, "at least one is needed"),
        ((HOME, HOME), POLICY, "each name once"),
        ((Site("a", -1, 1),), POLICY, "site a costs less than nothing"),
        ((HOME,), Policy(None, overflow_at=1, return_below=1), "return_below is 1"),
        ((HOME,), Policy(None, step=10, return_step=20), "return_step is 20"),
        ((HOME,), Policy(-1), "cost_cap_per_hour is -1"),
    ],
)
def test_what_cannot_work_is_refused(sites: tuple[Site, ...], policy: Policy, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        check(sites, policy)
