"""Looking at clusters: what is there, and each mismatch and unknown named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from berth.operations.errors import ClusterReadError, ClusterRefused
from berth.operations.inventory import compare, exit_code, inspect, page, unreachable

from tests.toolkit.operations.recorded import (
    ASKED,
    CALICO,
    FLANNEL,
    H100,
    L4,
    METALLB,
    PLUGIN,
    asked,
    look,
    node,
    of,
    pod,
)

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]


async def test_a_cluster_that_fits() -> None:
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


async def test_what_is_there_is_read() -> None:
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
    "KEDA is missing": (
        {},
        {"metrics_adapter": "keda"},
        ["external.metrics.k8s.io: nobody answers it", "wanted: KEDA", "install KEDA"],
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


@pytest.mark.parametrize("case", MISMATCHES)
async def test_each_mismatch_is_named(case: str) -> None:
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
async def test_what_cannot_be_read_is_unknown_and_never_passes(case: str) -> None:
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


@pytest.mark.parametrize("contents", ["a: [\ntoken: canary-7d1f", '{"token": "canary-7d1f", '])
async def test_contents_of_a_kubeconfig_are_never_shown(contents: str) -> None:
    found = await inspect(contents)
    assert not found.reached
    assert "given kubeconfig" in found.server
    assert "canary" not in found.server
