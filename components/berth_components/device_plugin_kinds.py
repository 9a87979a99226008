"""What each project's device plugin needs, as its own manifests say.

Images and manifests, read on 2026-11-23:

- NVIDIA: `deployments/static/nvidia-device-plugin.yml` and `deployments/helm/nvidia-device-plugin/` of
  github.com/NVIDIA/k8s-device-plugin (affinity, tolerations, MIG's capability, environment). The digest is
  the one that NVIDIA's own GPU operator pins for v0.19.3 (github.com/NVIDIA/gpu-operator, pull request 2567,
  merged).
- Neuron: `charts/neuron-helm-chart` of github.com/aws-neuron/neuron-helm-charts (commit 2f5072d for the
  image, 7324cd0 for the permissions, 14049c2 for mounts and affinity). No digest of it was found: pin it by
  the argument `image`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SOCKETS = "/var/lib/kubelet/device-plugins"
"""Where the kubelet and its device plugins meet."""
# What NVIDIA's chart takes for a GPU node: node feature discovery saw NVIDIA's PCI vendor, a Tegra's CPU, or
# a person (or GPU feature discovery) said so.
NVIDIA_NODES: Sequence[Mapping[str, Sequence[str]]] = (
    {"feature.node.kubernetes.io/pci-10de.present": ("true",)},
    {"feature.node.kubernetes.io/cpu-model.vendor_id": ("NVIDIA",)},
    {"nvidia.com/gpu.present": ("true",)},
)
NEURON_NODES: Sequence[Mapping[str, Sequence[str]]] = (
    {
        "node.kubernetes.io/instance-type": (
            *("inf1.xlarge", "inf1.2xlarge", "inf1.6xlarge", "inf1.24xlarge"),
            *("inf2.xlarge", "inf2.8xlarge", "inf2.24xlarge", "inf2.48xlarge"),
            *("trn1.2xlarge", "trn1.32xlarge", "trn1n.32xlarge", "trn2.48xlarge", "trn2u.48xlarge"),
        )
    },
)


@dataclass(frozen=True)
class HostFolder:
    """A folder of the host, mounted at the same place."""

    name: str
    path: str
    type: str = "Directory"
    read_only: bool = False


@dataclass(frozen=True)
class Kind:
    """What one project's plugin needs."""

    image: str
    resource: str
    folders: tuple[HostFolder, ...]
    environment: Mapping[str, str]
    reads_api: bool
    writes_because: str = ""
    """Why its container may write to its image; "" where it may not."""


_SOCKETS_FOLDER = HostFolder("device-plugins", SOCKETS)
KINDS = {
    "nvidia": Kind(
        image=(
            "nvcr.io/nvidia/k8s-device-plugin:v0.19.3"
            "@sha256:25cc340fe6fd53c101e16fc452f503e7a92c219c64a80ed5381784b522dbbf77"
        ),
        resource="nvidia.com/gpu",
        folders=(_SOCKETS_FOLDER,),
        environment={
            # A node that was said to have GPUs and shows none is an error, not a plugin that idles.
            "FAIL_ON_INIT_ERROR": "true",
            "NVIDIA_VISIBLE_DEVICES": "all",
            "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        },
        reads_api=False,
    ),
    "neuron": Kind(
        image="public.ecr.aws/neuron/neuron-device-plugin:2.29.149.0",
        resource="aws.amazon.com/neuron",
        folders=(
            _SOCKETS_FOLDER,
            HostFolder("run", "/run"),
            HostFolder("aws-config", "/opt/aws", "DirectoryOrCreate", read_only=True),
        ),
        # As in the chart. No such file is mounted there either: it falls back to its service account.
        environment={"KUBECONFIG": "/etc/kubernetes/kubelet.conf"},
        reads_api=True,
        writes_because="its source is not published, so where it writes is not known",
    ),
}
