"""The public helper for tests of policies: as faithful as the runtime, since it is the runtime."""

from __future__ import annotations

import inspect
import json
import os
from typing import TYPE_CHECKING

import berth_policy.testing as helper
import pulumi
import pytest
from berth_policy.testing import (
    UNKNOWN,
    Given,
    LoadError,
    assert_trips,
    check,
    given,
    load_pack,
    load_preview,
    load_stack_export,
    mutate,
    output_value,
    secret,
)
from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

if TYPE_CHECKING:
    from pathlib import Path

CONFIG_MAP = "kubernetes:core/v1:ConfigMap"


def _no_canary(args: ResourceValidationArgs, report: ReportViolation) -> None:
    if args.resource_type == CONFIG_MAP and args.props["data"].get("word") == "canary":
        report("data.word is canary", None)


def _at_most(args: StackValidationArgs, report: ReportViolation) -> None:
    most = args.get_config()["most"]
    for one in [one for one in args.resources if one.resource_type == CONFIG_MAP][int(most) :]:
        report(f"more than {most:g} in {pulumi.get_stack()}, preview: {pulumi.runtime.is_dry_run()}", one.urn)


POLICIES = [
    ResourceValidationPolicy("no-canary", "No canary.", _no_canary, EnforcementLevel.MANDATORY),
    StackValidationPolicy(
        "at-most", "Few.", _at_most, config_schema=PolicyConfigSchema({"most": {"type": "integer"}})
    ),
]
FEW = {"at-most": {"most": 9}}


def one(data: dict[str, object], name: str = "one") -> Given:
    return given(CONFIG_MAP, name, {"data": data})


def test_a_violation_says_policy_level_resource_and_message() -> None:
    results = check(POLICIES, [one({"word": "canary"})], stack="dev", project="shop", config=FEW)
    (found,) = results
    assert (found.policy, found.status, found.level) == ("no-canary", "violated", "mandatory")
    assert found.urn == "urn:pulumi:dev::shop::kubernetes:core/v1:ConfigMap::one"
    assert found.message == "No canary.\ndata.word is canary"
    assert_trips(results, "no-canary")


@pytest.mark.parametrize("value", [UNKNOWN, output_value()], ids=["unknown", "output value"])
def test_an_unknown_value_counts_only_where_it_is_read(value: object) -> None:
    assert check(POLICIES, [one({"word": value})], config=FEW).unevaluated == {"no-canary"}
    assert check(POLICIES, [one({"word": "good", "other": value})], config=FEW) == ()


@pytest.mark.parametrize("wrap", [secret, output_value, lambda value: output_value(secret(value))])
def test_secrets_and_output_values_are_flattened(wrap: object) -> None:
    assert callable(wrap)
    assert check(POLICIES, [one({"word": wrap("canary")})], config=FEW).tripped == {"no-canary"}


def test_a_policy_that_raises_is_broken_and_no_pass() -> None:
    results = check(POLICIES, [given(CONFIG_MAP, "one", {})], config=FEW)
    assert [(found.status, found.message) for found in results] == [("broken", "KeyError: 'data'")]
    with pytest.raises(AssertionError, match="policies raised"):
        assert_trips(results)


def test_configuration_levels_stack_and_preview_reach_the_policies() -> None:
    resources = [one({}, "a"), one({}, "b")]
    config = {"at-most": {"most": 1, "enforcementLevel": "mandatory"}}
    (found,) = check(POLICIES, resources, stack="dev", config=config, dry_run=False)
    assert (found.level, found.urn[-1]) == ("mandatory", "b")
    assert "more than 1 in dev, preview: False" in found.message
    assert not check(POLICIES, resources, config={"at-most": {"most": 1, "enforcementLevel": "disabled"}})
    with pytest.raises(ValueError, match="config names no policy of these: atmost"):
        check(POLICIES, resources, config={"atmost": {}})


def test_nothing_of_it_stays_behind() -> None:
    before = dict(os.environ), pulumi.get_stack(), pulumi.get_project()
    check(POLICIES, [one({})], stack="dev", project="shop", config=FEW, program_config={"a:b": "c"})
    assert (dict(os.environ), pulumi.get_stack(), pulumi.get_project()) == before


def test_parents_dependencies_and_providers_arrive() -> None:
    seen: list[object] = []

    def look(args: StackValidationArgs, _report: ReportViolation) -> None:
        for each in args.resources:
            parent = each.parent.name if each.parent else ""
            comes_from = {key: [x.name for x in found] for key, found in each.property_dependencies.items()}
            provider = each.provider.props["region"] if each.provider else ""
            seen.append((each.name, parent, [x.name for x in each.dependencies], comes_from, provider))

    first = one({}, "first")
    urn = first.urn_in("stack", "project")
    second = one({}, "second").but(
        parent=urn,
        dependencies=[urn],
        references={"data": [urn]},
        provider=given("pulumi:providers:aws", "aws", {"region": "eu"}),
        protect=True,
    )
    assert check([StackValidationPolicy("look", "Look.", look)], [first, second]) == ()
    assert seen == [("first", "", [], {}, ""), ("second", "first", ["first"], {"data": ["first"]}, "eu")]


def test_a_preview_and_an_export_give_the_same_resources(tmp_path: Path) -> None:
    urn = "urn:pulumi:dev::shop::kubernetes:core/v1:ConfigMap::one"
    state = {"urn": urn, "type": CONFIG_MAP, "inputs": {"data": {"word": "[unknown]"}}, "dependencies": []}
    gone = {"op": "delete", "newState": None}
    (planned,) = load_preview({"steps": [{"op": "create", "newState": state}, gone]})
    assert planned.inputs == {"data": {"word": UNKNOWN}}
    exported = {"deployment": {"resources": [{**state, "inputs": {"data": {"word": secret("canary")}}}]}}
    file = tmp_path / "stack.json"
    file.write_text(json.dumps(exported))
    (found,) = load_stack_export(file)
    assert (found.urn, found.name) == (urn, "one")
    assert check(POLICIES, [found], config=FEW).tripped == {"no-canary"}


@pytest.mark.parametrize(
    ("text", "said"), [("{}", "no deployment.resources"), ("[]", "holds list"), ("{", "is no JSON")]
)
def test_another_file_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "odd.json"
    file.write_text(text)
    with pytest.raises(LoadError, match=said):
        load_stack_export(file)


def test_a_pack_is_read_from_its_folder(tmp_path: Path, root: Path) -> None:
    program = "import pulumi_policy as p\np.PolicyPack('mine', [p.StackValidationPolicy('a', 'A.', print)])\n"
    (tmp_path / "__main__.py").write_text(program)
    assert [policy.name for policy in load_pack(tmp_path)] == ["a"]
    assert "environment" in {policy.name for policy in load_pack(root / "policy")}
    (tmp_path / "__main__.py").write_text("")
    with pytest.raises(LoadError, match="makes no PolicyPack"):
        load_pack(tmp_path)


def test_every_leaf_is_removed_flipped_widened_or_emptied() -> None:
    inputs = {
        "on": True,
        "count": 3,
        "cidrs": ["10.0.0.0/8"],
        "image": "a/b:1@sha256:" + "0" * 64,
        "policy": '{"Action": ["s3:Get"]}',
        "unknown": UNKNOWN,
    }
    before = repr(inputs)
    mutants = list(mutate(given("a:b:C", "c", inputs)))
    assert repr(inputs) == before
    done = {(mutant.where, mutant.operation, repr(mutant.after)) for mutant in mutants}
    assert {
        ("on", "removed", "None"),
        ("on", "flipped", "False"),
        ("count", "emptied", "0"),
        ("count", "widened", "30"),
        ("cidrs", "emptied", "[]"),
        ("cidrs[0]", "widened", "'0.0.0.0/0'"),
        ("image", "widened", "'a/b:1'"),
        ("image", "changed", "'a/b:latest'"),
        ("policy.$json.Action", "widened", "['s3:Get', '*']"),
        ("unknown", "removed", "None"),
    } <= done
    assert [mutant.operation for mutant in mutants if mutant.where == "unknown"] == ["removed"]
    (inside,) = [m for m in mutants if m.where == "policy.$json.Action" and m.operation == "widened"]
    assert inside.resource.inputs["policy"] == '{"Action": ["s3:Get", "*"]}'
    assert inside.description == "a:b:C c: policy.$json.Action widened: ['s3:Get'] → ['s3:Get', '*']"


def test_the_public_surface_is_what_it_was() -> None:
    assert helper.__all__ == [
        "UNKNOWN",
        "Given",
        "LoadError",
        "Mutant",
        "Result",
        "Results",
        "assert_trips",
        "check",
        "given",
        "load_pack",
        "load_preview",
        "load_stack_export",
        "mutate",
        "output_value",
        "secret",
    ]
    parameters = inspect.signature(check).parameters.values()
    assert [(one.name, one.default) for one in parameters if one.default is not one.empty] == [
        ("stack", "stack"),
        ("project", "project"),
        ("dry_run", True),
        ("config", None),
        ("program_config", None),
    ]
