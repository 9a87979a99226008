"""A role says narrowly who takes it on."""

import re
from collections.abc import Iterator

from berth_policy.identity._documents import ROLES, Document, Statement, readable
from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, survey

_NARROW = (
    "sts:externalid",
    "aws:principalorgid",
    "aws:principalarn",
    "aws:principaltag/",
    "aws:sourceaccount",
)
_PODS = "pods.eks.amazonaws.com"
_POD_KEYS = ("aws:requesttag/kubernetes-namespace", "aws:requesttag/kubernetes-service-account")
_ACTIONS = {"sts:assumerole", "sts:assumerolewithwebidentity", "sts:assumerolewithsaml", "sts:tagsession"}
_ACTIONS |= {"sts:setsourceidentity", "sts:setcontext"}
_ACCOUNT = re.compile(r"(\d{12}|arn:[^:]+:iam::\d{12}:root)")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at everybody who is trusted."""
    if has(resource.props, "assumeRolePolicy"):
        yield from survey(
            readable(Document("assumeRolePolicy", resource.props, "assumeRolePolicy")), _statement
        )


def _statement(one: Statement) -> Iterator[Finding]:
    if not one.allows:
        return
    if "NotPrincipal" in [*one.body]:
        yield Finding(f"{one.path} trusts everybody but NotPrincipal", "who takes the role on, by name")
    principals = one.principals()
    if not principals:
        yield Finding(f"{one.path} names no principal", "who takes the role on")
    for action in one.words("Action"):
        if action.lower() not in _ACTIONS:
            yield Finding(f"{one.path} allows {action}", "sts:AssumeRole or one of its kind")
    for kind, name in principals:
        yield from _principal(one, kind, name)


def _principal(one: Statement, kind: str, name: str) -> Iterator[Finding]:
    if "*" in name or not name:
        yield Finding(f"{one.path} trusts {kind} {name!r}", "who takes the role on, by name")
    elif kind == "AWS" and _ACCOUNT.fullmatch(name) and not one.narrowed_by(*_NARROW):
        yield Finding(f"{one.path} trusts everybody of the account {name}", "a role's ARN, or a condition")
    elif kind == "Federated" and not _subject(one):
        yield Finding(
            f"{one.path} trusts every identity of {name}", "StringEquals on its subject, ending in :sub"
        )
    elif kind == "Service" and name == _PODS and not all(one.narrowed_by(key) for key in _POD_KEYS):
        yield Finding(
            f"{one.path} trusts the pods of every service account",
            "StringEquals on aws:RequestTag/kubernetes-namespace and -service-account",
        )


def _subject(one: Statement) -> bool:
    return any(
        key.endswith((":sub", ":saml:sub", "saml:aud")) and words and not any(_any(word) for word in words)
        for key, words in one.conditions().items()
    )


def _any(word: str) -> bool:
    # repo:org/* is every branch and pull request of an organisation; repo:org/app:* is one repository's.
    owner = word.endswith("/*") and word.count("/") == 1
    return not word or word.startswith("*") or owner or (word.endswith(":*") and "/" not in word)


RULE = Rule(
    name="iam-trust",
    group="identity",
    title="A role trusts those who are named, and pods or federated identities only by their subject.",
    why="Everybody who can take a role on has all its rights.",
    fix="Name principals; give pods conditions on namespace and service account, federated ones on :sub.",
    types=ROLES,
    answers=("CIS AWS 2.21", "CIS EKS 5.2.1", "CKV_AWS_60", "CKV_AWS_61", "CKV_AWS_393"),
    check=check,
)
