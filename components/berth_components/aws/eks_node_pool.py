"""A pool of accelerator nodes on EKS: a managed node group, or a NodePool of EKS Auto Mode.

How scaling from zero works (kubernetes/autoscaler, cluster-autoscaler/cloudprovider/aws/aws_manager.go,
buildNodeFromTemplate): with no node to look at, Cluster Autoscaler builds one in its head. Labels and taints
it asks EKS for (eks:DescribeNodegroup), and reads from tags of the Auto Scaling group, which work also where
that call fails. GPUs it knows by the instance type. What it cannot know are Neuron devices and the disk; an
unknown resource counts as none, and the pool would never grow. So the tags say all of it.
"""

from collections.abc import Mapping, Sequence

import pulumi
from berth_catalogue.errors import CatalogueError
from berth_catalogue.machines import Machine, choose, machine
from pulumi_aws import eks

from berth_components import checks
from berth_components.arguments import Arguments, combine
from berth_components.aws import checks as aws_checks
from berth_components.aws import eks_auto_pool, nodes
from berth_components.aws.eks_node_pool_args import EksNodePoolArgs, ReservationArgs
from berth_components.aws.eks_settings import SCALING
from berth_components.aws.shared import Place, needed, needed_input, require_kubernetes
from berth_components.node_pools import NodePool, PoolSpec, read_pool

AMI_TYPES = {"nvidia": "AL2023_x86_64_NVIDIA", "aws": "AL2023_x86_64_NEURON"}
"""EKS' machine images with the driver, by vendor (AMITypes in EKS' API, botocore 1.44.5). Neither brings the
device plugin; `DevicePlugin` does."""
GPU_LABEL = "k8s.amazonaws.com/accelerator"
"""Until a node with this label shows GPUs, Cluster Autoscaler counts it as still starting and adds no other
one. It looks for nvidia.com/gpu only, so nodes with Neuron devices must not have it."""
_NOT_WITH_AUTO_MODE = (*("update_strategy", "node_repair", "kubernetes_version", "ami_release", "tags"),)
_DISK = checks.whole_number(50, 16384, "GiB")
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
        self._auto_mode = given.plain("scaling", checks.choice(*SCALING), SCALING[0]) == SCALING[1]
        chosen = _machine(given, spec)
        self.machine_type = chosen.name
        self._subnets = needed_input(given, "subnet_ids", aws_checks.ids(aws_checks.subnet_id))
        self._role_arn = needed_input(given, "node_role_arn", aws_checks.role_arn)
        self._cluster = needed_input(given, "cluster_name", aws_checks.cluster_name)
        self._disk = given.read("disk_size_gib", _DISK, 200)
        self._key = given.maybe("volume_key_arn", aws_checks.key_arn)
        self._reservation = _reservation(given, spec)
        self._unavailable = given.plain("max_unavailable", checks.whole_number(1, 100, "nodes"), 1)
        _check_scaling(given, spec, auto_mode=self._auto_mode)
        super().__init__("berth:aws:EksNodePool", name, spec, opts)
        self._name = name
        if self._auto_mode:
            require_kubernetes(self, who)
            self._in_auto_mode(given, chosen)
        else:
            Place(self, who)
            self._managed(given, chosen)
        self.finish(machineType=self.machine_type)

    def _child(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*depends_on])

    def _managed(self, given: Arguments, chosen: Machine) -> None:
        spec = self.spec
        nothing: Mapping[str, str] = {}
        tags = given.read("tags", aws_checks.tags, nothing)
        strategy = given.plain("update_strategy", checks.choice("surge", "minimal"), "surge")
        template = nodes.launch_template(
            self._name, chosen.name, self._disk, self._key, tags, self._child(), self._reservation
        )
        block = self._reservation is not None and self._reservation[0] == "capacity-block"
        capacity = {"on-demand": "ON_DEMAND", "spot": "SPOT", "reserved": "ON_DEMAND"}
        labels = node_labels(spec)
        group = eks.NodeGroup(
            # Named by Pulumi, so that a new group can stand beside the old one where EKS cannot change it.
            f"{self._name}-nodes",
            cluster_name=self._cluster,
            node_role_arn=self._role_arn,
            subnet_ids=self._subnets,
            ami_type=AMI_TYPES[spec.accelerator.vendor],
            capacity_type="CAPACITY_BLOCK" if block else capacity[spec.capacity_type],
            launch_template=nodes.template_reference(template),
            version=given.maybe("kubernetes_version", aws_checks.kubernetes_version),
            release_version=given.maybe("ami_release", _ami_release),
            scaling_config=eks.NodeGroupScalingConfigArgs(
                min_size=spec.min_nodes, desired_size=spec.min_nodes, max_size=spec.max_nodes
            ),
            labels=labels,
            taints=[
                eks.NodeGroupTaintArgs(key=key, value=value, effect=nodes.EFFECTS[effect])
                for key, value, effect in pool_taints(spec)
            ],
            update_config=eks.NodeGroupUpdateConfigArgs(
                max_unavailable=self._unavailable,
                update_strategy="DEFAULT" if strategy == "surge" else "MINIMAL",
            ),
            node_repair_config=eks.NodeGroupNodeRepairConfigArgs(
                enabled=given.plain("node_repair", checks.boolean, default=True)
            ),
            tags=tags,
            # The autoscaler decides how many there are from here on.
            opts=pulumi.ResourceOptions(
                parent=self, ignore_changes=["scalingConfig.desiredSize"], delete_before_replace=False
            ),
        )
        nodes.tag_group(self._name, group, self._autoscaling_tags(labels), self._child())

    def _autoscaling_tags(
        self, labels: Mapping[str, str]
    ) -> list[tuple[str, pulumi.Input[str], pulumi.Input[str]]]:
        template = f"{nodes.AUTOSCALER_TAG}node-template"

        def owned(cluster: str) -> str:
            return f"{nodes.AUTOSCALER_TAG}{cluster}"

        def for_pods(gib: int) -> str:
            return f"{int(gib * _DISK_FOR_PODS)}Gi"

        found: list[tuple[str, pulumi.Input[str], pulumi.Input[str]]] = [
            ("enabled", f"{nodes.AUTOSCALER_TAG}enabled", "true"),
            ("cluster", combine(owned, self._cluster), "owned"),
            ("accelerators", f"{template}/resources/{self.spec.resource}", str(self.spec.per_node)),
            ("disk", f"{template}/resources/ephemeral-storage", combine(for_pods, self._disk)),
        ]
        found += [
            (f"label-{key.replace('/', '-')}", f"{template}/label/{key}", value)
            for key, value in labels.items()
        ]
        found += [
            (f"taint-{key.replace('/', '-')}", f"{template}/taint/{key}", f"{value}:{effect}")
            for key, value, effect in pool_taints(self.spec)
        ]
        return found

    def _in_auto_mode(self, given: Arguments, chosen: Machine) -> None:
        eks_auto_pool.declare(
            self._name,
            self.spec,
            eks_auto_pool.AutoPool(
                machine_type=chosen.name,
                labels=self.spec.labels,
                taints=pool_taints(self.spec),
                role_arn=self._role_arn,
                subnet_ids=self._subnets,
                security_group_ids=needed_input(
                    given, "security_group_ids", aws_checks.ids(aws_checks.security_group_id)
                ),
                disk_size_gib=self._disk,
                volume_key_arn=self._key,
                reservation_id=self._reservation[1] if self._reservation else None,
                max_unavailable=self._unavailable,
                expire_after_hours=given.plain(
                    "expire_after_hours", checks.whole_number(1, 504, "hours"), 336
                ),
            ),
            self._child(),
        )


def node_labels(spec: PoolSpec) -> Mapping[str, str]:
    """All labels of a pool's nodes."""
    if spec.accelerator.vendor == "nvidia":
        return {GPU_LABEL: spec.accelerator.key, **spec.labels}
    return spec.labels


def pool_taints(spec: PoolSpec) -> Sequence[tuple[str, str, str]]:
    """Key, value and effect of all taints: the accelerator's own, and those that were asked for."""
    further = [(one["key"], one.get("value", ""), one["effect"]) for one in spec.taints]
    return [spec.accelerator.taint, *further]


def _machine(given: Arguments, spec: PoolSpec) -> Machine:
    key, count = spec.accelerator.key, spec.per_node
    if "machine_type" not in given:
        try:
            return choose("aws", key, count)
        except CatalogueError as error:
            allowed = "an accelerator and a count that machines on AWS have"
            raise given.refuse("accelerators_per_node", f"{count} x {key}", allowed, str(error)) from None
    name = needed(given, "machine_type", aws_checks.machine_type)
    try:
        found = machine("aws", name)
    except CatalogueError as error:
        raise given.refuse("machine_type", repr(name), "a machine in the catalogue", str(error)) from None
    if (found.accelerator, found.accelerators) != (key, count):
        raise given.refuse(
            "machine_type",
            f"{name!r}, which has {found.accelerators} x {found.accelerator}",
            f"a machine with {count} x {key}",
            "change it, or the pool's accelerator and accelerators_per_node",
        )
    return found


def _reservation(given: Arguments, spec: PoolSpec) -> tuple[str, pulumi.Input[str]] | None:
    reserved = spec.capacity_type == "reserved"
    if reserved != ("reservation" in given):
        raise given.refuse(
            "reservation",
            "missing" if reserved else "given",
            "one with capacity_type reserved, none otherwise",
            "name the reservation that was bought" if reserved else "set capacity_type to reserved",
        )
    if not reserved:
        return None
    group = given.group("reservation", ReservationArgs)
    return (
        needed(group, "kind", checks.choice("capacity-block", "on-demand")),
        needed_input(group, "id", aws_checks.reservation_id),
    )


def _check_scaling(given: Arguments, spec: PoolSpec, *, auto_mode: bool) -> None:
    if auto_mode:
        for key in _NOT_WITH_AUTO_MODE:
            if key in given:
                raise given.refuse(
                    key, "given", "only with scaling cluster-autoscaler", "Auto Mode does this by itself"
                )
        if spec.min_nodes:
            raise given.refuse(
                "min_nodes",
                spec.min_nodes,
                "0 with scaling auto-mode",
                "Auto Mode adds nodes when pods ask for them; keep a replica running instead",
            )
        return
    for key in ("security_group_ids", "expire_after_hours"):
        if key in given:
            raise given.refuse(key, "given", "only with scaling auto-mode", "remove it")


def _ami_release(value: object) -> str:
    return checks.text(
        r"1\.[1-9][0-9]\.[0-9]+-[0-9]{8}", "a release of EKS' machine images, such as 1.34.1-20251007"
    )(value)
