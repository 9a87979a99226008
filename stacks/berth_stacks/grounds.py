"""Where a site is: clusters that are there, pools of accelerator nodes, device plugins."""

from typing import Annotated

from pydantic import Field

from berth_stacks.fields import (
    Cidr,
    Image,
    LabelKey,
    Labels,
    LabelValue,
    Name,
    Settings,
    Text,
    one_of,
    within,
    words,
)
from berth_stacks.grounds_aws import EksPool
from berth_stacks.grounds_gcp import GkePool

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class Cluster(Settings):
    """A cluster that is there: own hardware or any other; by kubeconfig, or as another stack made it."""

    kubeconfig: Text | None = None
    """Path, or contents (then better as a secret in `connections`). Or `stack`."""
    context: Text | None = None
    """With kubeconfig: the context in it. Default: the current one."""
    stack: Text | None = None
    """The stack that made the cluster, as organization/project/stack. Its outputs say how the cluster
    is reached and which pools it has."""
    site: Text | None = None
    """With stack: the name of the site there. Default: this site's."""
    dns: Annotated[str, one_of("pods", "eks", "gke")] | None = None
    """Who answers names there: pods of kube-system, or besides them what a cluster on EKS (Auto Mode) or GKE
    (Cloud DNS) has. It counts where pods may leave the cluster, for weights or traces. Default: pods."""


class Toleration(Settings):
    """A taint that pods accept."""

    key: LabelKey
    """The taint's key."""
    value: LabelValue | None = None
    """The taint's value. Default: any."""
    effect: Annotated[Text, words(*EFFECTS)] | None = None
    """Its effect. Default: all."""


class Taint(Settings):
    """A taint of a pool's nodes."""

    key: LabelKey
    """The taint's key."""
    effect: Annotated[str, one_of(*EFFECTS)]
    """What it does to pods that do not tolerate it."""
    value: LabelValue | None = None
    """The taint's value. Default: none."""


class Pool(Settings):
    """Nodes with accelerators. Models name the pool; each of their sites has one of that name."""

    accelerator: Text
    """Key of the accelerator in the catalogue, such as nvidia-l4."""
    max: Annotated[int, within(1, 1000, "nodes")]
    """Most nodes. This caps what the pool can cost."""
    accelerators_per_node: Annotated[int, within(1, 16, "accelerators")] = 1
    """Accelerators of each node. Default: 1, the smallest machines."""
    min: Annotated[int, within(0, 1000, "nodes")] | None = None
    """Fewest nodes. Default: 0, so that nothing idles; own hardware: as many as max."""
    capacity: Annotated[str, one_of("on-demand", "spot", "reserved")] | None = None
    """How nodes are bought. Default: on-demand. spot is cheaper and taken away at short notice."""
    machine_type: Text | None = None
    """The cloud's type of machine. Default: the smallest that has exactly those accelerators."""
    labels: Labels = Field(default_factory=dict)
    """Further labels of the nodes."""
    taints: list[Taint] = Field(default_factory=list)
    """Further taints; models on the pool tolerate them. The accelerator's own is always there."""
    eks: EksPool | None = None
    """What only a pool on EKS has. Default: nothing of it."""
    gke: GkePool | None = None
    """What only a pool on GKE has. Default: nothing of it."""


class DevicePlugin(Settings):
    """What tells the scheduler of a cluster which accelerators of one maker its nodes have."""

    mode: Annotated[str, one_of("managed", "existing")] | None = None
    """managed: this stack deploys it. existing: the cluster has it, as GKE and the GPU operator bring it.
    Default: managed on EKS, existing elsewhere; a second one on a node disturbs the first."""
    image: Image | None = None
    """Only managed: its image. Default: the version that the component was written for."""
    namespace: Name | None = None
    """Only managed: a namespace of its own. Default: berth-nvidia-device-plugin, or neuron's."""
    runtime_class: Text | None = None
    """Only managed and nvidia: the RuntimeClass with the driver, such as nvidia on k3s. Default: none."""
    mig_strategy: Annotated[Text, words("none", "single", "mixed")] | None = None
    """Only managed and nvidia: how slices of a GPU count. Default: none: GPUs are whole."""
    api_server_cidrs: list[Cidr] = Field(default_factory=list)
    """Only managed and neuron: address ranges of the API servers. Default: any but the metadata servers'."""
    priority_class: Text | None = None
    """Only managed: a PriorityClass that exists. Default: system-node-critical."""
    pull_secrets: list[Name] = Field(default_factory=list)
    """Only managed: Secrets that exist in its namespace, for the registry. Default: none."""


class DevicePlugins(Settings):
    """Device plugins of a cluster, one per maker of accelerators that its pools have."""

    nvidia: DevicePlugin | None = None
    """For nvidia.com/gpu. Default: as its mode's default says."""
    neuron: DevicePlugin | None = None
    """For aws.amazon.com/neuron. Default: as its mode's default says."""
