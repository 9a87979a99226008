"""Which project an object belongs to: by images and names that the projects' own manifests use.

Read on 2026-11-23 from github.com/NVIDIA/k8s-device-plugin, NVIDIA/gpu-operator (label app of its DaemonSet),
GoogleCloudPlatform/container-engine-accelerators (label k8s-app), aws-neuron/neuron-helm-charts,
ROCm/k8s-device-plugin, and the network plugins' manifests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berth.operations.inventory.facts import DevicePluginFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Json = dict[str, Any]

# A part of the image's repository, the kind of plugin.
_PLUGIN_IMAGES = (
    ("nvidia/k8s-device-plugin", "nvidia"),
    ("nvidia/gke-gpu-device-plugin", "nvidia"),
    ("nvidia-gpu-device-plugin", "nvidia"),
    ("neuron-device-plugin", "neuron"),
    ("tpu-device-plugin", "tpu"),
    ("rocm/k8s-device-plugin", "amd"),
)
# Names of DaemonSets whose image is mirrored under a name of the company's own.
_PLUGIN_NAMES = (
    ("nvidia-device-plugin", "nvidia"),
    ("nvidia-gpu-device-plugin", "nvidia"),
    ("neuron-device-plugin", "neuron"),
    ("tpu-device-plugin", "tpu"),
)
# GPU feature discovery and the MPS daemon come in the device plugin's own image.
_NOT_PLUGINS = ("gpu-feature-discovery", "mps-control-daemon", "config-manager")

# A part of the DaemonSet's name, what it is called, whether it enforces network policies.
_NETWORKS = (
    ("calico-node", "Calico", True),
    ("canal", "Canal", True),
    ("cilium", "Cilium", True),
    ("anetd", "GKE Dataplane V2", True),
    ("antrea-agent", "Antrea", True),
    ("kube-router", "kube-router", True),
    ("weave-net", "Weave Net", True),
    ("ovnkube-node", "OVN-Kubernetes", True),
    ("kube-ovn-cni", "Kube-OVN", True),
    ("kube-flannel", "flannel", False),
)
_BALANCERS = (
    ("metallb", "MetalLB"),
    ("kube-vip", "kube-vip"),
    ("svclb-", "K3s ServiceLB"),
    ("purelb", "PureLB"),
    ("openelb", "OpenELB"),
)
# A cloud's nodes carry its name in their provider id; its controller makes load balancers.
_CLOUDS = (
    ("aws://", "AWS"),
    ("gce://", "Google Cloud"),
    ("azure://", "Azure"),
    ("openstack://", "OpenStack"),
)
_CRDS = {
    "scaledobjects.keda.sh": "KEDA",
    "servicemonitors.monitoring.coreos.com": "Prometheus operator",
    "nodepools.karpenter.sh": "Karpenter",
    "clusterpolicies.nvidia.com": "NVIDIA GPU operator",
    "nodefeatures.nfd.k8s-sigs.io": "node feature discovery",
    "certificates.cert-manager.io": "cert-manager",
    "gateways.gateway.networking.k8s.io": "Gateway API",
    "ciliumnetworkpolicies.cilium.io": "Cilium",
}


def device_plugin(daemon_set: Mapping[str, Any]) -> DevicePluginFound | None:
    """Return what device plugin a DaemonSet is; None where it is none that is known."""
    meta, template = daemon_set["metadata"], daemon_set["spec"]["template"]
    name, namespace = str(meta["name"]), str(meta.get("namespace") or "")
    if any(part in name for part in _NOT_PLUGINS):
        return None
    images = [str(one.get("image") or "") for one in template["spec"].get("containers") or []]
    by_image = (kind for part, kind in _PLUGIN_IMAGES for image in images if part in image)
    kind = next(by_image, None) or next((kind for part, kind in _PLUGIN_NAMES if part in name), None)
    if kind is None:
        return None
    labels = {**(meta.get("labels") or {}), **(template["metadata"].get("labels") or {})}
    status = daemon_set.get("status") or {}
    ours = labels.get("app.kubernetes.io/managed-by") == "berth"
    return DevicePluginFound(
        kind=kind,
        origin=_origin(labels, meta, ours=ours),
        namespace=namespace,
        name=name,
        image=images[0] if images else "",
        desired=int(status.get("desiredNumberScheduled") or 0),
        ready=int(status.get("numberReady") or 0),
        ours=ours,
    )


def _origin(labels: Mapping[str, str], meta: Mapping[str, Any], *, ours: bool) -> str:
    if ours:
        return "a stack of Berth's"
    owners = {str(one.get("kind")) for one in meta.get("ownerReferences") or []}
    if labels.get("app") == "nvidia-device-plugin-daemonset" or "ClusterPolicy" in owners:
        return "the NVIDIA GPU operator"
    if str(labels.get("k8s-app")) in {"nvidia-gpu-device-plugin", "tpu-device-plugin"}:
        return "GKE"
    if labels.get("app.kubernetes.io/managed-by") == "Helm":
        return f"the Helm release {labels.get('app.kubernetes.io/instance', 'of somebody')}"
    return "a manifest"


def policy_engine(daemon_sets: Iterable[Mapping[str, Any]], nodes: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what enforces network policies, "" where what is there enforces none, None where unknown."""
    known: list[tuple[str, bool]] = []
    for one in daemon_sets:
        name = str(one["metadata"]["name"])
        known += [(title, enforces) for part, title, enforces in _NETWORKS if part in name]
        if name == "aws-node" and _has_container(one, "aws-eks-nodeagent"):
            # Present on every new EKS node; whether policies are switched on is in its ConfigMap and flags.
            known += [("Amazon VPC CNI", True)] if "--enable-network-policy=true" in str(one) else []
    enforcing = [title for title, enforces in known if enforces]
    if enforcing:
        return enforcing[0]
    # K3s and RKE2 say it in the kubelet's version; K3s runs kube-router's policies inside its own process.
    if any("+k3s" in str(node["status"].get("nodeInfo", {}).get("kubeletVersion")) for node in nodes):
        return "K3s (kube-router's controller)"
    return "" if known else None


def _has_container(daemon_set: Mapping[str, Any], name: str) -> bool:
    containers = daemon_set["spec"]["template"]["spec"].get("containers") or []
    return any(one.get("name") == name for one in containers)


def load_balancers(
    workloads: Iterable[Mapping[str, Any]], nodes: Iterable[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Return what was recognised that gives Services an address from outside."""
    found = set()
    for one in workloads:
        meta = one["metadata"]
        where = f"{meta.get('namespace')}/{meta['name']}"
        found |= {title for part, title in _BALANCERS if part in where}
    for node in nodes:
        provider = str(node["spec"].get("providerID") or "")
        found |= {title for scheme, title in _CLOUDS if provider.startswith(scheme)}
    return tuple(sorted(found))


def extensions(crds: Iterable[str]) -> tuple[str, ...]:
    """Return what is known of the names of CRDs."""
    names = set(crds)
    return tuple(title for crd, title in _CRDS.items() if crd in names)
