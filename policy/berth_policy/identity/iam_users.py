"""Programs have roles, no users with keys."""

from collections.abc import Iterator

from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource

_KEYS = ("aws:iam/accessKey:", "aws:iam/userLoginProfile:", "aws:iam/serviceSpecificCredential:")
_USERS = ("aws:iam/user:", "aws:iam/userPolicy:", "aws:iam/userPolicyAttachment:")


def check(resource: Resource) -> Iterator[Finding]:
    """Refuse users, and above all their credentials."""
    found = "makes a credential that does not expire" if resource.token.startswith(_KEYS) else "makes a user"
    yield Finding(f"it {found}", "a role, taken on by Pod Identity, an instance or OIDC")


RULE = Rule(
    name="iam-users",
    group="identity",
    title="No users of IAM, and no access keys.",
    why="A key works from anywhere until somebody takes it away, and it is in the state of this stack.",
    fix="Use a role: Pod Identity for pods, OIDC for CI, IAM Identity Center for people.",
    types=(*_USERS, *_KEYS),
    answers=("CIS AWS 2.13", "CIS AWS 2.19", "CKV_AWS_40", "CKV_AWS_273"),
    check=check,
)
