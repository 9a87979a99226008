"""The adapter against the real API server, its aggregator and the real HPA controller.

It runs as a process of this machine under a real service account with the permissions that the component
gives. Its gateways are stand-ins on loopback; their pods are real objects that no node runs, whose status
says Ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.cluster

APISERVICE = "v1beta1.external.metrics.k8s.io"
SERVICE = "berth-metrics-adapter"
METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/berth_queue_depth"
RAW = f"{METRIC}?labelSelector=app.kubernetes.io/instance%3Dchat"


def manifests(namespace: str, address: str, port: int) -> list[dict[str, Any]]:
    """Return what the MetricsAdapter component declares, less its pods, and a model server to scale."""
    metadata = {"name": SERVICE, "namespace": namespace}
    account = [{"kind": "ServiceAccount", "name": SERVICE, "namespace": namespace}]
    pod_labels = {"berth.dev/queue-metrics": "true", "app.kubernetes.io/instance": "chat"}
    rbac = "rbac.authorization.k8s.io/v1"

    def binding(kind: str, name: str, role: str, where: str | None) -> dict[str, Any]:
        return {
            "apiVersion": rbac,
            "kind": "RoleBinding" if where else "ClusterRoleBinding",
            "metadata": {"name": name, **({"namespace": where} if where else {})},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": account,
        }

    metric = {
        "type": "External",
        "external": {
            "metric": {
                "name": "berth_queue_depth",
                "selector": {"matchLabels": {"app.kubernetes.io/instance": "chat"}},
            },
            "target": {"type": "AverageValue", "averageValue": "4"},
        },
    }
    at_once = {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 10, "periodSeconds": 1}],
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": rbac,
            "kind": "ClusterRole",
            "metadata": {"name": namespace},
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
                {
                    "apiGroups": ["apiregistration.k8s.io"],
                    "resources": ["apiservices"],
                    "resourceNames": [APISERVICE],
                    "verbs": ["get", "patch"],
                },
            ],
        },
        {
            "apiVersion": rbac,
            "kind": "Role",
            "metadata": metadata,
            "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
                {
                    "apiGroups": [""],
                    "resources": ["secrets"],
                    "resourceNames": [f"{SERVICE}-tls"],
                    "verbs": ["get", "update"],
                },
            ],
        },
        binding("ClusterRole", namespace, namespace, None),
        binding("Role", SERVICE, SERVICE, namespace),
        binding("Role", namespace, "extension-apiserver-authentication-reader", "kube-system"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        },
        apiservice(namespace),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "chat", "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": {"app.kubernetes.io/instance": "chat"}},
                "template": {
                    "metadata": {"labels": pod_labels},
                    "spec": {
                        "schedulerName": "nobody",  # the pods stay objects
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{"name": "none", "image": "berth.local/none:0"}],
                    },
                },
            },
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "chat", "namespace": namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "minReplicas": 1,
                "maxReplicas": 6,
                "metrics": [metric],
                "behavior": {"scaleUp": at_once, "scaleDown": at_once},
            },
        },
    ]


def apiservice(namespace: str) -> dict[str, Any]:
    """Return the APIService as the component declares it: without a caBundle."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": APISERVICE},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"namespace": namespace, "name": SERVICE, "port": 443},
        },
    }


@dataclass
class RealWorld:
    """A namespace with a model server that is an object only, and an adapter on this machine."""

    cluster: Any
    folder: Path
    namespace: str
    address: str
    port: int
    gateway_port: int
    load: dict[str, int] = field(
        default_factory=lambda: {"berth_queue_depth": 0, "berth_running_requests": 0}
    )
    silent: bool = False
    _process: asyncio.subprocess.Process | None = None

    async def kubectl(self, *words: str) -> str:
        return str(await asyncio.to_thread(self.cluster.kubectl, *words))

    async def apply(self, *objects: dict[str, Any]) -> None:
        """Apply server-side as the deployer does."""
        file = self.folder / "objects.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
        await self.kubectl("apply", "--server-side", "--field-manager=berth", "-f", str(file))

    async def get(self, kind: str, name: str) -> dict[str, Any]:
        return dict(json.loads(await self.kubectl("-n", self.namespace, "get", kind, name, "-o", "json")))

    async def start_adapter(self) -> None:
        access = yaml.safe_load(self.cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
        server = urlsplit(access["server"])
        ca = await self.kubectl(
            "get", "configmap", "kube-root-ca.crt", "-n", "default", "-o", r"jsonpath={.data.ca\.crt}"
        )
        (self.folder / "ca.crt").write_text(ca)
        token = await self.kubectl("-n", self.namespace, "create", "token", SERVICE)
        (self.folder / "token").write_text(token)
        environment = {
            **os.environ,
            "KUBERNETES_SERVICE_HOST": str(server.hostname),
            "KUBERNETES_SERVICE_PORT": str(server.port),
            "BERTH_SERVICE_ACCOUNT_DIR": str(self.folder),
            "BERTH_ADAPTER_NAMESPACE": self.namespace,
            "BERTH_ADAPTER_SERVICE": SERVICE,
            "BERTH_ADAPTER_HOST": self.address,
            "BERTH_ADAPTER_PORT": str(self.port),
            "BERTH_ADAPTER_GATEWAY_PORT": str(self.gateway_port),
            "BERTH_ADAPTER_LOOK_SECONDS": "1",
        }
        with (self.folder / "adapter.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "berth_agents.metrics_adapter", env=environment, stderr=log
            )

    async def end_adapter(self, number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()

    async def serve_load(self) -> asyncio.Server:
        """Serve /load of every stand-in gateway (one is enough: their pods share an address)."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if not self.silent:
                body = json.dumps({**self.load, "slots": 4, "draining": False}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(body) + body
                )
            writer.close()

        return await asyncio.start_server(answer, "127.0.0.1", self.gateway_port)

    async def keep_pods_ready(self) -> None:
        """Say of one pod that it is Ready, as its kubelet would. The others wait for a node, uncounted."""
        while True:
            pods = json.loads(await self.kubectl("-n", self.namespace, "get", "pods", "-o", "json"))["items"]
            alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
            if alive and not any(pod["status"].get("podIP") for pod in alive):
                status = {
                    "status": {
                        "podIP": "127.0.0.1",
                        "podIPs": [{"ip": "127.0.0.1"}],
                        "conditions": [{"type": "Ready", "status": "True"}],
                    }
                }
                with contextlib.suppress(Exception):  # it may be gone by now; the next round sees
                    await self.kubectl(
                        *("-n", self.namespace, "patch", "pod", alive[0]["metadata"]["name"]),
                        *("--subresource=status", "--type=merge", "-p", json.dumps(status)),
                    )
            await asyncio.sleep(0.5)

    async def scaling_active(self) -> tuple[str, str, str]:
        status = (await self.get("hpa", "chat")).get("status", {})
        for condition in status.get("conditions") or []:
            if condition["type"] == "ScalingActive":
                return condition["status"], condition["reason"], condition["message"]
        return "", "", ""

    async def replicas(self) -> int:
        return int((await self.get("deployment", "chat"))["spec"]["replicas"])


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def real(cluster: Any, tmp_path: Path) -> AsyncIterator[RealWorld]:
    server = urlsplit(yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
    address = str(server.hostname)
    taken = cluster.kubectl("get", "apiservice", APISERVICE, "--ignore-not-found", "-o", "name")
    assert not taken, f"{APISERVICE} is in use by another test of this cluster; there can be one only"
    name = f"berth-adapter-test-{secrets.token_hex(3)}"
    real = RealWorld(cluster, tmp_path, name, address, free_port(address), free_port("127.0.0.1"))
    gateway = await real.serve_load()
    everything = manifests(name, address, real.port)
    await real.apply(*everything)
    readiness = asyncio.create_task(real.keep_pods_ready())
    try:
        await real.start_adapter()
        yield real
    finally:
        readiness.cancel()
        await asyncio.wait([readiness])
        await real.end_adapter(signal.SIGTERM)
        gateway.close()
        await real.kubectl("delete", "apiservice", APISERVICE, "--ignore-not-found")
        for kind in ("clusterrole", "clusterrolebinding"):
            await real.kubectl("delete", kind, name, "--ignore-not-found")
        await real.kubectl("-n", "kube-system", "delete", "rolebinding", name, "--ignore-not-found")
        await real.kubectl("delete", "namespace", name, "--wait=false")


async def test_the_autoscaler_takes_the_signal_and_never_scales_on_its_absence(
    real: RealWorld, eventually: Callable[..., Any]
) -> None:
    def replicas_are(number: int) -> Callable[[], Any]:
        async def holds() -> bool:
            return await real.replicas() == number

        return holds

    def scaling_is(status: str, *words: str) -> Callable[[], Any]:
        async def holds() -> bool:
            found = await real.scaling_active()
            return found[0] == status and all(word in " ".join(found) for word in words)

        return holds

    # A real signal through aggregator and HPA controller.
    await eventually(scaling_is("True", "ValidMetricFound"), 90)
    value = json.loads(await real.kubectl("get", "--raw", RAW.format(real.namespace)))
    assert value["items"][0]["value"] == "0"
    real.load["berth_queue_depth"] = 10
    await eventually(replicas_are(3), 60)
    current = (await real.get("hpa", "chat"))["status"]["currentMetrics"][0]["external"]
    assert current["metric"]["name"] == "berth_queue_depth"

    # Every gateway silent: an error, and replicas are held.
    real.silent = True
    await eventually(scaling_is("False", "FailedGetExternalMetric", "Ready gateways answers"), 60)
    real.load["berth_queue_depth"] = 0
    assert await real.replicas() == 3

    # The adapter killed: the same.
    await real.end_adapter(signal.SIGKILL)
    real.silent = False
    await eventually(scaling_is("False", "FailedGetExternalMetric", "unable to fetch"), 60)
    assert await real.replicas() == 3

    # Back, under the same certificate.
    secret = (await real.get("secret", f"{SERVICE}-tls"))["data"]
    await real.start_adapter()
    await eventually(scaling_is("True"), 90)
    await eventually(replicas_are(1), 60)
    assert (await real.get("secret", f"{SERVICE}-tls"))["data"] == secret


async def test_the_apiservice_stays_right_under_deployments_and_hands(
    real: RealWorld, eventually: Callable[..., Any]
) -> None:
    async def available() -> bool:
        conditions = (await real.get("apiservice", APISERVICE))["status"]["conditions"]
        return any(one["type"] == "Available" and one["status"] == "True" for one in conditions)

    async def trusted() -> str:
        found = (await real.get("apiservice", APISERVICE))["spec"].get("caBundle", "")
        return str(found)

    await eventually(available, 60)
    bundle = await trusted()
    managers = {
        one["manager"]: one
        for one in json.loads(
            await real.kubectl("get", "apiservice", APISERVICE, "--show-managed-fields", "-o", "json")
        )["metadata"]["managedFields"]
        if not one.get("subresource")
    }
    assert set(managers["berth-metrics-adapter"]["fieldsV1"]) == {"f:spec"}
    assert set(managers["berth-metrics-adapter"]["fieldsV1"]["f:spec"]) == {"f:caBundle"}

    # The deployer applies again: no conflict, and the caBundle stays.
    await real.apply(apiservice(real.namespace))
    assert await trusted() == bundle

    # A hand removes it.
    remove = json.dumps([{"op": "remove", "path": "/spec/caBundle"}])
    await real.kubectl("patch", "apiservice", APISERVICE, "--type=json", "-p", remove)

    async def restored() -> bool:
        return await trusted() == bundle

    await eventually(restored, 30)

    # Somebody else takes the API over: named, and not touched.
    theirs = {"spec": {"service": {"namespace": "keda", "name": "keda-metrics"}, "caBundle": None}}
    await real.kubectl("patch", "apiservice", APISERVICE, "--type=merge", "-p", json.dumps(theirs))
    log = real.folder / "adapter.log"

    async def named() -> bool:
        return "belongs to keda/keda-metrics" in log.read_text()

    await eventually(named, 30)
    assert await trusted() == ""
