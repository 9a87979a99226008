"""What belongs to us is not open to everybody in AWS."""

from collections.abc import Iterator

from berth_policy.identity._documents import RESOURCE, Document, Statement, readable
from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, survey

_NARROW = (
    *("aws:principalorgid", "aws:principalorgpaths", "aws:principalaccount", "aws:principalarn"),
    *("aws:sourceaccount", "aws:sourcearn", "aws:sourceorgid", "aws:sourcevpc", "aws:sourcevpce"),
    *("kms:calleraccount", "s3:dataaccesspointaccount"),
)
"""Beginnings of keys of conditions that say who is meant."""


def check(resource: Resource) -> Iterator[Finding]:
    """Look at everybody whom a resource's policy lets in."""
    if resource.token.startswith("aws:lambda/permission:"):
        if resource.props.get("principal") == "*" and not has(resource.props, "principalOrgId"):
            yield Finding("principal is '*'", "an account or a service")
    elif has(resource.props, "policy"):
        yield from survey(readable(Document("policy", resource.props, "policy")), _statement)


def _statement(one: Statement) -> Iterator[Finding]:
    if not one.allows:
        return
    if "NotPrincipal" in [*one.body]:
        yield Finding(f"{one.path} lets in everybody but NotPrincipal", "who may use it, by name")
    elif any("*" in name for _, name in one.principals()) and not one.narrowed_by(*_NARROW):
        yield Finding(f"{one.path} lets in every principal", "who may use it, by name or by a condition")


RULE = Rule(
    name="iam-resource-policies",
    group="identity",
    title="The policy of a key, repository, bucket, queue, topic or secret names who may use it.",
    why='Principal "*" is everybody with an account in AWS.',
    fix="Name principals, or add a condition on aws:PrincipalOrgID or aws:SourceAccount.",
    types=RESOURCE,
    answers=("CIS AWS 2.21", "CKV_AWS_32", "CKV_AWS_33"),
    check=check,
)
