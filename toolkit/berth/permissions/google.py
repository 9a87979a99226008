"""Google Cloud: what each project has to grant, as permissions of a custom role and as predefined roles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .data import gcp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from berth.deployer import Step

# What only an `up` knows, and what Berth's stacks write in a preview for a project that nobody has named yet.
_UNKNOWN = re.compile(r"\[(?:unknown|secret)\]|^unpinned$")
_PROVIDER = "pulumi:providers:gcp"
_MEMBERS = "resourcemanager.projects.setIamPolicy"


@dataclass(frozen=True)
class Grant:
    """What one project has to grant.

    Attributes:
        project: its id; empty where the plan does not say it.
        permissions: for a custom role, the least there is.
        roles: predefined roles that have them, wider.
        condition: an expression that limits `resourcemanager.projects.setIamPolicy` to the roles that the
            plan grants; empty where it grants none.
    """

    project: str
    permissions: tuple[str, ...]
    roles: tuple[str, ...]
    condition: str = ""

    def to_json(self) -> dict[str, Any]:
        """The grant as plain JSON values."""
        return {
            "project": self.project or None,
            "permissions": list(self.permissions),
            "predefinedRoles": list(self.roles),
            "condition": self.condition or None,
        }


def derive(
    steps: list[Step], config: Mapping[str, str], project: str | None, unknown: list[str], notes: list[str]
) -> list[Grant]:
    """Grants for every resource on Google Cloud; what cannot be known is added to `unknown`."""
    resources = [step for step in steps if step.custom and step.type in gcp().types]
    looked_up = [step.type for step in steps if step.type in gcp().lookups]
    if not resources and not looked_up:
        return []
    default = project or _default_project(steps, config)
    by_project: dict[str, list[Step]] = {}
    for step in resources:
        by_project.setdefault(_project(step) or default, []).append(step)
    found = [_grant(name, some, looked_up) for name, some in sorted(by_project.items())]
    found = found or [_grant(default, [], looked_up)]
    if any(not grant.project for grant in found):
        unknown.append("Google Cloud: the project, which the plan does not say (give --project)")
    if any("iam.serviceAccounts.actAs" in grant.permissions for grant in found):
        notes.append(
            "Google Cloud: grant iam.serviceAccounts.actAs (roles/iam.serviceAccountUser) on the nodes' "
            "service account rather than on the project, once that account exists"
        )
    if any(grant.condition for grant in found):
        notes.append(
            "Google Cloud: give setIamPolicy on the project in a binding of its own, with the condition shown"
        )
    unknown.append(
        "Google Cloud: which APIs are switched on already (serviceusage.services.enable is needed for others)"
    )
    return found


def _default_project(steps: Iterable[Step], config: Mapping[str, str]) -> str:
    named = {str(step.inputs.get("project") or "") for step in steps if step.type == _PROVIDER}
    named.add(config.get("gcp:project", ""))
    found = {name for name in named if name and not _UNKNOWN.search(name)}
    return found.pop() if len(found) == 1 else ""


def _project(step: Step) -> str:
    value = step.inputs.get("project")
    return value if isinstance(value, str) and not _UNKNOWN.search(value) else ""


def _grant(project: str, steps: Iterable[Step], looked_up: Iterable[str]) -> Grant:
    permissions = {permission for token in looked_up for permission in gcp().lookups[token]}
    roles: set[str] = set()
    granted: set[str] = set()
    for step in steps:
        needs = gcp().types[step.type]
        permissions.update(one for some in needs.by_verb.values() for one in some)
        for key, some in needs.when.items():
            if step.inputs.get(key) not in (None, False):
                permissions.update(some)
        roles.update(needs.extra.get("roles", ()))
        if step.type == "gcp:projects/iAMMember:IAMMember":
            role = step.inputs.get("role")
            granted.add(role if isinstance(role, str) and not _UNKNOWN.search(role) else "")
    condition = ""
    if _MEMBERS in permissions and granted and "" not in granted:
        listed = ", ".join(f"'{role}'" for role in sorted(granted))
        condition = f"api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([{listed}])"
    return Grant(project, tuple(sorted(permissions)), tuple(sorted(roles)), condition)
