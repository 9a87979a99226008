"""Nobody gets one of AWS' policies for everything."""

import re
from collections.abc import Iterator

from berth_policy.reading import has, items
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, survey

_WIDE = re.compile(r":iam::aws:policy/(.*/)?(AdministratorAccess.*|PowerUserAccess|\w+FullAccess(V\d+)?)$")
_LISTS = ("managedPolicyArns",)


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the policies that are attached."""
    if has(resource.props, "policyArn"):
        yield from _one(("policyArn", resource.props.get("policyArn")))
    for key in _LISTS:
        if has(resource.props, key):
            yield from survey([(f"{key}[{number}]", one) for number, one in items(resource.props, key)], _one)


def _one(place: tuple[str, object]) -> Iterator[Finding]:
    where, arn = place
    if isinstance(arn, str) and (_WIDE.search(arn) or "*" in arn):
        yield Finding(f"{where} is {arn}", "a policy of what is needed")


RULE = Rule(
    name="iam-managed-policies",
    group="identity",
    title="No role has AdministratorAccess, PowerUserAccess or a …FullAccess.",
    why="They allow every action of a service, or of all of them, for every resource.",
    fix="Write a policy of the actions that are used.",
    types=(
        "aws:iam/rolePolicyAttachment:",
        "aws:iam/policyAttachment:",
        "aws:iam/userPolicyAttachment:",
        "aws:iam/groupPolicyAttachment:",
        "aws:iam/role:",
        "aws:iam/rolePolicyAttachmentsExclusive:",
    ),
    answers=("CIS AWS 2.14", "CKV_AWS_274", "CKV2_AWS_56"),
    check=check,
)
