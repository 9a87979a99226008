"""Who may do something in AWS may do what is named."""

from collections.abc import Iterator

from berth_policy.identity._documents import IDENTITY, ROLES, Statement, documents, readable
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, survey


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the actions of each statement that allows."""
    yield from survey(documents(resource), lambda document: survey(readable(document), _statement))


def _statement(one: Statement) -> Iterator[Finding]:
    if not one.allows:
        return
    if "NotAction" in [*one.body]:
        yield Finding(f"{one.path} allows everything but NotAction", "the actions that are needed, by name")
    for action in one.words("Action"):
        if "*" in action or "?" in action:
            yield Finding(f"{one.path} allows the action {action}", "the actions that are needed, by name")


RULE = Rule(
    name="iam-wildcard-actions",
    group="identity",
    title="A policy of IAM allows actions by their names, without wildcards.",
    why="A wildcard takes in what AWS adds to the service tomorrow, and what nobody has thought of today.",
    fix="List the actions; CloudTrail and IAM Access Analyzer say which ones are used.",
    types=(*IDENTITY, *ROLES),
    answers=("CIS AWS 2.14", "CKV_AWS_62", "CKV_AWS_63", "CKV2_AWS_40"),
    check=check,
)
