"""What all EC2 nodes of managed node groups have in common: how they start and what their role may do."""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import autoscaling, eks

from berth_components.arguments import combine
from berth_components.aws.sdk import ec2

EFFECTS = {
    "NoSchedule": "NO_SCHEDULE",
    "PreferNoSchedule": "PREFER_NO_SCHEDULE",
    "NoExecute": "NO_EXECUTE",
}
"""EKS' words for the effects of taints (TaintEffect in EKS' API, botocore 1.44.5)."""
ROOT_DEVICE = "/dev/xvda"
"""The root volume of Amazon Linux 2023."""
AUTOSCALER_TAG = "k8s.io/cluster-autoscaler/"


def launch_template(  # noqa: PLR0917 - what a node starts from
    name: str,
    machine_type: str,
    disk_size_gib: pulumi.Input[int],
    volume_key_arn: pulumi.Input[str] | None,
    tags: pulumi.Input[Mapping[str, str]],
    opts: pulumi.ResourceOptions,
    reservation: tuple[str, pulumi.Input[str]] | None = None,
) -> ec2.LaunchTemplate:
    """How a node starts: IMDSv2 only and out of pods' reach, its disk encrypted.

    Args:
        name: of the resource.
        machine_type: the EC2 instance type. It is here and not in the node group, where a change would
            replace the group instead of its nodes one by one.
        disk_size_gib: size of the root volume.
        volume_key_arn: KMS key of the volume; None is AWS's own.
        tags: of instances, volumes and interfaces, which a node group's own tags do not reach.
        opts: options with the parent.
        reservation: its kind (capacity-block or on-demand) and id.
    """
    market: ec2.LaunchTemplateInstanceMarketOptionsArgs | None = None
    capacity: ec2.LaunchTemplateCapacityReservationSpecificationArgs | None = None
    if reservation:
        kind, number = reservation
        if kind == "capacity-block":
            market = ec2.LaunchTemplateInstanceMarketOptionsArgs(market_type="capacity-block")
        capacity = ec2.LaunchTemplateCapacityReservationSpecificationArgs(
            capacity_reservation_target=(
                ec2.LaunchTemplateCapacityReservationSpecificationCapacityReservationTargetArgs(
                    capacity_reservation_id=number
                )
            )
        )

    def named(known: Mapping[str, str]) -> Mapping[str, str]:
        return {"Name": name, **known}

    on_machines = combine(named, tags)
    return ec2.LaunchTemplate(
        f"{name}-template",
        instance_type=machine_type,
        metadata_options=ec2.LaunchTemplateMetadataOptionsArgs(
            http_endpoint="enabled",
            http_tokens="required",
            # A pod's packets take a second hop: it cannot reach the node's credentials.
            http_put_response_hop_limit=1,
            instance_metadata_tags="disabled",
        ),
        block_device_mappings=[
            ec2.LaunchTemplateBlockDeviceMappingArgs(
                device_name=ROOT_DEVICE,
                ebs=ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                    volume_type="gp3",
                    volume_size=disk_size_gib,
                    encrypted="true",
                    kms_key_id=volume_key_arn,
                    delete_on_termination="true",
                ),
            )
        ],
        instance_market_options=market,
        capacity_reservation_specification=capacity,
        tag_specifications=[
            ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=on_machines)
            for kind in ("instance", "volume", "network-interface")
        ],
        update_default_version=True,
        tags=tags,
        opts=opts,
    )


def template_reference(template: ec2.LaunchTemplate) -> eks.NodeGroupLaunchTemplateArgs:
    """The newest version of a template: a change of it rolls through the node group."""

    def text(version: int) -> str:
        return str(int(version))

    return eks.NodeGroupLaunchTemplateArgs(id=template.id, version=template.latest_version.apply(text))


def autoscaling_group(group: eks.NodeGroup) -> pulumi.Output[str]:
    """Name of the Auto Scaling group that EKS made for a node group."""

    def first(resources: Sequence[eks.outputs.NodeGroupResource]) -> str:
        names: list[str] = [
            one.name for resource in resources for one in resource.autoscaling_groups or [] if one.name
        ]
        if not names:
            raise pulumi.RunError("EKS made a node group without an Auto Scaling group; run the update again")
        return names[0]

    name: pulumi.Output[str] = group.resources.apply(first)
    return name


def discovery_tags(cluster: str) -> Mapping[str, str]:
    """Tags by which Cluster Autoscaler finds a group; EKS sets the same ones on managed node groups."""
    return {f"{AUTOSCALER_TAG}enabled": "true", f"{AUTOSCALER_TAG}{cluster}": "owned"}


def tag_group(
    name: str,
    group: eks.NodeGroup,
    tags: Sequence[tuple[str, pulumi.Input[str], pulumi.Input[str]]],
    opts: pulumi.ResourceOptions,
) -> None:
    """Tag a node group's Auto Scaling group, which EKS does not with the node group's own tags.

    Args:
        name: prefix of the resources.
        group: the node group.
        tags: a short name, the key and the value of each.
        opts: options with the parent.
    """
    target = autoscaling_group(group)
    for short, key, value in tags:
        autoscaling.Tag(
            f"{name}-tag-{short}",
            autoscaling_group_name=target,
            tag=autoscaling.TagTagArgs(key=key, value=value, propagate_at_launch=False),
            opts=opts,
        )
