"""Looking at clusters: recorded lists of nodes and what stands beside them, compared with what stacks ask."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from berth.operations.errors import ClusterReadError, ClusterRefused
from berth.operations.inventory import (
    AskedModel,
    AskedPool,
    AskedSite,
    Finding,
    Inventory,
    as_json,
    compare,
    exit_code,
    inspect,
    page,
    unreachable,
)
from berth.operations.inventory.read import _Look

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Json = dict[str, Any]
L4, H100 = "NVIDIA-L4", "NVIDIA-H100-80GB-HBM3"


def node(name: str, *, gpus: int | None = 1, product: str | None = L4, **changes: Any) -> Json:
    """A node as the API server shows it, with NVIDIA's feature discovery unless `product` is None."""
    labels = {"kubernetes.io/hostname": name, **changes.get("labels", {})}
    if product:
        labels |= {
            "nvidia.com/gpu.product": product,
            "nvidia.com/gpu.count": str(changes.get("seen", gpus or 1)),
            "nvidia.com/gpu.memory": "23034",
            "nvidia.com/cuda.driver-version.full": "580.95.05",
            "nvidia.com/cuda.runtime-version.full": "13.0",
        }
    return {
        "metadata": {"name": name, "uid": name, "labels": labels},
        "spec": {
            **({"taints": changes["taints"]} if "taints" in changes else {}),
            **({"unschedulable": True} if changes.get("cordoned") else {}),
        },
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if changes.get("ready", True) else "Unknown"}],
            "nodeInfo": {"kubeletVersion": changes.get("kubelet", "v1.34.2")},
            "allocatable": {"cpu": "32", **({"nvidia.com/gpu": str(gpus)} if gpus is not None else {})},
        },
    }


def pod(where: str, count: int, name: str = "trainer", namespace: str = "research") -> Json:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": where,
            "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": str(count)}}}],
        },
    }


def daemon_set(
    name: str, image: str, *, ready: int = 1, namespace: str = "kube-system", **labels: str
) -> Json:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"template": {"metadata": {}, "spec": {"containers": [{"name": "main", "image": image}]}}},
        "status": {"desiredNumberScheduled": 1, "numberReady": ready},
    }


PLUGIN = daemon_set("nvidia-device-plugin-daemonset", "nvcr.io/nvidia/k8s-device-plugin:v0.17.1")
OURS = daemon_set(
    "nvidia-device-plugin",
    "nvcr.io/nvidia/k8s-device-plugin:v0.19.3",
    namespace="berth-nvidia-device-plugin",
    **{"app.kubernetes.io/managed-by": "berth"},
)
CALICO = daemon_set("calico-node", "docker.io/calico/node:v3.30.0")
FLANNEL = daemon_set("kube-flannel-ds", "ghcr.io/flannel-io/flannel:v0.27.0", namespace="kube-flannel")
METALLB = daemon_set("speaker", "quay.io/metallb/speaker:v0.15.2", namespace="metallb-system")
STANDARD = {
    "metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "example.com/disk",
}
PATHS = {
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/pods",
    "daemon_sets": "/apis/apps/v1/daemonsets",
    "deployments": "/apis/apps/v1/deployments",
    "storage": "/apis/storage.k8s.io/v1/storageclasses",
    "runtimes": "/apis/node.k8s.io/v1/runtimeclasses",
    "priorities": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "namespaces": "/api/v1/namespaces",
    "crds": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
}
METRICS = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"


class Recorded:
    """A recorded cluster in place of a reader; lists come in pages of two, as a large cluster's do."""

    def __init__(self, **parts: Any) -> None:
        default: Json = {name: [] for name in PATHS}
        default |= {"nodes": [node("gpu-1")], "daemon_sets": [PLUGIN, CALICO, METALLB], "storage": [STANDARD]}
        self._parts: Json = {"minor": "34+", "metrics": None, **default, **parts}

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Json:
        if path == "/version":
            return {"major": "1", "minor": self._parts["minor"]}
        if path == METRICS:
            found = self._parts["metrics"]
            if isinstance(found, Exception):
                raise found
            if found is None:
                raise ClusterRefused(f"GET {path}: 404: not found")
            return dict(found)
        (name,) = (name for name, one in PATHS.items() if one == path)
        items = self._parts[name]
        if isinstance(items, Exception):
            raise items
        start = int((params or {}).get("continue", "0"))
        rest = {"continue": str(start + 2)} if start + 2 < len(items) else {}
        return {"metadata": rest, "items": items[start : start + 2]}


@pytest.fixture
def look() -> Callable[..., Any]:
    async def run(**parts: Any) -> Inventory:
        reader: Any = Recorded(**parts)
        return await _Look(reader, "https://198.18.0.1:6443").everything()

    return run


POOL = AskedPool(
    name="l4",
    accelerator="NVIDIA L4",
    kind="nvidia",
    resource="nvidia.com/gpu",
    products=(L4,),
    per_node=1,
    nodes=1,
    node_selector={"nvidia.com/gpu.product": L4},
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
)
CHAT = AskedModel(
    "chat", pool="l4", accelerators=1, replicas=1, surge=0, storage_class="", load_balancer=True
)
ASKED = AskedSite(
    "onprem",
    pools=(POOL,),
    models=(CHAT,),
    namespace="berth-onprem",
    device_plugins={"nvidia": "existing"},
    metrics_adapter="owned",
    enforce_policies=True,
)


def of(findings: list[Finding], state: str) -> list[str]:
    return [one.text for one in findings if one.state == state]


async def test_a_cluster_that_fits(look: Callable[..., Any]) -> None:
    found = await look(
        nodes=[node("cpu", gpus=None, product=None), node("gpu-1"), node("other", product=H100)]
    )
    findings = compare(found, ASKED)
    assert {one.state for one in findings} == {"ok"}
    assert exit_code(findings) == 0
    assert {one.subject for one in findings} == {
        "pool l4",
        "device plugin (nvidia)",
        "Kubernetes",
        "storage of model chat",
        "APIService v1beta1.external.metrics.k8s.io",
        "network policies",
        "load balancer",
    }


async def test_what_is_there_is_read(look: Callable[..., Any]) -> None:
    found = await look(
        nodes=[
            node("gpu-1", gpus=4, seen=4),
            node(
                "old",
                product=None,
                labels={
                    "nvidia.com/cuda.driver.major": "535",
                    "nvidia.com/cuda.driver.minor": "183",
                    "nvidia.com/cuda.runtime.major": "12",
                    "nvidia.com/cuda.runtime.minor": "2",
                },
            ),
        ],
        pods=[pod("gpu-1", 3)],
        runtimes=[{"metadata": {"name": "nvidia"}}],
        crds=[{"metadata": {"name": "scaledobjects.keda.sh"}}, {"metadata": {"name": "a.example.com"}}],
        namespaces=[
            {"metadata": {"name": "a", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}},
            {"metadata": {"name": "b"}},
        ],
        metrics={
            "metadata": {},
            "spec": {"service": {"namespace": "keda", "name": "keda-metrics-apiserver"}},
        },
    )
    gpu, old = found.nodes
    assert (gpu.product, gpu.gpu_count, gpu.memory_mib, gpu.driver, gpu.cuda) == (
        L4,
        4,
        23034,
        "580.95.05",
        "13.0",
    )
    assert gpu.allocatable == {"nvidia.com/gpu": 4}
    assert found.held("gpu-1", "nvidia.com/gpu") == 3
    assert (old.driver, old.cuda) == ("535.183", "12.2")
    assert found.runtime_classes == ("nvidia",)
    assert found.extensions == ("KEDA",)
    assert found.restricted_namespaces == {"a": "baseline"}
    assert found.external_metrics == "keda/keda-metrics-apiserver"
    assert (found.version, found.policy_engine, found.load_balancers) == ((1, 34), "Calico", ("MetalLB",))
    (plugin,) = found.device_plugins
    assert (plugin.kind, plugin.where) == ("nvidia", "DaemonSet kube-system/nvidia-device-plugin-daemonset")


# What the cluster has otherwise, what the stack asks otherwise, and what must be said of it.
MISMATCHES: dict[str, tuple[Json, Json, list[str]]] = {
    "no such node": (
        {"nodes": [node("gpu-1", product="NVIDIA-L40S")]},
        {},
        ["pool l4: no node has the label nvidia.com/gpu.product=NVIDIA-L4", "NVIDIA-L40S", "pools.l4.labels"],
    ),
    "own labels": (
        {"nodes": [node("gpu-1")]},
        {"pool": {"node_selector": {"rack": "7"}}},
        ["no node has the label rack=7", "kubectl label node <node> rack=7"],
    ),
    "too few nodes": (
        {},
        {"pool": {"nodes": 2}},
        [
            "pool l4: 1 node with",
            "wanted: 2 nodes with 1 x NVIDIA L4 each",
            "set sites.onprem.pools.l4.max to 1",
        ],
    ),
    "another card": (
        {"nodes": [node("gpu-1", product=H100, labels={"rack": "7"})]},
        {"pool": {"node_selector": {"rack": "7"}}},
        [f"node gpu-1: {H100}", "wanted: NVIDIA L4 (NVIDIA-L4)", "pools.l4.accelerator"],
    ),
    "time slicing": (
        {"nodes": [node("gpu-1", product="NVIDIA-L4-SHARED", labels={"rack": "7"})]},
        {"pool": {"node_selector": {"rack": "7"}}},
        ["node gpu-1: NVIDIA-L4-SHARED", "switch time slicing off"],
    ),
    "slices": (
        {"nodes": [node("gpu-1", product="NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", labels={"rack": "7"})]},
        {"pool": {"node_selector": {"rack": "7"}}},
        ["MIG-1g.5gb", "switch MIG off"],
    ),
    "more cards": (
        {"nodes": [node("gpu-1", gpus=4)]},
        {},
        ["node gpu-1: offers 4 nvidia.com/gpu; wanted: 1 each", "pools.l4.acceleratorsPerNode to 4"],
    ),
    "a card fell off": (
        {"nodes": [node("gpu-1", gpus=7, seen=8)]},
        {"pool": {"per_node": 8}},
        ["node gpu-1: offers 7 nvidia.com/gpu, though discovery saw 8: one may be unhealthy"],
    ),
    "nothing offered": (
        {"nodes": [node("gpu-1", gpus=None)]},
        {},
        ["node gpu-1: offers no nvidia.com/gpu; wanted: 1 each", "device plugin's log"],
    ),
    "no device plugin": (
        {"nodes": [node("gpu-1", gpus=None)], "daemon_sets": [CALICO, METALLB]},
        {},
        [
            "device plugin (nvidia): the cluster has none",
            "set sites.onprem.devicePlugins.nvidia.mode: managed",
        ],
    ),
    "two device plugins": (
        {},
        {"device_plugins": {"nvidia": "managed"}},
        [
            "DaemonSet kube-system/nvidia-device-plugin-daemonset",
            "set sites.onprem.devicePlugins.nvidia.mode: existing",
        ],
    ),
    "plugin not ready": (
        {
            "daemon_sets": [
                {**PLUGIN, "status": {"desiredNumberScheduled": 2, "numberReady": 1}},
                CALICO,
                METALLB,
            ]
        },
        {},
        ["runs on 1 of 2 nodes", "kubectl --namespace kube-system describe daemonset"],
    ),
    "fewer cards than it will need": (
        {"nodes": [node("gpu-1", gpus=None, seen=2)], "daemon_sets": [CALICO, METALLB]},
        {"device_plugins": {"nvidia": "managed"}},
        ["node gpu-1: has 2 GPUs; wanted: 1 each", "acceleratorsPerNode to 2"],
    ),
    "not ready": (
        {"nodes": [node("gpu-1", ready=False)]},
        {},
        ["node gpu-1: is not Ready", "describe node gpu-1"],
    ),
    "cordoned": ({"nodes": [node("gpu-1", cordoned=True)]}, {}, ["is cordoned", "kubectl uncordon gpu-1"]),
    "taint": (
        {"nodes": [node("gpu-1", taints=[{"key": "team", "value": "ml", "effect": "NoExecute"}])]},
        {},
        ["gpu-1 carry the taint team=ml:NoExecute", "add {key: team, value: ml, effect: NoExecute} to"],
    ),
    "no room": (
        {"nodes": [node("gpu-1", gpus=4)], "pods": [pod("gpu-1", 3)]},
        {"pool": {"per_node": 4}, "model": {"replicas": 2}},
        ["1 free of 4 nvidia.com/gpu, held by research/trainer (3)", "1 of chat", "lower their replicas"],
    ),
    "room in pieces": (
        {
            "nodes": [node("gpu-1", gpus=2), node("gpu-2", gpus=2)],
            "pods": [pod("gpu-1", 1), pod("gpu-2", 1, "other")],
        },
        {"pool": {"per_node": 2, "nodes": 2}, "model": {"accelerators": 2}},
        ["2 free of 4 nvidia.com/gpu", "no place for replicas: 1 of chat"],
    ),
    "larger than any node": (
        {},
        {"model": {"accelerators": 2}},
        [
            "no node offers more than 1 nvidia.com/gpu; wanted: 2 for each replica of chat",
            "gpu.count to at most 1",
        ],
    ),
    "no accelerator anywhere": (
        {"nodes": [node("cpu", gpus=None, product=None)]},
        {"pools": (), "model": {"pool": None, "accelerators": 2}},
        ["model chat: no node offers nvidia.com/gpu; wanted: 2 nvidia.com/gpu of one node"],
    ),
    "too few on any node": (
        {"nodes": [node("gpu-1", gpus=1), node("gpu-2", gpus=4, cordoned=True)]},
        {"pools": (), "model": {"pool": None, "accelerators": 2}},
        ["no node offers more than 1 nvidia.com/gpu", "models.chat.gpu.count"],
    ),
    "old control plane": ({"minor": "29"}, {}, ["Kubernetes: 1.29; wanted: 1.30 or newer; upgrade"]),
    "old kubelet": (
        {"nodes": [node("gpu-1", kubelet="v1.29.9")]},
        {},
        ["node gpu-1: kubelet v1.29.9; wanted: 1.30 or newer", "kubectl drain gpu-1"],
    ),
    "storage class": (
        {},
        {"model": {"storage_class": "nvme"}},
        [
            "storage of model chat: the cluster has: fast (default); wanted: the storage class nvme",
            "weights.storageClass",
        ],
    ),
    "no default storage class": (
        {"storage": [{"metadata": {"name": "slow"}, "provisioner": "p"}]},
        {},
        ["the cluster has: slow; wanted: a default storage class"],
    ),
    "runtime class": (
        {},
        {"model": {"runtime_class": "nvidia"}},
        ["model chat: the cluster has: none; wanted: RuntimeClass nvidia"],
    ),
    "the plugin's runtime class": (
        {},
        {"plugin_runtime_class": "nvidia"},
        ["device plugin: the cluster has: none; wanted: RuntimeClass nvidia"],
    ),
    "priority class": (
        {"priorities": [{"metadata": {"name": "low"}}]},
        {"model": {"priority_class": "high"}},
        ["the cluster has: low; wanted: PriorityClass high"],
    ),
    "external metrics of KEDA": (
        {"metrics": {"metadata": {}, "spec": {"service": {"namespace": "keda", "name": "keda-metrics"}}}},
        {},
        [
            "answered by the Service keda/keda-metrics; wanted: Berth's metrics adapter",
            "metricsAdapter: {mode: none}",
        ],
    ),
    "nobody's external metrics": (
        {},
        {"metrics_adapter": "existing"},
        ["nobody answers it", "metricsAdapter: {mode: owned}"],
    ),
    "policies are ignored": (
        {"daemon_sets": [PLUGIN, FLANNEL, METALLB]},
        {},
        ["network policies: the network plugin accepts them and ignores them", "Calico, Cilium"],
    ),
}


def asked(changes: Json) -> AskedSite:
    site = dict(changes)
    pool = replace(POOL, **site.pop("pool", {}))
    model = replace(CHAT, **site.pop("model", {}))
    return replace(ASKED, **{"pools": (pool,), "models": (model,), **site})


@pytest.mark.parametrize("case", MISMATCHES)
async def test_each_mismatch_is_named(case: str, look: Callable[..., Any]) -> None:
    parts, changes, said = MISMATCHES[case]
    findings = compare(await look(**parts), asked(changes))
    wrong = of(findings, "mismatch")
    assert any(all(part in text for part in said) for text in wrong), wrong
    assert all(text.startswith("onprem: ") for text in wrong)
    assert all(one.remedy and one.wanted for one in findings if one.state == "mismatch")
    assert exit_code(findings) == 1


UNKNOWN: dict[str, tuple[Json, Json, list[str]]] = {
    "nodes": (
        {"nodes": ClusterRefused("GET /api/v1/nodes: 403: no")},
        {},
        ["pool l4: cannot be told", "403: no"],
    ),
    "pods": ({"pods": ClusterRefused("GET /api/v1/pods: 403: no")}, {}, ["how many are free", "403: no"]),
    "daemon sets": (
        {"daemon_sets": ClusterReadError("GET: 500: broken")},
        {},
        ["device plugin (nvidia): cannot be told", "500: broken"],
    ),
    "storage": ({"storage": ClusterRefused("403")}, {}, ["storage of model chat: cannot be told: 403"]),
    "runtimes": (
        {"runtimes": ClusterRefused("403")},
        {"model": {"runtime_class": "nvidia"}},
        ["model chat: cannot"],
    ),
    "priorities": (
        {"priorities": ClusterRefused("403")},
        {"model": {"priority_class": "x"}},
        ["model chat: cannot"],
    ),
    "metrics": (
        {"metrics": ClusterRefused("GET x: 403: no")},
        {},
        ["external.metrics.k8s.io: cannot be told"],
    ),
    "network plugin": ({"daemon_sets": [PLUGIN, METALLB]}, {}, ["the network plugin was not recognised"]),
    "load balancer": ({"daemon_sets": [PLUGIN, CALICO]}, {}, ["load balancer: none was recognised"]),
    "cards": (
        {"nodes": [node("gpu-1", product=None, labels={"rack": "7"})]},
        {"pool": {"node_selector": {"rack": "7"}}},
        ["nobody says which cards gpu-1 have: no label nvidia.com/gpu.product"],
    ),
    "driver": (
        {
            "nodes": [node("gpu-1", gpus=None, product=None, labels={"rack": "7"})],
            "daemon_sets": [CALICO, METALLB],
        },
        {"pool": {"node_selector": {"rack": "7"}}, "device_plugins": {"nvidia": "managed"}},
        ["node gpu-1: nobody says which driver it has", "nvidia-smi on gpu-1"],
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
async def test_what_cannot_be_read_is_unknown_and_never_passes(case: str, look: Callable[..., Any]) -> None:
    parts, changes, said = UNKNOWN[case]
    findings = compare(await look(**parts), asked(changes))
    open_ones = of(findings, "unknown")
    assert any(all(part in text for part in said) for text in open_ones), open_ones
    assert not of(findings, "mismatch")
    assert exit_code(findings) == 3


def test_a_cluster_out_of_reach_is_one_unknown() -> None:
    found = unreachable("https://198.18.0.9:6443", "connection refused")
    findings = compare(found, ASKED)
    (text,) = of(findings, "unknown")
    assert "cluster https://198.18.0.9:6443: cannot be looked at: connection refused" in text
    assert len(findings) == 1
    assert exit_code(findings) == 3
    assert "UNKNOWN" in page("onprem", found, findings)


async def test_a_broken_kubeconfig_is_unknown_too(tmp_path: Path) -> None:
    found = await inspect(str(tmp_path / "none"), "prod")
    assert not found.reached
    assert "cannot be read as a kubeconfig" in found.why_not("cluster")


async def test_the_managed_plugin_is_to_come(look: Callable[..., Any]) -> None:
    parts: Json = {"nodes": [node("gpu-1", gpus=None)], "daemon_sets": [CALICO, METALLB]}
    findings = compare(await look(**parts), asked({"device_plugins": {"nvidia": "managed"}}))
    assert exit_code(findings) == 0
    assert "offers no nvidia.com/gpu yet: the device plugin comes with `up`" in " ".join(of(findings, "note"))
    after = compare(
        await look(daemon_sets=[OURS, CALICO, METALLB]), asked({"device_plugins": {"nvidia": "managed"}})
    )
    assert {one.state for one in after} == {"ok"}


async def test_ones_own_pods_are_not_in_ones_way(look: Callable[..., Any]) -> None:
    own = pod("gpu-1", 1, "chat-1", "berth-onprem")
    assert exit_code(compare(await look(pods=[own]), ASKED)) == 0
    assert (
        exit_code(compare(await look(pods=[{**own, "metadata": {"name": "x", "namespace": "y"}}]), ASKED))
        == 1
    )


async def test_an_update_at_most_replicas_needs_a_spare(look: Callable[..., Any]) -> None:
    findings = compare(await look(), asked({"model": {"surge": 1}}))
    (note,) = of(findings, "note")
    assert "an update finds no accelerator for its surge" in note
    assert "maxSurge: 0" in note
    assert exit_code(findings) == 0


async def test_a_model_on_no_pool_takes_any_node(look: Callable[..., Any]) -> None:
    site = asked({"pools": (), "model": {"pool": None, "accelerators": 2}, "device_plugins": {}})
    fits = compare(await look(nodes=[node("gpu-1", gpus=2)]), site)
    assert {one.subject: one.state for one in fits}["model chat"] == "ok"
    hidden = compare(await look(nodes=ClusterRefused("403")), site)
    assert {one.subject: one.state for one in hidden}["model chat"] == "unknown"


@pytest.mark.parametrize("kubelet", ["v1.34.2+k3s1", "v1.34.2+rke2r1", "v1.34.2"])
async def test_a_runtime_class_that_nobody_names(kubelet: str, look: Callable[..., Any]) -> None:
    parts: Json = {"nodes": [node("gpu-1", kubelet=kubelet)], "daemon_sets": [OURS, CALICO, METALLB]}
    parts["runtimes"] = [{"metadata": {"name": "nvidia"}}]
    keys = {"models.chat.placement.runtimeClass", "sites.onprem.devicePlugins.nvidia.runtimeClass"}
    mute = compare(await look(**parts), asked({"device_plugins": {"nvidia": "managed"}}))
    assert {one.subject for one in mute if one.state == "note"} == (keys if "+" in kubelet else set())
    named = {"device_plugins": {"nvidia": "managed"}, "plugin_runtime_class": "nvidia"}
    told = compare(await look(**parts), asked({**named, "model": {"runtime_class": "nvidia"}}))
    assert {one.state for one in told} == {"ok"}


async def test_more_nodes_than_the_pool_says_are_a_note(look: Callable[..., Any]) -> None:
    findings = compare(await look(nodes=[node("gpu-1"), node("gpu-2"), node("gpu-3")]), ASKED)
    (note,) = of(findings, "note")
    assert "3 nodes with nvidia.com/gpu.product=NVIDIA-L4: gpu-1, gpu-2, gpu-3" in note
    assert exit_code(findings) == 0


@pytest.mark.parametrize(
    ("plugin", "kind", "origin"),
    [
        (PLUGIN, "nvidia", "a manifest"),
        (OURS, "nvidia", "a stack of Berth's"),
        (
            daemon_set(
                "nvidia-device-plugin-daemonset",
                "registry.example/mirror/plugin:1",
                app="nvidia-device-plugin-daemonset",
            ),
            "nvidia",
            "the NVIDIA GPU operator",
        ),
        (
            daemon_set(
                "nvidia-gpu-device-plugin-small-cos",
                "gke.gcr.io/nvidia-gpu-device-plugin:1",
                **{"k8s-app": "nvidia-gpu-device-plugin"},
            ),
            "nvidia",
            "GKE",
        ),
        (
            daemon_set(
                "neuron-device-plugin",
                "public.ecr.aws/neuron/neuron-device-plugin:2.29.149.0",
                **{"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "neuron"},
            ),
            "neuron",
            "the Helm release neuron",
        ),
        (
            daemon_set(
                "nvdp-nvidia-device-plugin-gpu-feature-discovery", "nvcr.io/nvidia/k8s-device-plugin:v1"
            ),
            "",
            "",
        ),
        (CALICO, "", ""),
    ],
)
async def test_device_plugins_are_recognised(
    plugin: Json, kind: str, origin: str, look: Callable[..., Any]
) -> None:
    found = (await look(daemon_sets=[plugin])).device_plugins
    assert [(one.kind, one.origin) for one in found] == ([(kind, origin)] if kind else [])


@pytest.mark.parametrize(
    ("nodes", "daemon_sets", "engine"),
    [
        ([node("a")], [CALICO], "Calico"),
        ([node("a")], [FLANNEL], ""),
        ([node("a")], [FLANNEL, CALICO], "Calico"),
        ([node("a", kubelet="v1.34.2+k3s1")], [], "K3s (kube-router's controller)"),
        ([node("a")], [PLUGIN], None),
    ],
)
async def test_what_enforces_policies(
    nodes: list[Json], daemon_sets: list[Json], engine: str | None, look: Callable[..., Any]
) -> None:
    assert (await look(nodes=nodes, daemon_sets=daemon_sets)).policy_engine == engine


async def test_init_containers_count_as_the_scheduler_counts_them(look: Callable[..., Any]) -> None:
    def asks(count: int, **more: str) -> Json:
        return {"name": "x", "resources": {"limits": {"nvidia.com/gpu": str(count)}}, **more}

    both = pod("gpu-1", 1)
    both["spec"]["initContainers"] = [asks(2)]
    sidecar = pod("gpu-1", 1, "beside")
    sidecar["spec"]["initContainers"] = [asks(2, restartPolicy="Always"), asks(1)]
    found = await look(pods=[both, sidecar, pod("gpu-1", 0, "none")])
    assert [one.requested["nvidia.com/gpu"] for one in found.holders] == [2, 3]


async def test_the_page_fits_a_terminal_and_the_json_has_everything(look: Callable[..., Any]) -> None:
    nodes = [
        node(f"gpu-{number}", product="NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition") for number in range(20)
    ]
    found = await look(nodes=nodes)
    findings = compare(found, ASKED)
    text = page("onprem", found, findings)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "and 8 more (--json has all)" in text
    answer = json.loads(json.dumps(as_json("onprem", found, findings)))
    assert len(answer["inventory"]["nodes"]) == 20
    assert {one["state"] for one in answer["findings"]} >= {"mismatch", "ok"}
    assert answer["reached"] is True


async def test_each_pool_is_judged_by_its_own_nodes_and_models(look: Callable[..., Any]) -> None:
    """Two pools: what fits one must not be put down to the other."""
    big = replace(
        POOL,
        name="big",
        accelerator="NVIDIA H100 80 GB",
        products=(H100,),
        per_node=8,
        node_selector={"nvidia.com/gpu.product": H100},
    )
    small, large = CHAT, replace(CHAT, name="large", pool="big", accelerators=8)
    idle = replace(CHAT, name="cpu-only", pool="big", accelerators=0)
    site = replace(ASKED, pools=(POOL, big), models=(small, large, idle))
    nodes = [node("gpu-1"), node("gpu-2", gpus=8, product=H100)]
    findings = compare(await look(nodes=nodes), site)
    assert {one.state for one in findings} == {"ok"}
    said = [one.wanted for one in findings if one.subject in {"pool l4", "pool big"}]
    assert "1 nvidia.com/gpu at most (chat 1 x 1)" in said
    assert "8 nvidia.com/gpu at most (large 1 x 8)" in said
    taken = compare(await look(nodes=nodes, pods=[pod("gpu-2", 1)]), site)
    assert [one.subject for one in taken if one.state == "mismatch"] == ["pool big"]


@pytest.mark.parametrize(
    ("toleration", "accepted"),
    [
        ({"key": "team", "operator": "Exists"}, True),
        ({"key": "team", "operator": "Equal", "value": "ml"}, True),
        ({"key": "team", "value": "ml"}, True),
        ({"key": "team", "value": "other"}, False),
        ({"key": "team"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"operator": "Exists"}, True),
        ({"operator": "Equal"}, False),
        ({"key": "team", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "team", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
async def test_taints_are_tolerated_by_kubernetes_own_rule(
    toleration: dict[str, str], accepted: bool, look: Callable[..., Any]
) -> None:
    taints = [
        {"key": "team", "value": "ml", "effect": "NoSchedule"},
        {"key": "soft", "effect": "PreferNoSchedule"},
        {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
    ]
    site = asked({"pool": {"tolerations": (*POOL.tolerations, toleration)}})
    wrong = of(compare(await look(nodes=[node("gpu-1", taints=taints)]), site), "mismatch")
    assert (not wrong) is accepted
    assert "soft" not in str(wrong)


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("calico-node", "Calico"),
        ("canal", "Canal"),
        ("cilium", "Cilium"),
        ("anetd", "GKE Dataplane V2"),
        ("antrea-agent", "Antrea"),
        ("kube-router", "kube-router"),
        ("weave-net", "Weave Net"),
        ("ovnkube-node", "OVN-Kubernetes"),
        ("kube-ovn-cni", "Kube-OVN"),
        ("kube-flannel-ds", ""),
        ("kube-proxy", None),
    ],
)
async def test_network_plugins_are_recognised(
    name: str, engine: str | None, look: Callable[..., Any]
) -> None:
    assert (await look(daemon_sets=[daemon_set(name, "registry.example/x:1")])).policy_engine == engine


@pytest.mark.parametrize(
    ("container", "flag", "engine"),
    [
        ("aws-eks-nodeagent", "--enable-network-policy=true", "Amazon VPC CNI"),
        ("aws-eks-nodeagent", "--enable-network-policy=false", None),
        ("other", "--enable-network-policy=true", None),
    ],
)
async def test_amazons_network_plugin_may_be_switched_on(
    container: str, flag: str, engine: str | None, look: Callable[..., Any]
) -> None:
    plugin = daemon_set("aws-node", "registry.example/amazon-k8s-cni:1")
    plugin["spec"]["template"]["spec"]["containers"].append({"name": container, "image": "x", "args": [flag]})
    assert (await look(daemon_sets=[plugin])).policy_engine == engine


@pytest.mark.parametrize(
    ("workload", "provider", "found"),
    [
        (METALLB, "", ("MetalLB",)),
        (daemon_set("kube-vip-ds", "ghcr.io/kube-vip/kube-vip:1"), "", ("kube-vip",)),
        (daemon_set("svclb-traefik-1", "rancher/klipper-lb:1"), "", ("K3s ServiceLB",)),
        (CALICO, "aws:///eu-west-1a/i-0", ("AWS",)),
        (CALICO, "kind://docker/kind/node", ()),
    ],
)
async def test_load_balancers_are_recognised(
    workload: Json, provider: str, found: tuple[str, ...], look: Callable[..., Any]
) -> None:
    machine = node("gpu-1")
    machine["spec"]["providerID"] = provider
    assert (await look(nodes=[machine], daemon_sets=[workload])).load_balancers == found
    assert (await look(nodes=[machine], daemon_sets=[], deployments=[workload])).load_balancers == found


@pytest.mark.parametrize("contents", ["a: [\ntoken: canary-7d1f", '{"token": "canary-7d1f", '])
async def test_contents_of_a_kubeconfig_are_never_shown(contents: str) -> None:
    found = await inspect(contents)
    assert not found.reached
    assert "given kubeconfig" in found.server
    assert "canary" not in found.server


async def test_our_own_plugin_that_does_not_run_is_still_to_come(look: Callable[..., Any]) -> None:
    waiting = {**OURS, "status": {"desiredNumberScheduled": 1, "numberReady": 0}}
    parts: Json = {"nodes": [node("gpu-1", gpus=None)], "daemon_sets": [CALICO, METALLB]}
    site = asked({"device_plugins": {"nvidia": "managed"}})
    before = compare(await look(**{**parts, "daemon_sets": [waiting, CALICO, METALLB]}), site)
    assert exit_code(before) == 0
    # It runs and offers nothing: now something is wrong with the node.
    running = compare(await look(**{**parts, "daemon_sets": [OURS, CALICO, METALLB]}), site)
    assert any("offers no nvidia.com/gpu; wanted: 1 each" in text for text in of(running, "mismatch"))


async def test_long_lists_are_cut(look: Callable[..., Any]) -> None:
    holders = [pod("gpu-1", 1, f"trainer-{number}") for number in range(6)]
    site = asked({"pool": {"per_node": 6}})
    full = compare(await look(nodes=[node("gpu-1", gpus=6)], pods=holders), site)
    assert any("research/trainer-3 (1) and 2 more" in text for text in of(full, "mismatch"))
    nodes = [node(f"gpu-{number}", gpus=2) for number in range(6)]
    many = compare(await look(nodes=nodes), asked({"pool": {"nodes": 7}}))
    assert any("gpu-3 and 2 more" in text for text in of(many, "mismatch"))


async def test_the_oldest_version_that_is_enough(look: Callable[..., Any]) -> None:
    found = await look(minor="30", nodes=[node("gpu-1", kubelet="v1.30.0")])
    assert {one.state for one in compare(found, ASKED)} == {"ok"}
