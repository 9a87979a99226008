"""The pack: levels, settings, exceptions, what it remembers, and that its quick way is the runtime's own."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth_policy import pack, settings
from berth_policy.exceptions import ExceptionsError, Exemption, read
from berth_policy.once import Sieve, convert_once
from berth_policy.rule import ADVICE, Finding, Rule
from berth_policy.run import Run
from berth_policy.supply_chain.model_licence import LicenceSettings
from berth_policy.testing import UNKNOWN, Given, Results, check, given
from berth_policy.testing.trial import Trial
from pulumi_policy import StackValidationArgs, StackValidationPolicy

sys.path.insert(0, str(Path(__file__).parent / "programs"))
import bad  # type: ignore[import-not-found]
import raw  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from berth_policy.subject import Resource, Stack

TODAY = dt.date(2026, 11, 28)
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
HERE = given("berth:stacks:Environment", "environment", {"environment": "production", "findings": []})


def _canary(resource: Resource) -> Iterator[Finding]:
    if resource.props.get("data") == "canary":
        yield Finding("data is canary", "no canary")


def _rule(name: str = "no-canary", **others: Any) -> Rule:
    words = {"group": "pack", "title": "No canary.", "why": "It sings.", "fix": "Remove it."}
    given_check = {} if "check_stack" in others else {"check": _canary}
    return Rule(name=name, **words, **given_check, **others)


def _run(rules: tuple[Rule, ...], resources: list[Given], run: Run | None = None, **others: Any) -> Results:
    made = pack.policies(run or Run(today=lambda: TODAY), (pack.rules()[0], *rules))
    return check(made, resources, stack="dev", project="shop", **others)


def canary(name: str = "one") -> Given:
    return given(CONFIG_MAP, name, {"data": "canary"})


URN = canary().urn_in("dev", "shop")


def _exempt(**others: Any) -> Exemption:
    known: dict[str, Any] = {"rule": "no-canary", "stack": "dev", "object": URN, "reason": "r", "owner": "o"}
    return Exemption(**{**known, "expires": TODAY, **others})


def test_a_message_says_everything() -> None:
    (found,) = _run((_rule(),), [HERE, canary()])
    assert found.level == "mandatory"
    assert found.urn == URN
    assert found.message == (
        "No canary.\nConfigMap one: data is canary; wanted: no canary.\n"
        "Why: It sings.\nFix: Remove it.\nMore: docs/policies.md#no-canary"
    )


@pytest.mark.parametrize("environment", ["local", "development", "production"])
def test_a_rule_has_a_level_for_each_environment(environment: str) -> None:
    levels: Any = {"local": "disabled", "development": "advisory", "production": "mandatory"}
    here = HERE.but(inputs={"environment": environment, "findings": []})
    results = _run((_rule(levels=levels),), [canary(), here])
    said = {(one.policy, one.level) for one in results}
    assert (
        said
        == {
            "local": set(),
            "development": {("no-canary-advice", "advisory")},
            "production": {("no-canary", "mandatory")},
        }[environment]
    )


def test_a_rule_of_one_level_stops_a_resource_before_it_is_made() -> None:
    policies = {one.name: type(one).__name__ for one in pack.policies(Run(), (pack.rules()[0], _rule()))}
    assert policies["no-canary"] == "ResourceValidationPolicy"
    assert policies["environment"] == "StackValidationPolicy"
    whole = _rule("no-advice", levels=ADVICE, check_stack=lambda _stack: [])
    policies = {one.name: type(one).__name__ for one in pack.policies(Run(), (pack.rules()[0], whole))}
    assert policies["no-advice"] == "StackValidationPolicy"


def test_rules_of_the_stack_see_inputs_not_what_a_cluster_adds() -> None:
    seen: list[object] = []

    def look(stack: Stack) -> list[Finding]:
        seen.extend(one.props.get("data") for one in stack.of(CONFIG_MAP))
        return []

    _run((_rule(check_stack=look),), [HERE, canary().but(outputs={"data": "defaulted"})])
    assert seen == ["canary"]


def test_an_exception_holds_for_its_object_until_its_last_day() -> None:
    others = [HERE, canary(), canary("two")]
    for expires, left in ((TODAY, {"two"}), (TODAY - dt.timedelta(days=1), {"one", "two"})):
        run = Run((_exempt(expires=expires),), today=lambda: TODAY)
        results = _run((_rule(),), others, run)
        assert {one.urn.rpartition("::")[2] for one in results if one.policy == "no-canary"} == left
        assert ("exceptions" in results.tripped) is (left == {"one", "two"})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"object": URN + "x"}, "matches nothing"),
        ({"rule": "no-such-rule"}, "there is no such rule"),
        ({"expires": TODAY - dt.timedelta(days=1)}, "expired on 2026-11-27"),
    ],
)
def test_an_exception_that_holds_no_more_fails(changed: dict[str, Any], said: str) -> None:
    results = _run((_rule(),), [HERE, canary()], Run((_exempt(**changed),), today=lambda: TODAY))
    (found,) = [one for one in results if one.policy == "exceptions"]
    assert said in found.message
    assert "owner o" in found.message
    assert "Fix: " in found.message
    assert found.level == "mandatory"


def test_an_exception_of_another_stack_or_of_what_nobody_knows_is_left_alone() -> None:
    elsewhere = Run((_exempt(stack="prod", object=URN.replace(":dev:", ":prod:")),), today=lambda: TODAY)
    assert _run((_rule(),), [HERE], elsewhere) == ()
    unknown = given(CONFIG_MAP, "one", {"data": UNKNOWN})
    results = _run((_rule(),), [HERE, unknown], Run((_exempt(),), today=lambda: TODAY))
    assert results.unevaluated == {"no-canary"}
    assert results.tripped == frozenset()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "holds dict; allowed: a list of exceptions"),
        (
            "- rule: a",
            "entry 1 has rule; allowed: exactly the keys rule, stack, object, reason, owner, expires",
        ),
        ("- {rule: a, stack: b, object: c, reason: d, owner: e, expires: 2027-01-01}", "object is 'c'"),
        (
            "- {rule: a, stack: b, object: 'urn:pulumi:*', reason: d, owner: e, expires: 2027-01-01}",
            "exact URN",
        ),
        (
            "- {rule: a, stack: b, object: 'urn:pulumi:a', reason: d, owner: e, expires: never}",
            "expires is 'never'",
        ),
        (
            "- {rule: a, stack: b, object: 'urn:pulumi:a', reason: '', owner: e, expires: 2027-01-01}",
            "reason is ''",
        ),
        ("- [", "is no YAML"),
    ],
)
def test_a_wrong_file_of_exceptions_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "exceptions.yaml"
    file.write_text(text)
    with pytest.raises(ExceptionsError) as caught:
        read(file)
    assert said in str(caught.value)
    assert str(caught.value).startswith("exceptions.yaml")


def test_two_exceptions_of_one_thing_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "exceptions.yaml"
    entry = "- {rule: a, stack: b, object: 'urn:pulumi:a', reason: d, owner: e, expires: 2027-01-01}\n"
    file.write_text(entry)
    assert len(read(file)) == 1
    file.write_text(entry + entry)
    with pytest.raises(ExceptionsError, match="two exceptions"):
        read(file)
    assert read(tmp_path / "none.yaml") == ()


def test_settings_are_typed() -> None:
    assert settings.read("r", LicenceSettings, {"allowed": ["MIT"]}) == LicenceSettings(("MIT",))
    schema = settings.schema(LicenceSettings).properties
    assert schema["allowed"] == {"type": "array", "items": {"type": "string"}}
    assert schema["licences"] == {"type": "object", "additionalProperties": {"type": "string"}}
    for wrong, said in (
        ({"alowed": []}, "unknown setting 'alowed'; allowed: allowed, licences"),
        ({"allowed": "MIT"}, "setting 'allowed' is 'MIT'; allowed: array"),
        ({"allowed": [3]}, "setting 'allowed' is 3; allowed: string"),
    ):
        with pytest.raises(settings.SettingsError) as caught:
            settings.read("models-licence", LicenceSettings, wrong)
        assert said in str(caught.value)


def test_settings_reach_their_rule(judge: Callable[..., Results]) -> None:
    objects = bad.BAD["engine_without_a_gpu"].make()
    resources = [given(token, name, inputs) for name, (token, inputs) in objects.items()]
    config = {"models-licence": {"licences": {"nobody/unheard-of-7b": "MIT"}}}
    assert judge(resources, config=config).tripped == {"accelerators-requested"}
    refused = judge(resources, config={"models-licence": {"licences": 3}})
    assert [one.status for one in refused if "setting 'licences'" in one.message] == ["broken"]


def test_the_quick_way_says_what_the_runtime_says() -> None:
    """With conversions shared and policies chosen by type, or each policy by itself: the same results."""
    convert_once()
    for case in ("deployment_without_probes", "an_operator_that_may_do_anything", "goes_anywhere"):
        objects = bad.BAD[case].make()
        objects["web"][1]["spec"]["template"]["spec"]["containers"][0]["image"] = UNKNOWN
        resources = [given(token, name, inputs) for name, (token, inputs) in objects.items()]
        slow = check(pack.policies(Run()), resources)
        quick = check(Sieve(pack.policies(Run())), resources)
        assert slow == quick
        assert slow.unevaluated


def test_other_packs_of_the_process_are_left_as_they_are() -> None:
    convert_once()
    seen: list[int] = []

    def count(args: StackValidationArgs, _report: object) -> None:
        seen.append(len(args.resources))

    check([StackValidationPolicy(name, "C.", count) for name in ("a", "b")], [canary(), HERE])
    assert seen == [2, 2]


def test_a_trial_says_what_the_runtime_says() -> None:
    for case in ("deployment_without_probes", "labels_that_match_nothing", "pool_that_no_pod_reaches"):
        objects = bad.BAD[case].make()
        resources = [given(token, name, inputs) for name, (token, inputs) in objects.items()]
        trial = Trial(pack.rules(), resources)
        assert {name for name, _ in trial.baseline} == check(pack.policies(Run()), resources).tripped


def test_a_rule_says_what_it_is() -> None:
    with pytest.raises(TypeError, match="exactly one of check and check_stack"):
        Rule(name="a", group="b", title="c", why="d", fix="e")
    with pytest.raises(TypeError, match="levels are of local, development, production"):
        _rule(levels={"local": "advisory"})


def test_the_good_program_breaks_nothing_in_any_environment(judge: Callable[..., Results]) -> None:
    resources = [given(token, name, inputs) for name, (token, inputs) in raw.good().items()]
    for environment in ("local", "development", "production"):
        assert judge(resources, config={"environment": {"environment": environment}}) == ()
