"""Objects are in namespaces that are named."""

from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES, objects
from berth_policy.reading import has, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource

_NAMESPACED = frozenset(
    {
        *(
            "ConfigMap",
            "Secret",
            "Service",
            "ServiceAccount",
            "Pod",
            "Deployment",
            "StatefulSet",
            "DaemonSet",
        ),
        *("ReplicaSet", "Job", "CronJob", "NetworkPolicy", "Role", "RoleBinding", "PodDisruptionBudget"),
        *(
            "HorizontalPodAutoscaler",
            "PersistentVolumeClaim",
            "Ingress",
            "ResourceQuota",
            "LimitRange",
            "Lease",
        ),
    }
)
_NOBODYS = ("", "default")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each object of a kind that lies in a namespace."""
    for one in objects(resource):
        if one.kind not in _NAMESPACED:
            continue
        named = one.metadata.get("namespace") if has(one.metadata, "namespace") else None
        if named is None or named in _NOBODYS:
            yield Finding(f"{one.path}metadata.namespace is {said(named)}", "a namespace of its own")


RULE = Rule(
    name="objects-own-namespace",
    group="workloads",
    title="Every object names its namespace, and it is not the default one.",
    why="Where it lands otherwise depends on somebody's kubeconfig, and no policy or quota holds it there.",
    fix="Set metadata.namespace.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.6.4", "CKV_K8S_21"),
    check=check,
)
