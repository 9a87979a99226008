"""Policy documents of IAM are ones that IAM reads as they are meant."""

import re
from collections.abc import Iterator
from typing import Any

from berth_policy.identity._documents import (
    IDENTITY,
    RESOURCE,
    ROLES,
    Document,
    DocumentError,
    Statement,
    documents,
    parsed,
    statements,
)
from berth_policy.reading import has, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, survey

_ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_VERSION = "2012-10-17"
_KEYS = {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource"}
_KEYS |= {"Condition"}


def check(resource: Resource) -> Iterator[Finding]:
    """Read every document of a resource."""
    every = [*documents(resource)]
    if resource.token.startswith(ROLES):
        if has(resource.props, "assumeRolePolicy"):
            every.append(Document("assumeRolePolicy", resource.props, "assumeRolePolicy"))
        else:
            yield Finding("assumeRolePolicy is absent", "a document that names who takes the role on")
    elif has(resource.props, "policy") and not resource.token.startswith(IDENTITY):
        every.append(Document("policy", resource.props, "policy"))
    elif not has(resource.props, "policy") and resource.token.startswith(IDENTITY):
        yield Finding("policy is absent", "a document")
    yield from survey(every, _document)


def _document(document: Document) -> Iterator[Finding]:
    try:
        found = statements(document)
        version: Any = parsed(document).get("Version")
    except DocumentError as error:
        yield Finding(str(error), "a policy document of IAM")
        return
    if version != _VERSION:
        yield Finding(f"{document.path}.Version is {said(version)}", repr(_VERSION))
    yield from survey(found, _statement)
    if document.path != "assumeRolePolicy":
        yield from survey(found, _resources)


def _resources(one: Statement) -> Iterator[Finding]:
    if not one.words("Resource") and not one.words("NotResource"):
        yield Finding(f"{one.path} names no resource", "ARNs")


def _statement(one: Statement) -> Iterator[Finding]:
    effect = one.body.get("Effect")
    if effect not in ("Allow", "Deny"):
        yield Finding(f"{one.path}.Effect is {said(effect)}", "'Allow' or 'Deny'")
    if unknown := sorted(set(one.body) - _KEYS):
        yield Finding(f"{one.path} has the keys {', '.join(unknown)}", f"only {', '.join(sorted(_KEYS))}")
    if not one.words("Action") and not one.words("NotAction"):
        yield Finding(f"{one.path} names no action", "the actions that are needed")
    for word in one.words("Action"):
        if word != "*" and not _ACTION.fullmatch(word):
            yield Finding(
                f"{one.path}.Action has {said(word)}", "a service and an action, such as s3:GetObject"
            )
    for word in one.words("Resource"):
        if word != "*" and not word.startswith("arn:"):
            yield Finding(f"{one.path}.Resource has {said(word)}", "an ARN")


RULE = Rule(
    name="iam-documents",
    group="identity",
    title="A policy document of IAM is one: JSON, of the version of 2012, with known keys.",
    why="IAM refuses a wrong one in the middle of an update; one of the version of 2008 takes variables "
    "for text, and so says something else than it seems to.",
    fix="Write Version 2012-10-17 and a list of statements with Effect, Action and Resource.",
    types=(*IDENTITY, *ROLES, *RESOURCE),
    check=check,
)
