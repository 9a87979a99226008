"""Reading the args of `EksCluster`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from berth_components import checks
from berth_components.arguments import Arguments
from berth_components.aws import checks as aws_checks
from berth_components.aws.eks_args import SystemNodesArgs, VpcArgs
from berth_components.aws.eks_vpc import VpcSettings, read_vpc
from berth_components.aws.shared import needed, needed_input

SCALING = ("cluster-autoscaler", "auto-mode")
EARLY_ADDONS = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")
"""Add-ons without which no node gets ready."""
OWN_ADDONS = (*EARLY_ADDONS, "coredns", "aws-ebs-csi-driver", "eks-node-monitoring-agent")
"""Add-ons that a cluster with managed node groups needs; Auto Mode runs their like outside the cluster."""
COMMON_ADDONS = ("metrics-server",)
"""Add-ons that every cluster needs: without it no HPA on CPU works."""
_WITH_EXISTING = frozenset({"name", "existing", "scaling", "node_role_arn"})
_MAX_SYSTEM_NODES = 100


@dataclass(frozen=True, kw_only=True)
class SystemNodes:
    """`SystemNodesArgs`, checked."""

    machine_type: str
    min_nodes: int
    max_nodes: int
    disk_size_gib: pulumi.Input[int]


@dataclass(frozen=True, kw_only=True)
class NewCluster:
    """What a cluster that is made here is like."""

    version: pulumi.Input[str]
    support: pulumi.Input[str]
    vpc: VpcSettings | None
    subnet_ids: pulumi.Input[Sequence[str]] | None
    public_cidrs: Sequence[str]
    admin_arns: Sequence[str]
    secrets_key_arn: pulumi.Input[str] | None
    log_retention_days: pulumi.Input[int]
    deletion_protection: pulumi.Input[bool]
    addon_versions: Mapping[str, str]
    system_nodes: SystemNodes | None
    tags: pulumi.Input[Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class EksSettings:
    """The args of an `EksCluster`, checked; `new` is None for one that exists."""

    name: str
    auto_mode: bool
    node_role_arn: pulumi.Input[str] | None
    new: NewCluster | None


def read(given: Arguments, keys: Sequence[str], component: str) -> EksSettings:
    """Check the args of an `EksCluster`.

    Args:
        given: the args.
        keys: all that there are.
        component: the component's name, which is the cluster's default.

    Raises:
        ArgumentError: one is unknown, missing, not allowed, or contradicts another.
    """
    existing = given.plain("existing", checks.boolean, default=False)
    auto_mode = given.plain("scaling", checks.choice(*SCALING), SCALING[0]) == SCALING[1]
    if existing:
        for key in keys:
            if key in given and key not in _WITH_EXISTING:
                raise given.refuse(
                    key, "given", "only for a cluster that is made here", "the existing one is left as it is"
                )
    return EksSettings(
        name=given.plain("name", aws_checks.cluster_name, component),
        auto_mode=auto_mode,
        node_role_arn=given.maybe("node_role_arn", aws_checks.role_arn),
        new=None if existing else _new(given, auto_mode=auto_mode),
    )


def _new(given: Arguments, *, auto_mode: bool) -> NewCluster:
    if ("vpc" in given) == ("subnet_ids" in given):
        raise given.refuse(
            "vpc",
            "given besides subnet_ids" if "vpc" in given else "missing, and so is subnet_ids",
            "exactly one of vpc and subnet_ids",
        )
    subnets = aws_checks.ids(aws_checks.subnet_id, at_least=2)
    nobody: Mapping[str, str] = {}
    none: Sequence[str] = ()
    return NewCluster(
        version=needed_input(given, "version", aws_checks.kubernetes_version),
        support=given.read("support", checks.choice("extended", "standard"), "extended"),
        vpc=read_vpc(given.group("vpc", VpcArgs)) if "vpc" in given else None,
        subnet_ids=given.maybe("subnet_ids", subnets),
        public_cidrs=given.plain("public_cidrs", aws_checks.public_ranges, none),
        admin_arns=needed(given, "admin_arns", aws_checks.ids(aws_checks.principal_arn)),
        secrets_key_arn=given.maybe("secrets_key_arn", aws_checks.key_arn),
        log_retention_days=given.read("log_retention_days", aws_checks.retention, 90),
        deletion_protection=given.read("deletion_protection", checks.boolean, default=True),
        addon_versions=_addons(given, auto_mode=auto_mode),
        system_nodes=_system_nodes(given, auto_mode=auto_mode),
        tags=given.read("tags", aws_checks.tags, nobody),
    )


def _addons(given: Arguments, *, auto_mode: bool) -> Mapping[str, str]:
    names = COMMON_ADDONS if auto_mode else (*OWN_ADDONS, *COMMON_ADDONS)
    nothing: Mapping[str, str] = {}
    found = given.plain(
        "addon_versions",
        checks.mapping_of(checks.choice(*OWN_ADDONS, *COMMON_ADDONS), aws_checks.addon_version),
        nothing,
    )
    for one in found:
        if one not in names:
            raise given.refuse(
                f"addon_versions.{one}", found[one], ", ".join(names), "Auto Mode runs this itself; remove it"
            )
    return found


def _system_nodes(given: Arguments, *, auto_mode: bool) -> SystemNodes | None:
    if auto_mode:
        if "system_nodes" in given:
            raise given.refuse(
                "system_nodes", "given", "only with scaling cluster-autoscaler", "Auto Mode makes them itself"
            )
        return None
    group = given.group("system_nodes", SystemNodesArgs)
    count = checks.whole_number(1, _MAX_SYSTEM_NODES, "nodes")
    least, most = group.plain("min_nodes", count, 2), group.plain("max_nodes", count, 6)
    if least > most:
        raise group.refuse("min_nodes", least, f"at most max_nodes, {most}")
    return SystemNodes(
        machine_type=group.plain("machine_type", aws_checks.machine_type, "m6i.large"),
        min_nodes=least,
        max_nodes=most,
        disk_size_gib=group.read("disk_size_gib", checks.whole_number(20, 16384, "GiB"), 50),
    )
