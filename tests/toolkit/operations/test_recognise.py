"""Which project an object of a cluster belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.toolkit.operations.recorded import (
    CALICO,
    FLANNEL,
    METALLB,
    OURS,
    PLUGIN,
    daemon_set,
    look,
    node,
)

Json = dict[str, Any]


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
async def test_device_plugins_are_recognised(plugin: Json, kind: str, origin: str) -> None:
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
async def test_what_enforces_policies(nodes: list[Json], daemon_sets: list[Json], engine: str | None) -> None:
    assert (await look(nodes=nodes, daemon_sets=daemon_sets)).policy_engine == engine


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
async def test_network_plugins_are_recognised(name: str, engine: str | None) -> None:
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
    container: str, flag: str, engine: str | None
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
async def test_load_balancers_are_recognised(workload: Json, provider: str, found: tuple[str, ...]) -> None:
    machine = node("gpu-1")
    machine["spec"]["providerID"] = provider
    assert (await look(nodes=[machine], daemon_sets=[workload])).load_balancers == found
    assert (await look(nodes=[machine], daemon_sets=[], deployments=[workload])).load_balancers == found
