"""A role says what it allows."""

from collections.abc import Iterator

from berth_policy.kubernetes import objects
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, mapping, sequence

KEYS = ("verbs", "resources", "apiGroups", "nonResourceURLs")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each rule of each role."""
    for one in objects(resource):
        if one.kind in {"Role", "ClusterRole"}:
            for number, rule in enumerate(sequence(one.body.get("rules"))):
                for key in KEYS:
                    if any("*" in str(word) for word in sequence(mapping(rule).get(key))):
                        yield Finding(f"{one.path}rules[{number}].{key} has a *", "each one by name")


RULE = Rule(
    name="rbac-wildcards",
    group="identity",
    title="Roles name verbs, resources and API groups.",
    why="A wildcard also allows whatever is added to the cluster later.",
    fix="Name what the workload uses.",
    types=("kubernetes:rbac.authorization.k8s.io/",),
    answers=("CIS Kubernetes 2.0.1 5.1.3", "CKV_K8S_49"),
    check=check,
)
