"""A pool of accelerator nodes on EKS: a managed node group, or a NodePool of EKS Auto Mode.

How scaling from zero works (kubernetes/autoscaler, cluster-autoscaler/cloudprovider/aws/aws_manager.go,
buildNodeFromTemplate): with no node to look at, Cluster Autoscaler builds one in its head. Labels and taints
it asks EKS for (eks:DescribeNodegroup), and reads from tags of the Auto Scaling group, which work also where
that call fails. GPUs it knows by the instance type. What it cannot know are Neuron devices and the disk; an
unknown resource counts as none, and the pool would never grow. So the tags say all of it.
"""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import eks

from berth_components.arguments import Arguments, combine
from berth_components.aws import eks_auto_pool, nodes
from berth_components.aws.eks_node_pool_args import EksNodePoolArgs
from berth_components.aws.eks_pool_settings import PoolSettings, read
from berth_components.aws.shared import Place, check_name, require_kubernetes
from berth_components.node_pools import NodePool, PoolSpec, read_pool

AMI_TYPES = {"nvidia": "AL2023_x86_64_NVIDIA", "aws": "AL2023_x86_64_NEURON"}
"""EKS' machine images with the driver, by vendor (AMITypes in EKS' API, botocore 1.44.5). Neither brings the
device plugin; `DevicePlugin` does."""
GPU_LABEL = "k8s.amazonaws.com/accelerator"
"""Until a node with this label shows GPUs, Cluster Autoscaler counts it as still starting and adds no other
one. It looks for nvidia.com/gpu only, so nodes with Neuron devices must not have it."""
_GROUP_NAME = 63
"""Longest name of a node group (create-managed-node-group in EKS' user guide)."""
# What the kubelet and the images' own layers keep of a disk; a pod that asks for more would never start.
_DISK_FOR_PODS = 0.8


class EksNodePool(NodePool):
    """Nodes with NVIDIA GPUs or Inferentia on EKS, from none to as many as the pool says."""

    machine_type: str
    """Type of its machines."""

    def __init__(self, name: str, args: EksNodePoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it; auto-mode needs a Kubernetes provider besides the AWS one.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        who = f"EksNodePool '{name}'"
        given = Arguments(who, args, EksNodePoolArgs)
        spec = read_pool(given, name)
        settings = read(given, spec)
        if not settings.auto_mode:
            check_name(who, name, "-nodes", _GROUP_NAME)
        super().__init__("berth:aws:EksNodePool", name, spec, opts)
        self._name = name
        self.machine_type = settings.machine_type
        Place(self, who)
        if settings.auto_mode:
            require_kubernetes(self, who)
            eks_auto_pool.declare(name, spec, settings, pool_taints(spec), self._child())
        else:
            self._managed(settings)
        self.finish(machineType=self.machine_type)

    def _child(self) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self)

    def _managed(self, settings: PoolSettings) -> None:
        spec = self.spec
        template = nodes.launch_template(
            self._name,
            settings.machine_type,
            settings.disk_size_gib,
            settings.volume_key_arn,
            settings.tags,
            self._child(),
            settings.reservation,
        )
        block = settings.reservation is not None and settings.reservation[0] == "capacity-block"
        capacity = {"on-demand": "ON_DEMAND", "spot": "SPOT", "reserved": "ON_DEMAND"}
        labels = node_labels(spec)
        group = eks.NodeGroup(
            # Named by Pulumi, so that a new group can stand beside the old one where EKS cannot change it.
            f"{self._name}-nodes",
            cluster_name=settings.cluster,
            node_role_arn=settings.role_arn,
            subnet_ids=settings.subnet_ids,
            ami_type=AMI_TYPES[spec.accelerator.vendor],
            capacity_type="CAPACITY_BLOCK" if block else capacity[spec.capacity_type],
            launch_template=nodes.template_reference(template),
            version=settings.kubernetes_version,
            release_version=settings.ami_release,
            scaling_config=eks.NodeGroupScalingConfigArgs(
                min_size=spec.min_nodes, desired_size=spec.min_nodes, max_size=spec.max_nodes
            ),
            labels=labels,
            taints=[
                eks.NodeGroupTaintArgs(key=key, value=value, effect=nodes.EFFECTS[effect])
                for key, value, effect in pool_taints(spec)
            ],
            update_config=eks.NodeGroupUpdateConfigArgs(
                max_unavailable=settings.max_unavailable,
                update_strategy="DEFAULT" if settings.surge else "MINIMAL",
            ),
            node_repair_config=eks.NodeGroupNodeRepairConfigArgs(enabled=settings.node_repair),
            tags=settings.tags,
            # The autoscaler decides how many there are from here on. AWS takes all three sizes together, so a
            # change of the other two sends what the state remembers: refresh before it (docs/guides/aws.md).
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["scalingConfig.desiredSize"]),
        )
        nodes.tag_group(self._name, group, autoscaling_tags(spec, settings, labels), self._child())


def autoscaling_tags(
    spec: PoolSpec, settings: PoolSettings, labels: Mapping[str, str]
) -> list[tuple[str, pulumi.Input[str], pulumi.Input[str]]]:
    """A short name, the key and the value of every tag that Cluster Autoscaler reads."""
    template = f"{nodes.AUTOSCALER_TAG}node-template"

    def owned(cluster: str) -> str:
        return f"{nodes.AUTOSCALER_TAG}{cluster}"

    def for_pods(gib: int) -> str:
        return f"{int(gib * _DISK_FOR_PODS)}Gi"

    found: list[tuple[str, pulumi.Input[str], pulumi.Input[str]]] = [
        # EKS sets these two as well; the autoscaler's permissions hang on the second.
        ("enabled", f"{nodes.AUTOSCALER_TAG}enabled", "true"),
        ("cluster", combine(owned, settings.cluster), "owned"),
        ("accelerators", f"{template}/resources/{spec.resource}", str(spec.per_node)),
        ("disk", f"{template}/resources/ephemeral-storage", combine(for_pods, settings.disk_size_gib)),
    ]
    found += [
        (f"label-{key.replace('/', '-')}", f"{template}/label/{key}", value) for key, value in labels.items()
    ]
    # A tag has room for one taint of a key; of further ones EKS tells the autoscaler.
    taints = {key: f"{value}:{effect}" for key, value, effect in reversed(pool_taints(spec))}
    found += [
        (f"taint-{key.replace('/', '-')}", f"{template}/taint/{key}", value)
        for key, value in sorted(taints.items())
    ]
    return found


def node_labels(spec: PoolSpec) -> Mapping[str, str]:
    """All labels of a pool's nodes."""
    if spec.accelerator.vendor == "nvidia":
        return {GPU_LABEL: spec.accelerator.key, **spec.labels}
    return spec.labels


def pool_taints(spec: PoolSpec) -> Sequence[tuple[str, str, str]]:
    """Key, value and effect of all taints: the accelerator's own, and those that were asked for."""
    further = [(one["key"], one.get("value", ""), one["effect"]) for one in spec.taints]
    return [spec.accelerator.taint, *further]
