"""Rules for AWS, Google Cloud, identities and cost: good, bad and unknown values."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth_policy import environment, pack
from berth_policy.run import Run
from berth_policy.testing import UNKNOWN, Given, Results, check, given

if TYPE_CHECKING:
    from collections.abc import Sequence


def _module(name: str) -> Any:
    """A file of cases beside this one; tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases, goods = _module("cloud_cases"), _module("cloud_goods")
BAD, UNKNOWNS, EVERYTHING_KNOWN = cases.BAD, cases.UNKNOWNS, cases.EVERYTHING_KNOWN
Remove, GOODS = cases.Remove, goods.GOODS
RULES = {one.name: one for one in pack.rules()}
NEVER = ("user", "account-key", "native")
"""What no program may make."""
MINE = ("aws", "google", "identity", "cost")


def good(name: str) -> Given:
    """A resource that follows every rule."""
    token, inputs = GOODS[name]
    return given(token, name, inputs)


def changed(name: str, path: str, value: Any) -> Given:
    """One of the good resources with one thing changed; documents of JSON are changed inside."""
    token, inputs = GOODS[name]
    made = copy.deepcopy(inputs)
    _set(made, path.split(".") if path else [], value)
    return given(token, name, made)


def _set(place: Any, path: Sequence[str], value: Any) -> None:
    first, *rest = path
    key: Any = int(first) if isinstance(place, list) else first
    inner = place[key] if not isinstance(place, dict) or key in place else None
    if rest and isinstance(inner, str):
        document = json.loads(inner)
        _set(document, rest, value)
        place[key] = json.dumps(document)
    elif rest:
        if inner is None:
            place[key] = inner = {}
        _set(inner, rest, value)
    elif value is Remove:
        del place[key]
    else:
        place[key] = value


def judged(rule: str, resources: Sequence[Given], place: str = "production", **config: Any) -> Results:
    """What one rule says."""
    resources = [given("berth:stacks:Environment", "environment", {"environment": place}), *resources]
    chosen = (environment.RULE, RULES[rule])
    return check(pack.policies(Run(), chosen), resources, config={rule: config} if config else None)


def test_what_is_good_follows_every_rule() -> None:
    vpc = good("vpc")
    resources = [given("berth:stacks:Environment", "environment", {"environment": "production"})]
    resources += [good(name) for name in GOODS if name not in {"closed", *NEVER}]
    resources.append(good("closed").but(references={"vpcId": [vpc.urn_in("stack", "project")]}))
    results = check(pack.policies(Run()), resources)
    assert {one.policy for one in results} == {"open-price"}, "\n".join(one.message for one in results)


@pytest.mark.parametrize(
    ("rule", "name", "path", "value"), BAD, ids=[f"{one[0]}:{one[1]}.{one[2]}={one[3]}"[:100] for one in BAD]
)
def test_what_is_bad_trips_its_rule(rule: str, name: str, path: str, value: Any) -> None:
    others = [good(one) for one in ("cni", "closed", "eks-logs") if one != name and rule.startswith("eks")]
    results = judged(rule, [changed(name, path, value), *others])
    assert results.tripped == {rule}, results
    found = next(one for one in results if one.status == "violated")
    assert found.urn.endswith(f"::{name}")
    assert "wanted: " in found.message
    assert f"docs/policies.md#{rule}" in found.message


@pytest.mark.parametrize(("rule", "name", "path"), UNKNOWNS, ids=[f"{r}:{n}.{p}" for r, n, p in UNKNOWNS])
def test_what_a_preview_does_not_know_is_no_pass(rule: str, name: str, path: str) -> None:
    results = judged(rule, [changed(name, path, UNKNOWN)])
    assert results.unevaluated == {rule}, results
    assert not results.tripped


def test_every_rule_has_its_cases() -> None:
    mine = {
        name
        for name, one in RULES.items()
        if one.group in MINE and not name.startswith(("rbac", "service-account", "identity", "secrets"))
    }
    bad = {one[0] for one in BAD}
    assert not mine - bad - ELSEWHERE, sorted(mine - bad - ELSEWHERE)
    judged_unknown = {one[0] for one in UNKNOWNS} | set(EVERYTHING_KNOWN) | ELSEWHERE
    assert not mine - judged_unknown, sorted(mine - judged_unknown)
    assert not (bad | judged_unknown) - set(RULES)


ELSEWHERE = {
    *("iam-role-per-workload", "google-identity-per-workload", "aws-default-security-group"),
    *("cost-accelerators", "cost-per-hour", "open-price", "sagemaker-alarms"),
}
"""Rules whose cases are of several resources: test_clouds_stacks.py."""
