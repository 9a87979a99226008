"""A program of raw resources, the one that `berth:case` names."""

import re
import sys
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bad
import raw

CLASSES = {
    "kubernetes:apps/v1:Deployment": kubernetes.apps.v1.Deployment,
    "kubernetes:autoscaling/v2:HorizontalPodAutoscaler": kubernetes.autoscaling.v2.HorizontalPodAutoscaler,
    "kubernetes:batch/v1:Job": kubernetes.batch.v1.Job,
    "kubernetes:core/v1:ConfigMap": kubernetes.core.v1.ConfigMap,
    "kubernetes:core/v1:Namespace": kubernetes.core.v1.Namespace,
    "kubernetes:core/v1:Service": kubernetes.core.v1.Service,
    "kubernetes:core/v1:ServiceAccount": kubernetes.core.v1.ServiceAccount,
    "kubernetes:networking.k8s.io/v1:Ingress": kubernetes.networking.v1.Ingress,
    "kubernetes:networking.k8s.io/v1:NetworkPolicy": kubernetes.networking.v1.NetworkPolicy,
    "kubernetes:policy/v1:PodDisruptionBudget": kubernetes.policy.v1.PodDisruptionBudget,
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole": kubernetes.rbac.v1.ClusterRole,
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding": kubernetes.rbac.v1.ClusterRoleBinding,
    "kubernetes:rbac.authorization.k8s.io/v1:Role": kubernetes.rbac.v1.Role,
}


def snake(word: str) -> str:
    """An input's name in Python."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", word).lower()


def declare(name: str, token: str, inputs: dict[str, Any]) -> None:
    """Declare one raw resource."""
    if token in CLASSES:
        CLASSES[token](name, **{snake(key): value for key, value in inputs.items()})
    elif "apiVersion" in inputs:
        rest = {key: value for key, value in inputs.items() if key not in {"apiVersion", "kind", "metadata"}}
        kubernetes.apiextensions.CustomResource(
            name,
            api_version=inputs["apiVersion"],
            kind=inputs["kind"],
            metadata=inputs["metadata"],
            **rest,
        )
    else:
        import pulumi_gcp  # noqa: PLC0415 - 135 MB that other cases do not need

        pulumi_gcp.container.NodePool(name, **{snake(key): value for key, value in inputs.items()})


case = pulumi.Config("berth").require("case")
for name, (token, inputs) in (raw.good() if case == "good" else bad.BAD[case].make()).items():
    declare(name, token, inputs)
