"""Service levels: what a stack states, what is refused, and what becomes of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from berth_components.monitoring.facts import Parts, Server
from berth_components.monitoring.objectives import Baseline, ObjectiveError, Objectives
from berth_components.monitoring.rules import rule_groups, unwatched
from berth_components.monitoring.rules_slo import PAIRS
from berth_stacks.objectives_settings import ObjectivesSettings
from berth_stacks.receivers_settings import Receivers, ReceiverSettings
from pydantic import TypeAdapter, ValidationError

SMALL = Server(site="local", namespace="berth-local", model="smollm2", name="smollm2", engine="llama.cpp")
NOTHING = Parts(jobs=frozenset())


def test_settings_and_rules_have_the_same_objectives_and_defaults() -> None:
    assert ObjectivesSettings().objectives() == Objectives()
    known = {one.name for one in dataclasses.fields(Objectives)}
    assert set(ObjectivesSettings.model_fields) == known | {"not_watched"}


def test_settings_speak_in_camel_case_and_a_default_is_taken_back() -> None:
    given = {
        "firstTokenP99Seconds": 4,
        "notWatched": ["availability"],
        "baseline": {"answerTokens": {"16.0": 0.5}},
    }
    stated = ObjectivesSettings.model_validate(given).objectives()
    assert stated.first_token_p99_seconds == 4
    assert stated.availability is None
    assert stated.baseline == Baseline(answer_tokens={"16.0": 0.5})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"availability": 1}, "leaves no error budget|up to, but not including, 1"),
        ({"availability": 99.9}, "0.5 up to"),
        ({"window_days": 7}, "28 or 30"),
        ({"owner": "a team"}, "letters, digits"),
        ({"first_token_p99_seconds": 3}, "one of 0.005, .*, 60"),
        ({"first_token_p99_seconds": True}, "one of"),
        ({"inter_token_seconds": 0.08}, "one of 0.01"),
        ({"queue_wait_seconds": 3}, "one of 0.01"),
        ({"cost_per_day_dollars": 0}, "above 0"),
        ({"least_failures": 0}, "from 1"),
        ({"first_token_p95_seconds": 4}, "at most first_token_p99_seconds, which is 2"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ObjectiveError, match=said) as caught:
        Objectives(**given)
    assert next(iter(given)) in str(caught.value), "the error names the objective"
    assert "allowed" in str(caught.value)


def test_settings_refuse_with_the_same_words() -> None:
    with pytest.raises(ValidationError, match="what the histogram tells apart"):
        ObjectivesSettings.model_validate({"firstTokenP99Seconds": 3})
    with pytest.raises(ValidationError, match="availability or notWatched, not both"):
        ObjectivesSettings.model_validate({"availability": 0.9, "notWatched": ["availability"]})
    with pytest.raises(ValidationError, match="one of availability, errorRatio"):
        ObjectivesSettings.model_validate({"notWatched": ["everything"]})
    with pytest.raises(ValidationError, match="at most first_token_p99_seconds"):
        ObjectivesSettings.model_validate({"firstTokenP95Seconds": 4})
    for wrong, said in (
        ({"filters": {"pii": 0.1}}, "filter/stage/decision"),
        ({"answerTokens": {"many": 0.1}}, "bounds of buckets"),
        ({"refusals": 2.0}, "from 0 to 1"),
    ):
        with pytest.raises(ValidationError, match=said):
            ObjectivesSettings.model_validate({"baseline": wrong})
    for name in ("Bad Name", "nobody"):
        with pytest.raises(ValidationError, match=r"another name|lower-case"):
            TypeAdapter(Receivers).validate_python({name: {"kind": "webhook"}})
    with pytest.raises(ValidationError, match="needs it"):
        ReceiverSettings.model_validate({"kind": "slack"})
    assert ReceiverSettings.model_validate({"kind": "webhook"}).receiver("hook").secret


def test_burn_rates_are_the_workbooks() -> None:
    assert [round(pair.factor(30), 1) for pair in PAIRS] == [14.4, 6, 3, 1]
    assert [round(pair.factor(28), 2) for pair in PAIRS] == [13.44, 5.6, 2.8, 0.93]


def test_what_is_not_stated_makes_no_rule_and_is_listed() -> None:
    none = Objectives(
        availability=None, error_ratio=None, first_token_p99_seconds=None, inter_token_seconds=None
    )
    groups = rule_groups([SMALL], {"smollm2": none}, NOTHING)
    assert not [rule for group in groups for rule in group["rules"] if "slo" in rule.get("labels", {})]
    reasons = {(one.alert, one.reason) for one in unwatched([SMALL], {"smollm2": none}, NOTHING)}
    assert ("AvailabilityBudgetBurn", "objective availability is not stated") in reasons
    assert ("NodeDiskFull", "node is not deployed") in reasons
    assert ("KvCacheFull", "llama.cpp does not tell how full its KV cache is") in reasons


def test_a_target_that_no_failure_could_miss_is_listed() -> None:
    found = unwatched([SMALL], {"smollm2": Objectives(availability=0.9)}, NOTHING)
    assert [one.alert for one in found if one.alert.startswith("Availability")] == [
        "AvailabilityBudgetBurn (availability, 1h)"
    ]


def test_a_release_can_be_the_baseline() -> None:
    known = Baseline(answer_tokens={"16": 0.25, "+Inf": 1}, refusals=0.02, filters={"pii/output/flag": 0.1})
    server = dataclasses.replace(SMALL, filtered=True, refusals=True)
    groups = rule_groups([server], {"smollm2": Objectives(baseline=known)}, NOTHING)
    rules = [rule for group in groups for rule in group["rules"]]
    shares = [rule for rule in rules if rule.get("record") == "server:answer_tokens:share_baseline"]
    assert [(rule["expr"], rule["labels"]["le"]) for rule in shares] == [
        ("vector(0.25)", "16.0"),
        ("vector(1)", "+Inf"),
    ]
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    assert {"AnswerLengthDrift", "RefusalDrift", "FilterDrift"} <= alerts
    assert "PerplexityDrift" not in alerts
    missing = unwatched([server], {"smollm2": Objectives(baseline=known)}, NOTHING)
    assert "the baseline says nothing of perplexity" in {one.reason for one in missing}


def test_alerts_on_a_model_are_its_owners() -> None:
    groups = rule_groups([SMALL], {"smollm2": Objectives(owner="chat-team")}, NOTHING, owner="platform")
    owners = {
        rule["alert"]: rule["labels"]["owner"]
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }
    assert owners["ModelUnavailable"] == owners["AvailabilityBudgetBurn"] == "chat-team"
    assert owners["TargetDown"] == owners["SiteDown"] == "platform"


def test_variants_of_a_model_have_groups_of_their_own() -> None:
    groups = rule_groups([SMALL, dataclasses.replace(SMALL, variant="arm-b")], {}, NOTHING)
    names = [group["name"] for group in groups]
    assert len(set(names)) == len(names)


def test_the_time_that_a_condition_must_last_can_be_scaled_and_windows_stay() -> None:
    quick = rule_groups([SMALL], {}, Parts(jobs=frozenset(), pending_scale=0.1))
    slow = rule_groups([SMALL], {}, NOTHING)
    for before, after in zip(slow, quick, strict=True):
        for one, two in zip(before["rules"], after["rules"], strict=True):
            assert one["expr"] == two["expr"]
    holds = {rule["alert"]: rule.get("for") for group in quick for rule in group["rules"] if "alert" in rule}
    assert holds["ModelUnavailable"] == "12s"
