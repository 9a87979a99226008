"""The data: every action exists, is checked for what the data say, and covers what shipped stacks plan."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from berth.permissions import refresh
from berth.permissions.data import VERBS, aws, aws_actions, aws_arns, gcp

if TYPE_CHECKING:
    from berth.deployer import Report


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return refresh.reference()


def test_every_action_exists_and_none_has_a_wildcard(reference: dict[str, Any]) -> None:
    named = refresh.named()
    assert len(named) > 100
    for action in named:
        assert re.fullmatch(r"[a-z0-9-]+:[A-Za-z0-9]+", action), action
        service, _, name = action.partition(":")
        assert name in reference[service]["privileges"], action


def test_what_an_action_is_checked_for_is_what_aws_says(reference: dict[str, Any]) -> None:
    made = refresh.content(reference)
    assert made["arns"] == dict(aws_arns())
    assert made["actions"].keys() == aws_actions().keys()
    for name, action in aws_actions().items():
        assert (list(action.needs), list(action.may)) == (
            made["actions"][name].get("needs", []),
            made["actions"][name].get("may", []),
        ), name


def test_names_and_limits_are_ones_that_aws_knows(reference: dict[str, Any]) -> None:
    for token, needs in aws().types.items():
        placeholders = {
            one
            for action in needs.all()
            for kind in (*aws_actions()[action].needs, *aws_actions()[action].may, needs.extra["is"])
            for one in re.findall(r"\$\{(\w+)\}", aws_arns()[kind])
        }
        assert set(needs.extra.get("names", {})) <= placeholders, token
        for action, limits in needs.extra.get("limits", {}).items():
            assert action in set(needs.all()), token
            service = action.partition(":")[0]
            for key in limits:
                assert key in reference[service]["conditions"], f"{token}: {key}"


@pytest.mark.parametrize("cloud", [aws, gcp])
def test_every_type_says_what_it_needs_and_where_that_was_read(cloud: Any) -> None:
    data = cloud()
    for token, needs in data.types.items():
        assert needs.by_verb["create"], token
        assert needs.by_verb["read"], token
        assert needs.sources, token
        assert set(needs.sources) <= set(data.sources), token
    for source in data.sources.values():
        assert set(source) == {"what", "from", "read"}
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", source["read"])


def test_every_google_permission_is_written_as_one() -> None:
    for token, needs in gcp().types.items():
        for permission in needs.all():
            assert re.fullmatch(r"[a-z]+\.[a-zA-Z]+\.[a-zA-Z]+", permission), f"{token}: {permission}"
        assert all(role.startswith("roles/") for role in needs.extra["roles"])
        assert not set(needs.extra) - {"roles"}, token


def test_no_key_of_the_data_is_passed_over() -> None:
    for token, needs in aws().types.items():
        known = {"is", "names", "touches", "passes", "linked", "limits"}
        assert set(needs.extra) <= known, token
        assert set(needs.by_verb) == set(VERBS)


def test_every_type_that_a_shipped_stack_plans_has_data(shipped: dict[str, Report]) -> None:
    assert {"aws-prod", "gcp-prod", "onprem"} <= set(shipped)
    planned = {
        step.type
        for report in shipped.values()
        for step in report.steps
        if step.custom and step.type.startswith(("aws:", "gcp:"))
    }
    assert len(planned) > 30
    assert not planned - set(aws().types) - set(gcp().types)
