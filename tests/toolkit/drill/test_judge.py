"""What is made of what was seen: no clock, no socket."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from berth.operations.drill import FAULTS, DrilledSite, DrillSettings, Ground, Objectives, Residency
from berth.operations.drill.judge import NORMAL, Check, checks, failover_seconds, objectives
from berth.operations.drill.seen import LOAD, PROBE, Answer, Phase, Reading, Record, SiteReading, answer_of
from berth.operations.drill.timeline import NOBODY, seconds_of
from berth.operations.drill.watch import reading_of, weights_of
from berth.operations.errors import LoadSettingsError
from berth.operations.load.outcomes import Outcome

HOME = DrilledSite(name="home", backend="home")
CLOUD = DrilledSite(name="cloud", backend="cloud", cost_per_replica_hour=1.5)
FAULT, MENDED = 100.0, 130.0


def ground(**parts: Any) -> Ground:
    given: dict[str, Any] = {
        "stack": "demo", "router": "front", "model": "chat", "endpoint": "http://127.0.0.1:1",
        "sites": (HOME, CLOUD), "cost_cap_per_hour": 2.0, "silent_seconds": 5.0,
    }  # fmt: skip
    return Ground(**{**given, **parts})


def probe(
    began: float, took: float = 0.01, backend: str = "cloud", result: str = "ok", **more: Any
) -> Answer:
    return Answer(PROBE, began, began + took, result, backend, **more)


def asked(began: float, result: str = "ok", backend: str = "home", stream: str = LOAD) -> Answer:
    return Answer(stream, began, began + 0.5, result, backend, first_token=0.2, per_token=0.01)


def test_failover_ends_with_the_first_of_an_unbroken_run() -> None:
    probes = [
        probe(99.5, backend="home"),
        probe(100.2, took=3.0, attempts=2),  # sent to home, waited, answered elsewhere
        probe(100.4, attempts=1),  # chance sent it to the cloud at once
        probe(100.6, took=2.9, result="failed", backend=""),
        probe(104.0, attempts=1),
        probe(104.2, attempts=1),
    ]
    assert failover_seconds(probes, FAULT, MENDED, "home") == pytest.approx(4.01)


def test_nobody_waits_longer_than_failover_says() -> None:
    # The first good one after the last wrong one begins before that wrong one has ended.
    probes = [probe(100.1, took=4.4, attempts=2), probe(100.3, attempts=1), probe(100.5, attempts=1)]
    assert failover_seconds(probes, FAULT, MENDED, "home") == pytest.approx(4.5)


def test_without_attempts_a_slow_probe_is_one_that_waited_for_the_lost_site() -> None:
    probes = [probe(100.1, took=2.5), probe(102.9)]
    assert failover_seconds(probes, FAULT, MENDED, "home") == pytest.approx(2.91)
    probes = [probe(100.1, took=2.5, attempts=1), probe(102.9)]
    assert failover_seconds(probes, FAULT, MENDED, "home") == pytest.approx(2.6)


def test_without_a_run_nobody_took_over() -> None:
    assert failover_seconds([probe(100.1), probe(100.3, result="failed")], FAULT, MENDED, "home") is None
    assert failover_seconds([probe(100.1, backend="home")], FAULT, MENDED, "home") is None
    assert failover_seconds([probe(131.0), probe(99.0, took=0.1)], FAULT, MENDED, "home") is None
    assert failover_seconds([], FAULT, MENDED, "home") is None


def test_a_probe_that_meets_the_sites_return_says_nothing() -> None:
    moved = [probe(104.0, attempts=1), probe(104.2, attempts=1)]
    met = probe(MENDED - 0.01, took=0.02, backend="home", attempts=1)
    assert failover_seconds([*moved, met], FAULT, MENDED, "home") == pytest.approx(4.01)
    # One that waited for it all the while does, and so does one that it answered before it was mended.
    waited = probe(MENDED - 5, took=5.1, backend="home", attempts=1)
    early = probe(MENDED - 0.05, took=0.02, backend="home", attempts=1)
    for wrong in (waited, early):
        assert failover_seconds([*moved, wrong], FAULT, MENDED, "home") is None


def reading(at: float, home: float | None, billed: int = 1, *, silent: bool = False) -> Reading:
    said = SiteReading(waiting=0, running=1, ready=1, billed=billed, cost=billed * 1.5)
    free = SiteReading(waiting=3, running=1, ready=1, billed=1, cost=0.0)
    weights = None if home is None else {"home": home, "cloud": 100 - home}
    return Reading(at, weights, {"home": None if silent else free, "cloud": said})


def record(**parts: Any) -> Record:
    """A drill in which everything went as it should."""
    given: dict[str, Any] = {
        "phases": [
            Phase("steady", 80, 90), Phase("overload", 90, 100), Phase("fault", 100, 130),
            Phase("recovery", 130, 150),
        ],
        "answers": [
            *(asked(81 + 0.1 * n) for n in range(20)), asked(92), asked(95, backend="cloud"),
            *(asked(102 + n, backend="cloud") for n in range(20)), asked(131),
            *(probe(100.1 + 0.2 * n, attempts=1) for n in range(20)),
        ],
        "readings": [reading(80 + n, 60.0) for n in range(70)],
        "notes": [(138.0, NORMAL)],
        "fault_at": FAULT,
        "restored_at": MENDED,
    }  # fmt: skip
    return Record(**{**given, **parts})


def found(fault: str, seen: Record, site: str = "home", **parts: Any) -> dict[str, Check]:
    return {one.name: one for one in checks(seen, ground(**parts), FAULTS[fault], site)}


@pytest.mark.parametrize("fault", ["lose-site", "lose-pool", "lose-metrics"])
def test_what_holds_passes(fault: str) -> None:
    seen = found(fault, record())
    assert {one.verdict for one in seen.values()} == {"passed"}
    assert seen["back"].value == 8.0


def test_a_failure_in_the_overflow_is_one() -> None:
    seen = record()
    seen.answers.append(asked(96, "cut", "cloud"))
    assert found("lose-site", seen)["overflow"] == Check(
        "overflow", "failed", "1 of 3 requests failed or were cut in the overflow; 0 were refused", 1, 0
    )


def test_what_the_fault_cut_is_not_the_overflows() -> None:
    seen = record()
    seen.answers.append(asked(99.8, "cut"))  # it was being answered when the site was lost
    assert found("lose-site", seen)["overflow"].verdict == "passed"
    # A pool that is drained had the time to end it.
    assert found("lose-pool", seen)["failed-in-fault"].verdict == "failed"


def test_an_overflow_to_nowhere_is_a_failure() -> None:
    seen = record()
    seen.answers = [one for one in seen.answers if one.began != 95]
    assert found("lose-site", seen)["overflow"].verdict == "failed"


def test_refused_requests_are_no_failures() -> None:
    seen = record()
    seen.answers += [asked(96, "refused"), asked(105, "refused", "cloud")]
    verdicts = {one.verdict for one in found("lose-site", seen).values()}
    assert verdicts == {"passed"}


def test_what_was_not_begun_must_not_fail_but_what_was_may_be_cut() -> None:
    slow = [probe(100.1, took=3, attempts=2), probe(103.2, attempts=1)]
    seen = record()
    seen.answers = [one for one in seen.answers if one.stream != PROBE] + slow
    seen.answers += [asked(100.2, "cut"), asked(100.3, "failed", "")]
    lost = found("lose-site", seen)
    assert (lost["not-begun"].verdict, lost["not-begun"].value) == ("failed", 1)
    assert lost["failed-after-failover"].verdict == "passed"
    assert "1 that had begun were cut" in lost["not-begun"].text
    # A pool that is drained has the time to end what it began.
    assert found("lose-pool", seen)["failed-in-fault"].value == 2


def test_a_pool_that_leaves_in_order_may_answer_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("berth.operations.drill.judge.FAILOVER_SECONDS", 5.0)
    seen = record()
    others = [one for one in seen.answers if one.stream != PROBE]
    early = [probe(100.1 + 0.2 * n, backend="home") for n in range(50)]
    late = [probe(110.2 + 0.2 * n) for n in range(98)]
    seen.answers = others + early + late
    check = found("lose-pool", seen)["failover"]
    assert check.verdict == "passed"
    assert check.value == pytest.approx(0.39)  # from the last probe to the end of the phase
    seen.answers = others + early + late[30:]  # nobody answered for six seconds
    assert found("lose-pool", seen)["failover"].verdict == "failed"
    seen.answers = others + early  # and it never left
    assert found("lose-pool", seen)["failover"].text == "no other site took over from home"


def test_a_late_failover_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("berth.operations.drill.judge.FAILOVER_SECONDS", 5.0)
    seen = record()
    seen.answers = [one for one in seen.answers if one.stream != PROBE]
    seen.answers += [probe(100.1, took=8, attempts=2), probe(108.2, attempts=1)]
    late = found("lose-site", seen)["failover"]
    assert (late.verdict, late.value) == ("failed", 8.21)


@pytest.mark.parametrize(
    ("shares", "price", "verdict"),
    [
        ([60] * 30, 0.0, "passed"),
        ([60] * 20 + [70] * 10, 0.0, "failed"),  # a silent site gets no more
        ([60] * 20 + [50] * 10, 0.0, "failed"),  # and a free one gives no more
        ([60] * 20 + [50] * 10, 1.5, "passed"),  # but one that costs may have to
        ([50] * 6 + [60] * 24, 0.0, "passed"),  # until it counts as silent its last word counts
    ],
)
def test_load_does_not_move_because_a_site_is_silent(shares: list[float], price: float, verdict: str) -> None:
    looks = [reading(100.0 + at, share, silent=True) for at, share in enumerate(shares)]
    sites = (DrilledSite(name="home", backend="home", cost_per_replica_hour=price), CLOUD)
    assert found("lose-metrics", record(readings=looks), sites=sites)["share"].verdict == verdict


def test_a_fault_that_is_over_too_soon_shows_no_silence() -> None:
    check = found("lose-metrics", record(), silent_seconds=40.0)["share"]
    assert check.verdict == "unknown"
    assert "--seconds 50" in check.text


def test_load_leaves_a_slow_site() -> None:
    looks = [reading(99.0, 100.0), *(reading(100.0 + at, 100.0 - 10 * (at // 3)) for at in range(30))]
    check = found("slow-site", record(readings=looks))["share"]
    assert (check.verdict, check.value) == ("passed", 10.0)
    assert "first after 3.0 s" in check.text
    kept = [reading(90.0 + at, 60.0) for at in range(40)]
    assert found("slow-site", record(readings=kept))["share"].verdict == "failed"
    nothing = [reading(90.0 + at, 0.0) for at in range(40)]
    assert found("slow-site", record(readings=nothing))["share"].verdict == "unknown"
    assert found("slow-site", record(readings=[reading(99.0, None)]))["share"].verdict == "unknown"


def test_a_residency_rule_holds_even_then() -> None:
    rule = Residency(name="bank", sites=("home",), headers={"x-bank": "1"})
    nobody = Answer("bank", 105.0, 105.1, "failed")
    seen = record()
    seen.answers += [asked(91, stream="bank"), nobody]
    kept = found("lose-site", seen, residency=(rule,))["residency-bank"]
    assert kept.verdict == "passed"
    assert "1 there, 1 by nobody" in kept.text
    seen.answers.append(asked(106, backend="cloud", stream="bank"))
    assert found("lose-site", seen, residency=(rule,))["residency-bank"].verdict == "failed"
    closed = Residency(name="bank", sites=("home",))
    assert found("lose-site", seen, residency=(closed,))["residency-bank"].verdict == "unknown"
    # A router that says nobody's name has shown nothing.
    quiet = record()
    quiet.answers.append(asked(91, backend="", stream="bank"))
    assert found("lose-site", quiet, residency=(rule,))["residency-bank"].verdict == "unknown"


@pytest.mark.parametrize(
    ("dear", "cap", "verdict"),
    [(0, 2.0, "passed"), (30, 2.0, "passed"), (65, 2.0, "failed"), (65, None, "passed"), (65, 3.0, "passed")],
)
def test_the_cap_may_be_passed_only_while_replicas_end(dear: int, cap: float | None, verdict: str) -> None:
    looks = [reading(80.0 + at, 60.0, billed=2 if at < dear else 1) for at in range(70)]
    assert found("lose-site", record(readings=looks), cost_cap_per_hour=cap)["cost"].verdict == verdict


def test_an_unknown_price_is_no_pass() -> None:
    sites = (HOME, DrilledSite(name="cloud", backend="cloud", cost_per_replica_hour=None))
    assert found("lose-site", record(), sites=sites)["cost"].verdict == "unknown"
    assert found("lose-site", record(readings=[]))["cost"].verdict == "unknown"


def test_what_does_not_come_back_fails() -> None:
    assert found("lose-site", record(notes=[]))["back"].verdict == "failed"
    assert found("lose-site", record(restored_at=None))["back"].verdict == "unknown"


def test_objectives_are_a_budget_of_the_window() -> None:
    seen = record()
    # 42 requests in 100 s, two of them bad: the budget of 30 days at that rate is 0.1 % of 1,088,640.
    seen.answers += [asked(96, "failed", ""), asked(97, "refused")]
    kept = {one.name: one for one in objectives(seen, Objectives(availability=0.999, error_ratio=0.0), 100.0)}
    assert kept["availability"].verdict == "passed"
    assert kept["availability"].spent == pytest.approx(2 / (0.001 * 45 * 25_920), rel=1e-3)
    assert kept["errorRatio"].verdict == "failed"
    assert (kept["errorRatio"].bad, kept["errorRatio"].total) == (1, 44)
    slow = objectives(seen, Objectives(first_token_p99_seconds=0.1, inter_token_seconds=1.0), 100.0)
    assert [(one.name, one.bad, one.verdict) for one in slow] == [
        ("firstTokenP99Seconds", 45, "passed"), ("interTokenSeconds", 0, "passed"),
    ]  # fmt: skip
    assert objectives(seen, None, 100.0) == []
    few = objectives(Record(answers=[asked(1.0)]), Objectives(availability=0.9), 100.0)
    assert few[0].verdict == "unknown"


def test_outcomes_become_answers() -> None:
    results = {
        answer_of(LOAD, 1.0, outcome).result: outcome
        for outcome in (
            Outcome(status=200, latency=2.0),
            Outcome(status=429, error="status 429"),
            Outcome(status=200, error="incomplete stream"),
            Outcome(error="connect"),
        )
    }
    assert [*results] == ["ok", "refused", "cut", "failed"]
    assert answer_of(LOAD, 1.0, Outcome(status=503, error="status 503")).result == "failed"
    answer = answer_of(LOAD, 1.0, Outcome(status=200, latency=2.0, gaps=[0.1, 0.3], backend="home"))
    assert (answer.ended, answer.backend, answer.per_token) == (3.0, "home", pytest.approx(0.2))


def test_a_record_is_cut_into_seconds() -> None:
    seen = record(sent=[81.2, 81.4, 92.0])
    rows = seconds_of(seen, ground(), 80.0)
    assert [one.at for one in rows] == [*range(70)]
    assert (rows[1].sent, rows[12].sent) == (2, 1)
    assert rows[12].phase == "overload"
    assert rows[15].share("cloud") == 1.0
    assert rows[15].backends[NOBODY].answers == 0
    assert rows[0].dollars == {"home": 0.0, "cloud": 1.5}
    assert seconds_of(Record(), ground(), 0.0) == []


def test_a_silent_site_costs_what_it_last_said() -> None:
    looks = [reading(80.0, 60.0, billed=2), Reading(81.0, None, {"home": None, "cloud": None})]
    rows = seconds_of(record(readings=looks), ground(), 80.0)
    assert [one.dollars["cloud"] for one in rows[:2]] == [3.0, 3.0]


NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "home"),
    [
        (None, 100.0),
        ('{"version": 1, "routes": {"all": {"home": 70, "cloud": 30}}}', 70.0),
        ('{"version": 1, "until": "2026-11-28T12:01:00Z", "routes": {"all": {"home": 70}}}', 70.0),
        ('{"version": 1, "until": "2026-11-28T11:59:00Z", "routes": {"all": {"home": 70}}}', 100.0),
        ('{"version": 1, "routes": {"bank": {"home": 100}}}', 100.0),
    ],
)
def test_weights_as_they_count_now(text: str | None, home: float) -> None:
    weights = weights_of(text, ground(), NOW)
    assert weights is not None
    assert weights["home"] == home


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"routes": 1}', '{"until": 5, "routes": {}}'])
def test_weights_that_cannot_be_read_are_unknown(text: str) -> None:
    assert weights_of(text, ground(), NOW) is None


def test_what_a_reporter_says_is_read_or_unknown() -> None:
    said = {"models": {"chat": {"waiting": 3, "running": 4, "ready": 2, "billed": 3, "slots": 8}}}
    assert reading_of(said, "chat", CLOUD) == SiteReading(3, 4, 2, 3, 4.5, 8)
    for broken in ({}, {"models": {"chat": {"waiting": "x"}}}, [], {"models": {"other": {}}}):
        assert reading_of(broken, "chat", CLOUD) is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"fault": "lose-all"}, "there are lose-site, lose-pool, lose-metrics, slow-site"),
        ({"seconds": 0.5}, "seconds is 0.5"),
        ({"rate": 0.0}, "rate is 0"),
        ({"overload": 0.5}, "overload is 0.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadSettingsError, match=message):
        DrillSettings(**{"fault": "lose-site", "site": "home", **parts})
