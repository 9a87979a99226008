"""The VPC of an EKS cluster: private subnets for nodes, public ones for load balancers and NAT."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from berth_components import checks
from berth_components.arguments import Arguments
from berth_components.aws import checks as aws_checks
from berth_components.aws.sdk import ec2
from berth_components.aws.shared import Place, needed, tagged

INTERFACE_ENDPOINTS = (
    *("ecr.api", "ecr.dkr", "sts", "ec2", "logs", "eks", "eks-auth"),
    *("elasticloadbalancing", "autoscaling", "kms"),
)
"""Services that nodes in private subnets call, each reached by interfaces in every zone."""


@dataclass(frozen=True, kw_only=True)
class VpcSettings:
    """`VpcArgs`, checked."""

    cidr: str
    zones: Sequence[str]
    nat_per_zone: bool
    endpoints: Sequence[str]

    def private(self, index: int) -> str:
        """Addresses of a zone's private subnet: a quarter of the VPC."""
        return str([*ipaddress.IPv4Network(self.cidr).subnets(prefixlen_diff=2)][index])

    def public(self, index: int) -> str:
        """Addresses of a zone's public subnet: a sixteenth, out of the last quarter."""
        return str([*ipaddress.IPv4Network(self.cidr).subnets(prefixlen_diff=4)][12 + index])


@dataclass(frozen=True, kw_only=True)
class Vpc:
    """What was made.

    Attributes:
        private_ids: ids of the private subnets.
        ready: what nodes in them must await, and what must outlive them.
    """

    private_ids: Sequence[pulumi.Output[str]]
    ready: Sequence[pulumi.Resource]


def read_vpc(given: Arguments) -> VpcSettings:
    """Check `VpcArgs`.

    Raises:
        ArgumentError: one is missing or not allowed.
    """
    endpoint = checks.choice("s3", *INTERFACE_ENDPOINTS)
    return VpcSettings(
        cidr=needed(given, "cidr", aws_checks.vpc_cidr),
        zones=needed(given, "zones", aws_checks.zones),
        nat_per_zone=given.plain("nat", checks.choice("single", "per-zone"), "single") == "per-zone",
        endpoints=given.plain("endpoints", aws_checks.ids(endpoint, at_least=0), ["s3"]),
    )


def make_vpc(  # noqa: PLR0917 - what a VPC is made of
    name: str,
    settings: VpcSettings,
    cluster: str,
    place: Place,
    tags: pulumi.Input[Mapping[str, str]],
    opts: pulumi.ResourceOptions,
) -> Vpc:
    """Make it; `opts` name the parent."""

    def after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[*resources]))

    def named(suffix: str, **further: str) -> pulumi.Input[Mapping[str, str]]:
        return tagged(tags, Name=f"{name}-{suffix}", **further)

    # Both are needed for the private endpoint's name to resolve.
    vpc = ec2.Vpc(
        f"{name}-vpc",
        cidr_block=settings.cidr,
        enable_dns_hostnames=True,
        enable_dns_support=True,
        tags=named("vpc"),
        opts=opts,
    )
    # Whatever is made here without a group of its own lands in this one: it lets nothing through.
    ec2.DefaultSecurityGroup(f"{name}-closed", vpc_id=vpc.id, tags=named("closed"), opts=opts)
    internet = ec2.InternetGateway(f"{name}-internet", vpc_id=vpc.id, tags=named("internet"), opts=opts)
    public_table = ec2.RouteTable(f"{name}-public", vpc_id=vpc.id, tags=named("public"), opts=opts)
    out = ec2.Route(
        f"{name}-public-out",
        route_table_id=public_table.id,
        destination_cidr_block="0.0.0.0/0",
        gateway_id=internet.id,
        opts=opts,
    )
    shared = {f"kubernetes.io/cluster/{cluster}": "shared"}
    ready: list[pulumi.Resource] = [out]
    private_ids: list[pulumi.Output[str]] = []
    private_tables: list[pulumi.Output[str]] = []
    gateways: list[ec2.NatGateway] = []
    for index, zone in enumerate(settings.zones):
        public = ec2.Subnet(
            f"{name}-public-{zone}",
            vpc_id=vpc.id,
            availability_zone=zone,
            cidr_block=settings.public(index),
            # Only NAT gateways and load balancers are in it, and they bring addresses of their own.
            map_public_ip_on_launch=False,
            tags=named(f"public-{zone}", **shared, **{"kubernetes.io/role/elb": "1"}),
            opts=opts,
        )
        association = ec2.RouteTableAssociation(
            f"{name}-public-{zone}", subnet_id=public.id, route_table_id=public_table.id, opts=opts
        )
        private = ec2.Subnet(
            f"{name}-private-{zone}",
            vpc_id=vpc.id,
            availability_zone=zone,
            cidr_block=settings.private(index),
            map_public_ip_on_launch=False,
            tags=named(f"private-{zone}", **shared, **{"kubernetes.io/role/internal-elb": "1"}),
            opts=opts,
        )
        if settings.nat_per_zone or not gateways:
            address = ec2.Eip(
                f"{name}-nat-{zone}", domain="vpc", tags=named(f"nat-{zone}"), opts=after(internet)
            )
            gateways.append(
                ec2.NatGateway(
                    f"{name}-nat-{zone}",
                    subnet_id=public.id,
                    allocation_id=address.allocation_id,
                    tags=named(f"nat-{zone}"),
                    opts=after(out, association),
                )
            )
        table = ec2.RouteTable(
            f"{name}-private-{zone}", vpc_id=vpc.id, tags=named(f"private-{zone}"), opts=opts
        )
        ready += [
            association,
            ec2.Route(
                f"{name}-private-{zone}-out",
                route_table_id=table.id,
                destination_cidr_block="0.0.0.0/0",
                nat_gateway_id=gateways[-1].id,
                opts=opts,
            ),
            ec2.RouteTableAssociation(
                f"{name}-private-{zone}", subnet_id=private.id, route_table_id=table.id, opts=opts
            ),
        ]
        private_ids.append(private.id)
        private_tables.append(table.id)
    ready += _endpoints(name, settings, vpc, place, (private_ids, private_tables), tags, opts)
    return Vpc(private_ids=private_ids, ready=ready)


def _endpoints(  # noqa: PLR0917 - what an endpoint is made of
    name: str,
    settings: VpcSettings,
    vpc: ec2.Vpc,
    place: Place,
    private: tuple[Sequence[pulumi.Output[str]], Sequence[pulumi.Output[str]]],
    tags: pulumi.Input[Mapping[str, str]],
    opts: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    subnets, tables = private
    made: list[pulumi.Resource] = []

    def service(endpoint: str) -> pulumi.Output[str]:
        return pulumi.Output.concat("com.amazonaws.", place.region, ".", endpoint)

    if "s3" in settings.endpoints:
        made.append(
            ec2.VpcEndpoint(
                f"{name}-endpoint-s3",
                vpc_id=vpc.id,
                service_name=service("s3"),
                vpc_endpoint_type="Gateway",
                route_table_ids=[*tables],
                tags=tagged(tags, Name=f"{name}-s3"),
                opts=opts,
            )
        )
    interfaces = [one for one in settings.endpoints if one != "s3"]
    if not interfaces:
        return made
    group = ec2.SecurityGroup(
        f"{name}-endpoints",
        description="HTTPS from the VPC to AWS services",
        vpc_id=vpc.id,
        ingress=[
            ec2.SecurityGroupIngressArgs(
                protocol="tcp",
                from_port=443,
                to_port=443,
                cidr_blocks=[settings.cidr],
                description="HTTPS from the VPC",
            )
        ],
        tags=tagged(tags, Name=f"{name}-endpoints"),
        opts=opts,
    )
    made += [
        ec2.VpcEndpoint(
            f"{name}-endpoint-{one.replace('.', '-')}",
            vpc_id=vpc.id,
            service_name=service(one),
            vpc_endpoint_type="Interface",
            subnet_ids=[*subnets],
            security_group_ids=[group.id],
            private_dns_enabled=True,
            tags=tagged(tags, Name=f"{name}-{one}"),
            opts=opts,
        )
        for one in interfaces
    ]
    return made
