"""Who may do something in AWS may do it to what is named."""

from collections.abc import Iterator

from berth_policy.identity._documents import (
    IDENTITY,
    ROLES,
    Statement,
    documents,
    readable,
    scoped,
    whole,
)
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, survey

_OF_RESOURCE = (
    *("aws:resourcetag/", "ec2:resourcetag/", "autoscaling:resourcetag/", "s3:existingobjecttag/"),
    *("cloudwatch:namespace", "kms:viaservice", "eks:clustername"),
)
"""Beginnings of keys of conditions that say which resource is meant."""
_WRITES_METRICS = "cloudwatch:putmetricdata"


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the resources of each statement that allows."""
    yield from survey(documents(resource), lambda document: survey(readable(document), _statement))


def _statement(one: Statement) -> Iterator[Finding]:
    if not one.allows:
        return
    if "NotResource" in [*one.body]:
        yield Finding(f"{one.path} allows every resource but NotResource", "the resources, by their ARNs")
        return
    resources = whole(one)
    if not resources or one.narrowed_by(*_OF_RESOURCE):
        return
    if actions := [action for action in one.words("Action") if scoped(action)]:
        yield Finding(
            f"{one.path} allows {', '.join(actions)} for {', '.join(resources)}",
            "the resources by their ARNs, or a condition on their tags",
        )
    elif any(action.lower() == _WRITES_METRICS for action in one.words("Action")):
        yield Finding(
            f"{one.path} allows {_WRITES_METRICS} for every namespace", "a condition on cloudwatch:namespace"
        )


RULE = Rule(
    name="iam-wildcard-resources",
    group="identity",
    title="A policy of IAM names resources, wherever its actions can be allowed for a named one.",
    why="One workload that is taken over reaches what belongs to all others in the account.",
    fix="Name the ARNs, or add a condition on aws:ResourceTag; which actions take none is in "
    "berth_policy/identity/unscoped_actions.json.",
    types=(*IDENTITY, *ROLES),
    answers=("CIS AWS 2.14", "CKV_AWS_62"),
    check=check,
)
