"""No role is a way to become more."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.kubernetes import objects
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, mapping, sequence

VERBS = ("escalate", "bind", "impersonate")
DOORS: Mapping[str, tuple[str, ...]] = {
    "pods/exec": ("create", "get"),
    "pods/attach": ("create", "get"),
    "pods/ephemeralcontainers": ("update", "patch"),
    "nodes/proxy": ("create", "get", "update", "patch", "delete"),
    "serviceaccounts/token": ("create",),
    "certificatesigningrequests/approval": ("update", "patch"),
}
"""Subresources by which one acts as somebody else."""
READ, WRITE = ("get", "list", "watch"), ("update", "patch", "delete", "deletecollection")
NAMED: Mapping[str, tuple[str, ...]] = {
    "secrets": (*READ, *WRITE),
    "configmaps": WRITE,
    "leases": WRITE,
    "apiservices": WRITE,
    "customresourcedefinitions": WRITE,
    "mutatingwebhookconfigurations": (*WRITE, "create"),
    "validatingwebhookconfigurations": (*WRITE, "create"),
    "roles": (*WRITE, "create"),
    "clusterroles": (*WRITE, "create"),
    "rolebindings": (*WRITE, "create"),
    "clusterrolebindings": (*WRITE, "create"),
}
"""Resources that a role reads or writes by name only."""


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each rule of each role."""
    for one in objects(resource):
        if one.kind in {"Role", "ClusterRole"}:
            for number, rule in enumerate(sequence(one.body.get("rules"))):
                yield from _look(f"{one.path}rules[{number}]", mapping(rule))


def _look(path: str, rule: Mapping[str, Any]) -> Iterator[Finding]:
    verbs = [str(word) for word in sequence(rule.get("verbs"))]
    for verb in VERBS:
        if verb in verbs:
            yield Finding(f"{path}.verbs has {verb}", "verbs that give no more than the role itself")
    names = sequence(rule.get("resourceNames"))
    for resource in map(str, sequence(rule.get("resources"))):
        opened = [verb for verb in verbs if verb in DOORS.get(resource, ())]
        if opened:
            yield Finding(f"{path} allows {', '.join(opened)} of {resource}", "no access to it")
        unnamed = [verb for verb in verbs if not names and verb in NAMED.get(resource, ())]
        if unnamed:
            yield Finding(f"{path} allows {', '.join(unnamed)} of all {resource}", "resourceNames")


RULE = Rule(
    name="rbac-escalation",
    group="identity",
    title="No role reads all Secrets, enters other pods, or gives itself more.",
    why="Each of these turns a small role into the whole namespace or cluster.",
    fix="Name the objects in resourceNames, and leave out what acts as somebody else.",
    types=("kubernetes:rbac.authorization.k8s.io/",),
    answers=(
        *("CIS Kubernetes 2.0.1 5.1.2", "CIS Kubernetes 2.0.1 5.1.8"),
        *("CKV_K8S_155", "CKV_K8S_156", "CKV_K8S_157", "CKV_K8S_158"),
    ),
    check=check,
)
