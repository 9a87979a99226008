"""The table of what Kubernetes does not change in place, tried on a real API server, both ways."""

from __future__ import annotations

import contextlib
import copy as copying
import json
import secrets
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth.review.entries import compared
from berth.review.model import Resource
from berth.review.replacing import IMMUTABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.localcluster import Cluster

pytestmark = pytest.mark.cluster
LABELS = {"app": "x"}
POD = {
    "nodeSelector": {"nobody": "has-this"},  # nothing of it ever runs
    "containers": [{"name": "a", "image": "example.invalid/a:1"}],
}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": POD}
CLAIM = {
    "accessModes": ["ReadWriteOnce"],
    "resources": {"requests": {"storage": "1Gi"}},
    "storageClassName": "x",
}
RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
DEVICES = {"requests": [{"name": "a", "exactly": {"deviceClassName": "x"}}]}

# By kind: the API version, an object, and what is changed in it: path and value; `!` where it is in place.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "Deployment": (
        "apps/v1",
        {"spec": {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}},
        {
            "spec.selector.matchLabels.more": "1",
            "!spec.replicas": 1,
            "!spec.template.spec.containers.0.image": "b",
        },
    ),
    "DaemonSet": (
        "apps/v1",
        {"spec": {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}},
        {"spec.selector.matchLabels.more": "1", "!spec.minReadySeconds": 3},
    ),
    "ReplicaSet": (
        "apps/v1",
        {"spec": {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}},
        {"spec.selector.matchLabels.more": "1", "!spec.replicas": 1},
    ),
    "StatefulSet": (
        "apps/v1",
        {
            "spec": {
                "replicas": 0,
                "serviceName": "x",
                "selector": {"matchLabels": LABELS},
                "template": TEMPLATE,
            }
        },
        {
            "spec.serviceName": "y",
            "spec.podManagementPolicy": "Parallel",
            "!spec.replicas": 1,
            "!spec.minReadySeconds": 3,
            "!spec.revisionHistoryLimit": 3,
            "!spec.template.spec.containers.0.image": "b",
            "!spec.persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"},
        },
    ),
    "Service": (
        "v1",
        {"spec": {"ports": [{"port": 80}], "clusterIP": "None"}},
        {"spec.clusterIP": "198.18.255.200", "!spec.ports.0.port": 81, "!spec.sessionAffinity": "ClientIP"},
    ),
    "PersistentVolumeClaim": (
        "v1",
        {"spec": CLAIM},
        {"spec.storageClassName": "y", "spec.accessModes": ["ReadOnlyMany"]},
    ),
    "Job": (
        "batch/v1",
        {"spec": {"suspend": True, "template": {"spec": {**POD, "restartPolicy": "Never"}}}},
        {
            "spec.template.spec.containers.0.image": "b",
            "spec.completions": 3,
            "spec.completionMode": "Indexed",
            "!spec.parallelism": 2,
            "!spec.backoffLimit": 1,
            "!spec.ttlSecondsAfterFinished": 9,
        },
    ),
    "Pod": (
        "v1",
        {"spec": {**POD, "terminationGracePeriodSeconds": 1}},
        {
            "spec.hostNetwork": True,
            "spec.containers.0.command": ["x"],
            "!spec.containers.0.image": "b",
            "!spec.activeDeadlineSeconds": 9,
        },
    ),
    "Secret": ("v1", {"type": "Opaque", "data": {"a": "YQ=="}}, {"type": "other", "!data.a": "Yg=="}),
    "RoleBinding": (
        "rbac.authorization.k8s.io/v1",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"}},
        {"roleRef.name": "y"},
    ),
    "ClusterRoleBinding": (
        "rbac.authorization.k8s.io/v1",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x"}},
        {"roleRef.name": "y"},
    ),
    "StorageClass": (
        "storage.k8s.io/v1",
        {"provisioner": "example.invalid/x", "parameters": {"a": "1"}},
        {
            "provisioner": "example.invalid/y",
            "parameters.a": "2",
            "reclaimPolicy": "Retain",
            "volumeBindingMode": "WaitForFirstConsumer",
            "!allowVolumeExpansion": True,
        },
    ),
    "PriorityClass": (
        "scheduling.k8s.io/v1",
        {"value": 1, "description": "a"},
        {"value": 2, "preemptionPolicy": "Never", "!description": "b"},
    ),
    "RuntimeClass": ("node.k8s.io/v1", {"handler": "x"}, {"handler": "y"}),
    "IngressClass": (
        "networking.k8s.io/v1",
        {"spec": {"controller": "example.invalid/x"}},
        {"spec.controller": "example.invalid/y"},
    ),
    "CustomResourceDefinition": (
        "apiextensions.k8s.io/v1",
        {
            "spec": {
                "group": "example.invalid",
                "scope": "Namespaced",
                "names": {"plural": "things", "kind": "Thing"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object"}},
                    }
                ],
            }
        },
        {"spec.scope": "Cluster", "!spec.names.shortNames": ["t"]},
    ),
    "EndpointSlice": (
        "discovery.k8s.io/v1",
        {"addressType": "IPv4", "endpoints": []},
        {"addressType": "IPv6"},
    ),
    "ResourceClaim": (
        "resource.k8s.io/v1",
        {"spec": {"devices": DEVICES}},
        {"spec.devices.requests.0.name": "b"},
    ),
    "ResourceClaimTemplate": (
        "resource.k8s.io/v1",
        {"spec": {"spec": {"devices": DEVICES}}},
        {"spec.spec.devices.requests.0.name": "b"},
    ),
    "VolumeAttributesClass": (
        "storage.k8s.io/v1",
        {"driverName": "example.invalid", "parameters": {"a": "1"}},
        {"driverName": "example.other", "parameters.a": "2"},
    ),
    "ConfigMap": ("v1", {"immutable": True, "data": {"a": "1"}}, {"data.a": "2", "immutable": False}),
    "Role": ("rbac.authorization.k8s.io/v1", {"rules": RULES}, {"!rules.0.verbs": ["list"]}),
}


def changed(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    result: Any = copying.deepcopy(manifest)
    *above, last = (int(part) if part.isdigit() else part for part in path.split("."))
    at = result
    for part in above:
        at = at[part] if isinstance(at, list) else at.setdefault(part, {})
    at[last] = value
    return dict(result)


def test_every_kind_of_the_table_is_tried() -> None:
    assert set(IMMUTABLE) <= set(CASES)


def test_the_api_server_refuses_exactly_what_the_table_says(cluster: Cluster) -> None:
    """Each change is tried by a dry run over an object that is really there."""
    name = f"review-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    objects = []
    for kind, (version, content, _) in CASES.items():
        called = "things.example.invalid" if kind == "CustomResourceDefinition" else name
        metadata: dict[str, Any] = {"name": called}  # no labels: a ReplicaSet would adopt the pod
        if kind not in CLUSTER_WIDE:
            metadata["namespace"] = name
        objects.append({"apiVersion": version, "kind": kind, "metadata": metadata, **content})
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(whole(objects)))
    try:
        with proxy(cluster) as client:
            wrong = [
                line
                for there in objects
                for path, value in CASES[there["kind"]][2].items()
                for line in judge(client, path, there, changed(there, path.removeprefix("!"), value))
            ]
        assert wrong == []
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")
        doomed = [one for one in objects if one["kind"] in CLUSTER_WIDE]
        cluster.kubectl("delete", "-f", "-", "--wait=false", stdin=json.dumps(whole(doomed)))


CLUSTER_WIDE = {
    *("ClusterRoleBinding", "StorageClass", "PriorityClass", "RuntimeClass", "IngressClass"),
    *("CustomResourceDefinition", "VolumeAttributesClass"),
}


def whole(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": objects}


@contextlib.contextmanager
def proxy(cluster: Cluster) -> Iterator[httpx.Client]:
    """Reach the API server without certificates, as kubectl offers it on loopback."""
    command = cluster.kubectl_command("proxy", "--port=0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        try:
            address = running.stdout.readline().rpartition(" ")[2].strip()
            with httpx.Client(base_url=f"http://{address}", timeout=60) as client:
                yield client
        finally:
            running.terminate()


def place(manifest: dict[str, Any]) -> str:
    version, kind, metadata = manifest["apiVersion"], manifest["kind"].lower(), manifest["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    within = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{within}/{kind}{'es' if kind.endswith('s') else 's'}/{metadata['name']}"


def judge(client: httpx.Client, path: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What the table and the API server do not agree on."""
    answer = client.patch(
        place(after),
        params={"fieldManager": "kubectl", "force": "true", "dryRun": "All"},
        headers={"Content-Type": "application/apply-patch+yaml"},
        content=json.dumps(after),
    )
    assert answer.status_code in {200, 422}, f"{before['kind']} {path}: {answer.text}"
    inputs = [{key: value for key, value in one.items() if key != "metadata"} for one in (before, after)]
    pair = [Resource("urn", f"kubernetes:x:{before['kind']}", "x", inputs=one) for one in inputs]
    predicted = compared(pair[:1], pair[1:])[0].op == "replace"
    refused = answer.status_code == 422
    if predicted == refused == (not path.startswith("!")):
        return []
    return [
        f"{before['kind']} {path}: predicted {predicted}, refused {refused}: {answer.json().get('message')}"
    ]
