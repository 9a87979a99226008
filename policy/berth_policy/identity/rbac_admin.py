"""Nobody is bound to everything, and nothing is given to everybody."""

from collections.abc import Iterator

from berth_policy.kubernetes import objects
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, mapping, sequence

ADMINS = ("cluster-admin", "admin", "edit", "system:master", "system:node")
EVERYBODY = (
    *("system:authenticated", "system:unauthenticated", "system:anonymous"),
    *("system:serviceaccounts", "system:masters"),
)


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each binding."""
    for one in objects(resource):
        if one.kind not in {"RoleBinding", "ClusterRoleBinding"}:
            continue
        role = at(one.body, "roleRef", "name")
        if at(one.body, "roleRef", "kind") == "ClusterRole" and role in ADMINS:
            yield Finding(f"{one.path}roleRef is {role}", "a role with what the workload uses")
        for number, subject in enumerate(sequence(one.body.get("subjects"))):
            kind, name = mapping(subject).get("kind"), str(mapping(subject).get("name") or "")
            path = f"{one.path}subjects[{number}]"
            if kind in ("Group", "User") and (name in EVERYBODY or name.startswith(f"{EVERYBODY[3]}:")):
                yield Finding(f"{path} is the {str(kind).lower()} {name}", "one ServiceAccount")
            if kind == "ServiceAccount" and name in ("", "default"):
                yield Finding(
                    f"{path} is the ServiceAccount {name or 'without a name'}", "a workload's own one"
                )


RULE = Rule(
    name="rbac-admin",
    group="identity",
    title="No binding gives everything, and none gives to everybody.",
    why="One stolen token of it is the whole cluster.",
    fix="Bind a role with what the workload uses to the workload's own ServiceAccount.",
    types=("kubernetes:rbac.authorization.k8s.io/",),
    answers=(
        "CIS Kubernetes 2.0.1 5.1.1",
        "CIS Kubernetes 2.0.1 5.1.5",
        "CIS Kubernetes 2.0.1 5.1.7",
        "CKV_K8S_42",
    ),
    check=check,
)
