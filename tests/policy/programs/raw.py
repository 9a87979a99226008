"""A program of somebody else's: raw objects that break no rule, and how to spoil them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Objects = dict[str, tuple[str, dict[str, Any]]]
"""Type token and inputs, by name in the program."""
DIGEST = "sha256:" + "d" * 64  # a fixture: no such image exists
IMAGE = f"registry.example/shop/web@{DIGEST}"
SELECTOR = {"app.kubernetes.io/name": "web"}
SPACE = "shop"


def _probe(period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": "/ready", "port": "http"},
        "periodSeconds": period,
        "failureThreshold": failures,
    }


def container(name: str = "web") -> dict[str, Any]:
    """A container that is as it should be."""
    return {
        "name": name,
        "image": IMAGE,
        "ports": [{"name": "http", "containerPort": 8080}],
        "startupProbe": _probe(1, 60),
        "readinessProbe": _probe(2, 2),
        "livenessProbe": _probe(10, 3),
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a path in the container
    }


def pod_spec() -> dict[str, Any]:
    """A pod's spec that is as it should be."""
    return {
        "serviceAccountName": "web",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 40,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container()],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(SELECTOR)},
            }
        ],
    }


def template() -> dict[str, Any]:
    """A template of such pods."""
    return {"metadata": {"labels": dict(SELECTOR)}, "spec": pod_spec()}


def metadata(name: str) -> dict[str, Any]:
    """Name and namespace."""
    return {"name": name, "namespace": SPACE}


def good() -> Objects:
    """The whole program."""
    return {
        "space": (
            "kubernetes:core/v1:Namespace",
            {
                "metadata": {
                    "name": SPACE,
                    "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
                }
            },
        ),
        "deny": (
            "kubernetes:networking.k8s.io/v1:NetworkPolicy",
            {
                "metadata": metadata("default-deny"),
                "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
            },
        ),
        "allow": (
            "kubernetes:networking.k8s.io/v1:NetworkPolicy",
            {
                "metadata": metadata("web"),
                "spec": {
                    "podSelector": {"matchLabels": dict(SELECTOR)},
                    "policyTypes": ["Ingress", "Egress"],
                    "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 8080}]}],
                    "egress": [
                        {
                            "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}],
                            "ports": [{"port": 443}],
                        }
                    ],
                },
            },
        ),
        "account": (
            "kubernetes:core/v1:ServiceAccount",
            {"metadata": metadata("web"), "automountServiceAccountToken": False},
        ),
        "web": (
            "kubernetes:apps/v1:Deployment",
            {
                "metadata": metadata("web"),
                "spec": {"selector": {"matchLabels": dict(SELECTOR)}, "template": template()},
            },
        ),
        "scaler": (
            "kubernetes:autoscaling/v2:HorizontalPodAutoscaler",
            {
                "metadata": metadata("web"),
                "spec": {
                    "minReplicas": 2,
                    "maxReplicas": 4,
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                },
            },
        ),
        "service": (
            "kubernetes:core/v1:Service",
            {
                "metadata": metadata("web"),
                "spec": {"selector": dict(SELECTOR), "ports": [{"port": 80, "targetPort": "http"}]},
            },
        ),
        "budget": (
            "kubernetes:policy/v1:PodDisruptionBudget",
            {
                "metadata": metadata("web"),
                "spec": {
                    "maxUnavailable": 1,
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                    "selector": {"matchLabels": dict(SELECTOR)},
                },
            },
        ),
    }


def spec_of(objects: Objects, name: str = "web") -> dict[str, Any]:
    """A pod's spec in the program."""
    found: dict[str, Any] = objects[name][1]["spec"]["template"]["spec"]
    return found


def first(objects: Objects, name: str = "web") -> dict[str, Any]:
    """The first container of a pod in the program."""
    found: dict[str, Any] = spec_of(objects, name)["containers"][0]
    return found


def spoiled(spoil: Callable[[Objects], object]) -> Objects:
    """The program, spoiled."""
    objects = copy.deepcopy(good())
    spoil(objects)
    return objects
