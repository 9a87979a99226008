"""A pool of identities on Google Cloud says whose tokens it takes."""

from collections.abc import Iterator

from berth_policy.reading import expect, has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the condition of providers that take tokens of others."""
    if has(resource.props, "oidc") or has(resource.props, "saml"):
        yield from expect(
            resource.props,
            "attributeCondition",
            lambda value: isinstance(value, str) and value.strip() not in {"", "true"},
            "a condition on the repository, organisation or tenant",
            "every token of the issuer",
        )


RULE = Rule(
    name="google-federation",
    group="identity",
    title="A provider of a workload identity pool has a condition.",
    why="Everybody gets tokens of a public issuer, such as GitHub's.",
    fix="Set attributeCondition, such as assertion.repository_owner_id == '…'.",
    types=("gcp:iam/workloadIdentityPoolProvider:",),
    answers=("CKV_GCP_118", "CKV_GCP_125"),
    check=check,
)
