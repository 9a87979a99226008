"""Each workload on EKS has a role of its own."""

from collections.abc import Iterator
from typing import Any

from berth_policy.reading import has, items
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, at, survey

_ASSOCIATION = "aws:eks/podIdentityAssociation:"
_ADDON = "aws:eks/addon:"
_ACCOUNT = "kubernetes:core/v1:ServiceAccount"
_ANNOTATION = "eks.amazonaws.com/role-arn"
_NODES = "aws:eks/nodeGroup:"


def check(stack: Stack) -> Iterator[Finding]:
    """Gather who has which role: by its ARN, or by the resource that it is the output of."""
    users: dict[object, list[tuple[str, Resource]]] = {}

    def note(one: tuple[str, Resource, tuple[str, ...], Any]) -> Iterator[Finding]:
        who, resource, links, read = one
        for role in links or (read(),):
            if role:
                users.setdefault(str(role), []).append((who, resource))
        yield from ()

    yield from survey(_claims(stack), note)
    for role, claims in users.items():
        names = sorted({who for who, _ in claims})
        if len(names) > 1:
            for who, resource in claims:
                others = ", ".join(one for one in names if one != who)
                yield Finding(
                    f"{who} shares the role {_short(role)} with {others}", "a role of its own", resource
                )


def _claims(stack: Stack) -> Iterator[tuple[str, Resource, tuple[str, ...], Any]]:
    for one in stack.of(_ASSOCIATION):
        yield (
            f"pods of {_said(one, 'namespace')}/{_said(one, 'serviceAccount')}",
            one,
            _roles(one, "roleArn"),
            lambda one=one: one.props.get("roleArn"),
        )
    for one in stack.of(_ADDON):
        if not has(one.props, "podIdentityAssociations"):
            continue
        linked = _roles(one, "podIdentityAssociations")
        for _, entry in items(one.props, "podIdentityAssociations"):
            yield (
                f"the add-on's {at(entry, 'serviceAccount')}",
                one,
                linked,
                lambda entry=entry: at(entry, "roleArn"),
            )
    for one in stack.of(_ACCOUNT):
        if has(one.props, "metadata", "annotations", _ANNOTATION):
            name, where = at(one.props, "metadata", "name"), at(one.props, "metadata", "namespace")
            yield (
                f"pods of {where}/{name}",
                one,
                (),
                lambda one=one: at(one.props, "metadata", "annotations", _ANNOTATION),
            )
    for one in stack.of(_NODES):
        yield "nodes", one, _roles(one, "nodeRoleArn"), lambda one=one: one.props.get("nodeRoleArn")


def _roles(resource: Resource, key: str) -> tuple[str, ...]:
    return tuple(urn for urn in resource.references.get(key, ()) if "aws:iam/role:" in urn)


def _said(resource: Resource, key: str) -> str:
    return str(resource.props.get(key) if has(resource.props, key) else "?")


def _short(role: object) -> str:
    return str(role).rpartition("::")[2] or str(role)


RULE = Rule(
    name="iam-role-per-workload",
    group="identity",
    title="Each workload on EKS has a role of its own, and none has the nodes'.",
    why="Workloads that share a role share every right that one of them was given.",
    fix="Make a role for each service account.",
    types=(_ASSOCIATION, _ADDON, _ACCOUNT, _NODES),
    answers=("CIS EKS 5.2.1",),
    check_stack=check,
)
