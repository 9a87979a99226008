"""Where a site is: the settings of each ground, and of its pools of accelerator nodes."""

from typing import Annotated

from berth_stacks.fields import LabelKey, Labels, LabelValue, Settings, Text, Whole, limits, words

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class Cluster(Settings):
    """A cluster that is there: own hardware or any other; by kubeconfig, or as another stack made it."""

    kubeconfig: Text | None = None
    """Path, or contents (then better as a secret in `connections`). Or `stack`."""
    context: Text | None = None
    """With kubeconfig: the context in it. Default: the current one."""
    stack: Text | None = None
    """The stack that made the cluster, as organization/project/stack: its outputs are read. Its pools are there."""
    site: Text | None = None
    """With stack: the name of the site there. Default: this site's."""


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
    effect: Annotated[Text, words(*EFFECTS)]
    """What it does to pods that do not tolerate it."""
    value: LabelValue | None = None
    """The taint's value. Default: none."""


class Pool(Settings):
    """Nodes with accelerators. Models name the pool; each of their sites has one of that name."""

    accelerator: Text
    """Key of the accelerator in the catalogue, such as nvidia-l4."""
    max: Annotated[Whole, limits(1, 1000)]
    """Most nodes. This caps what the pool can cost."""
    accelerators_per_node: Annotated[Whole, limits(1, 16)] = 1
    """Accelerators of each node. Default: 1, the smallest machines."""
    min: Annotated[Whole, limits(0, 1000)] = 0
    """Fewest nodes. Default: 0, so that nothing idles; own hardware: as many as max."""
    capacity: Annotated[Text, words("on-demand", "spot", "reserved")] = "on-demand"
    """How nodes are bought. Default: on-demand. spot is cheaper and taken away at short notice."""
    machine_type: Text | None = None
    """The cloud's type of machine. Default: the smallest that has exactly those accelerators."""
    labels: Labels = {}
    """Further labels of the nodes."""
    taints: list[Taint] = []
    """Further taints; models on the pool tolerate them. The accelerator's own is always there."""
