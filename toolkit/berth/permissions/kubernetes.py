"""Kubernetes: RBAC rules for whoever writes the planned objects, by either engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berth.deployer import Step

_UNKNOWN = re.compile(r"\[(?:unknown|secret)\]")
STATE_NAMESPACE = "berth-system"
_WRITE = ("create", "delete", "get", "list", "patch", "watch")
_READ = ("get", "list", "watch")
_CLUSTER_WIDE = {
    "": {"Namespace", "Node", "PersistentVolume"},
    "admissionregistration.k8s.io": {"*"},
    "apiextensions.k8s.io": {"CustomResourceDefinition"},
    "apiregistration.k8s.io": {"APIService"},
    "node.k8s.io": {"RuntimeClass"},
    "rbac.authorization.k8s.io": {"ClusterRole", "ClusterRoleBinding"},
    "scheduling.k8s.io": {"PriorityClass"},
    "storage.k8s.io": {"CSIDriver", "StorageClass", "VolumeAttachment"},
}
_BUILT_IN = ("", "apps", "autoscaling", "batch", "policy")  # besides the groups under k8s.io
_ROLES = {"Role", "ClusterRole"}
# What waiting for a workload looks at.
_WATCHED = (("", ("events", "pods")), ("apps", ("replicasets",)), ("discovery.k8s.io", ("endpointslices",)))


@dataclass(frozen=True)
class Rule:
    """One RBAC rule; `namespace` is empty where it has to hold in the whole cluster."""

    namespace: str
    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The rule as RBAC writes it, with its namespace."""
        shown: dict[str, Any] = {
            "namespace": self.namespace or None,
            "apiGroups": [self.group],
            "resources": list(self.resources),
            "verbs": list(self.verbs),
        }
        return {**shown, "resourceNames": list(self.names)} if self.names else shown


def derive(steps: Iterable[Step], unknown: list[str], notes: list[str]) -> list[Rule]:
    """Rules for every Kubernetes object of a plan; what cannot be known is added to `unknown`."""
    written: dict[tuple[str, str], set[str]] = {}
    escalating: dict[tuple[str, str], set[str]] = {}
    namespaces: set[str] = set()
    made = {STATE_NAMESPACE}
    for step in steps:
        kind = step.type.rpartition(":")[2]
        version = str(step.inputs.get("apiVersion") or step.type.split(":")[1])
        group = version.rpartition("/")[0]
        plural = _plural(kind)
        if group not in _BUILT_IN and not group.endswith(".k8s.io"):
            unknown.append(f"Kubernetes: the resource name of {kind}.{group}, taken to be {plural}")
        namespace = _namespace(step, group, kind)
        if namespace is None:
            unknown.append(f"Kubernetes: the namespace of {kind} {step.name}; its rule holds in every one")
        namespaces |= {namespace} if namespace else set()
        if kind == "Namespace":
            made.add(str((step.inputs.get("metadata") or {}).get("name")))
        written.setdefault((namespace or "", group), set()).add(plural)
        if kind in _ROLES:
            name = (step.inputs.get("metadata") or {}).get("name")
            known = isinstance(name, str) and not _UNKNOWN.search(name)
            escalating.setdefault((namespace or "", plural), set()).add(str(name) if known else "")
    if not written:
        return []
    rules = [
        Rule(namespace, group, tuple(sorted(plurals)), _WRITE)
        for (namespace, group), plurals in sorted(written.items())
    ]
    for (namespace, plural), names in sorted(escalating.items()):
        named = () if "" in names else tuple(sorted(names))
        rules.append(Rule(namespace, "rbac.authorization.k8s.io", (plural,), ("bind", "escalate"), named))
    for namespace in sorted(namespaces):
        rules += [Rule(namespace, group, resources, _READ) for group, resources in _WATCHED]
    rules += _for_records()
    early = sorted(made & {rule.namespace for rule in rules})
    notes.append(
        "Kubernetes: a Role cannot be there before its namespace, and the first `up` makes "
        f"{', '.join(early)}: give the rules as one ClusterRole for it (--first-up), then as Roles"
    )
    if escalating:
        notes.append(
            "Kubernetes: who makes Roles must hold what they grant, or `escalate` and `bind`, given by name"
        )
    notes.append(
        f"Kubernetes: the rules in {STATE_NAMESPACE} are for the record and the Lease of Berth's deployer; "
        "`--engine pulumi` needs those for secrets only, to say which engine made the stack"
    )
    return rules


def _for_records() -> list[Rule]:
    verbs = ("create", "delete", "get", "list", "update")
    return [
        Rule("", "", ("namespaces",), ("create", "delete", "get", "patch"), ()),
        Rule(STATE_NAMESPACE, "", ("secrets",), verbs),
        Rule(STATE_NAMESPACE, "coordination.k8s.io", ("leases",), verbs),
    ]


def _namespace(step: Step, group: str, kind: str) -> str | None:
    """The object's namespace; empty where its kind has none, None where it is not known."""
    wide = _CLUSTER_WIDE.get(group, set())
    if kind in wide or "*" in wide:
        return ""
    value = (step.inputs.get("metadata") or {}).get("namespace")
    if isinstance(value, str) and value and not _UNKNOWN.search(value):
        return value
    return None


def _plural(kind: str) -> str:
    lower = kind.lower()
    if lower.endswith("y") and lower[-2:-1] not in "aeiou":
        return f"{lower[:-1]}ies"
    return f"{lower}es" if lower.endswith(("s", "x", "ch")) else f"{lower}s"
