"""Permissions as people and tools take them: an IAM policy, a custom role, RBAC manifests, text."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any

from .data import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .derive import Permissions

POLICY_LIMIT = 6_144  # characters of a managed policy, white space not counted (IAM and STS quotas)
_LABEL = "berth-deploy"


def aws_policies(found: Permissions) -> list[dict[str, Any]]:
    """IAM policy documents, as many as are needed to keep each within a managed policy's size."""
    documents: list[list[dict[str, Any]]] = [[]]
    for number, statement in enumerate(found.aws, 1):
        shown = {"Sid": _sid(statement.actions, number), **statement.to_json()}
        if documents[-1] and _size([*documents[-1], shown]) > POLICY_LIMIT:
            documents.append([])
        documents[-1].append(shown)
    return [{"Version": "2012-10-17", "Statement": some} for some in documents if some]


def _size(statements: list[dict[str, Any]]) -> int:
    return len(json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":")))


def _sid(actions: tuple[str, ...], number: int) -> str:
    services = sorted({action.partition(":")[0] for action in actions})
    words = "".join(part.capitalize() for service in services for part in service.split("-"))
    return f"{re.sub(r'[^A-Za-z0-9]', '', words)}{number}"


def custom_role(found: Permissions) -> list[dict[str, Any]]:
    """A custom role for each project, for `gcloud iam roles create --file`, with what goes beside it."""
    return [
        {
            "project": grant.project or None,
            "role": {
                "title": f"Deploy the stack {found.stack}",
                "description": "Derived from its plan by berth permissions",
                "stage": "GA",
                "includedPermissions": list(grant.permissions),
            },
            "condition": grant.condition or None,
            "insteadPredefinedRoles": list(grant.roles),
        }
        for grant in found.gcp
    ]


def rbac_manifests(found: Permissions, *, first_up: bool = False) -> list[dict[str, Any]]:
    """ClusterRole and Roles, to be bound to whoever deploys.

    Args:
        found: what `derive` gave.
        first_up: one ClusterRole with all rules: a Role cannot be there before the namespace that the first
            `up` makes.
    """
    by_namespace: dict[str, list[dict[str, Any]]] = {}
    for rule in found.kubernetes:
        shown = {key: value for key, value in rule.to_json().items() if key != "namespace"}
        rules = by_namespace.setdefault("" if first_up else rule.namespace, [])
        if shown not in rules:
            rules.append(shown)
    manifests: list[dict[str, Any]] = []
    for namespace, rules in sorted(by_namespace.items()):
        metadata = {"name": f"{_LABEL}-{found.stack}"} | ({"namespace": namespace} if namespace else {})
        manifests.append(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role" if namespace else "ClusterRole",
                "metadata": metadata,
                "rules": rules,
            }
        )
    return manifests


def text(found: Permissions) -> str:
    """Everything for people: what each type needs, then what to grant, then what cannot be known."""
    lines = [f"Permissions to deploy the stack {found.stack}, derived from its plan"]
    lines += [*_types(found), *_aws(found), *_gcp(found), *_kubernetes(found)]
    lines += ["", "Not known from the plan:", *_items(found.unknown or ["nothing"])]
    lines += ["", "To know:", *_items(found.notes)] if found.notes else []
    return "\n".join(lines) + "\n"


def _types(found: Permissions) -> Iterator[str]:
    for token, count in found.types.items():
        needs = found.needs[token]
        yield from ("", f"{token} ({count})")
        for verb in VERBS:
            if needs.by_verb[verb]:
                yield from _wrapped(f"  {verb:<8}", needs.by_verb[verb])
        for key, some in needs.when.items():
            yield from _wrapped(f"  with {key}: ", some)
        yield f"  sources  {', '.join(needs.sources)}"


def _aws(found: Permissions) -> Iterator[str]:
    if not found.aws:
        return
    parts = len(aws_policies(found))
    many = f"{parts} policies of at most {POLICY_LIMIT:,} characters" if parts > 1 else "one policy"
    yield from ("", f"AWS: {len(found.aws)} statements in {many}", "  (--format aws-policy)")
    for statement in found.aws:
        yield from _wrapped("  allow ", statement.actions)
        yield from (f"     on {arn}" for arn in statement.resources)
        for operator, inner in statement.conditions.items():
            for key, value in inner.items():
                yield from _wrapped(f"     if {operator} {key}: ", tuple(value))


def _gcp(found: Permissions) -> Iterator[str]:
    for grant in found.gcp:
        yield from ("", f"Google Cloud project {grant.project or '(not known)'} (--format gcp-roles)")
        yield from _wrapped("  custom role: ", grant.permissions)
        yield from _wrapped("  or, wider: ", grant.roles)
        if grant.condition:
            yield f"  condition for setIamPolicy: {grant.condition}"


def _kubernetes(found: Permissions) -> Iterator[str]:
    if found.kubernetes:
        yield from ("", "Kubernetes (--format rbac)")
    together: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for rule in found.kubernetes:
        what = [f"{one}.{rule.group}" if rule.group else one for one in rule.resources]
        together.setdefault((rule.namespace, rule.verbs, rule.names), []).extend(what)
    for (namespace, verbs, names), what in sorted(together.items()):
        where = f"in {namespace}" if namespace else "in the whole cluster"
        # Each name a word of its own, so that many of them wrap.
        named = (f"named {names[0]}", *names[1:]) if names else ()
        yield f"  {where}: {', '.join(verbs)}"
        yield from _wrapped("     ", (*what, *named))


def _items(texts: Iterable[str]) -> Iterator[str]:
    for one in texts:
        yield from textwrap.wrap(
            f"  - {one}", 80, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )


def _wrapped(head: str, items: tuple[str, ...], width: int = 80) -> list[str]:
    lines, line = [], head
    for number, item in enumerate(items):
        word = item + ("," if number < len(items) - 1 else "")
        if len(line) + len(word) > width and line.strip() != head.strip():
            lines.append(line.rstrip())
            line = " " * min(len(head), 12)
        line += f"{word} "
    return [*lines, line.rstrip()]
