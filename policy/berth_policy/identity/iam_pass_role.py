"""Nobody hands on a role that is not named."""

from collections.abc import Iterator

from berth_policy.identity._documents import IDENTITY, ROLES, Statement, documents, readable
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, survey


def check(resource: Resource) -> Iterator[Finding]:
    """Look for iam:PassRole."""
    yield from survey(documents(resource), lambda document: survey(readable(document), _statement))


def _statement(one: Statement) -> Iterator[Finding]:
    if not one.allows or not any(action.lower() == "iam:passrole" for action in one.words("Action")):
        return
    if any("*" in arn for arn in one.words("Resource")) or "NotResource" in [*one.body]:
        yield Finding(f"{one.path} passes on roles that are not named", "the role's ARN")
    if not one.narrowed_by("iam:passedtoservice"):
        yield Finding(f"{one.path} passes roles to any service", "a condition on iam:PassedToService")


RULE = Rule(
    name="iam-pass-role",
    group="identity",
    title="iam:PassRole names the role, and the service that gets it.",
    why="Whoever passes any role to a machine or function of their own has that role.",
    fix="Name the role's ARN and add StringEquals on iam:PassedToService.",
    types=(*IDENTITY, *ROLES),
    answers=("CIS AWS 2.14",),
    check=check,
)
