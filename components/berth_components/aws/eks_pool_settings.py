"""Reading the args of `EksNodePool`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from berth_catalogue.errors import CatalogueError
from berth_catalogue.machines import choose, machine

from berth_components import checks
from berth_components.arguments import Arguments
from berth_components.aws import checks as aws_checks
from berth_components.aws.eks_node_pool_args import ReservationArgs
from berth_components.aws.eks_settings import SCALING
from berth_components.aws.shared import needed, needed_input
from berth_components.node_pools import PoolSpec

_ONLY_MANAGED = ("update_strategy", "node_repair", "kubernetes_version", "ami_release", "tags")
_ONLY_AUTO = ("security_group_ids", "expire_after_hours")


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """The args of an `EksNodePool` besides those of every pool, checked."""

    auto_mode: bool
    machine_type: str
    cluster: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_ids: pulumi.Input[Sequence[str]]
    disk_size_gib: pulumi.Input[int]
    volume_key_arn: pulumi.Input[str] | None
    reservation: tuple[str, pulumi.Input[str]] | None
    max_unavailable: int
    surge: bool
    node_repair: bool
    kubernetes_version: pulumi.Input[str] | None
    ami_release: pulumi.Input[str] | None
    expire_after_hours: int
    tags: pulumi.Input[Mapping[str, str]]


def read(given: Arguments, spec: PoolSpec) -> PoolSettings:
    """Check the args of an `EksNodePool`.

    Raises:
        ArgumentError: one is missing, not allowed, or contradicts another.
    """
    auto_mode = given.plain("scaling", checks.choice(*SCALING), SCALING[0]) == SCALING[1]
    for key in _ONLY_MANAGED if auto_mode else _ONLY_AUTO:
        if key in given:
            raise given.refuse(
                key,
                "given",
                f"only with scaling {SCALING[0] if auto_mode else SCALING[1]}",
                "Auto Mode does this by itself" if auto_mode else "remove it",
            )
    if auto_mode and spec.min_nodes:
        raise given.refuse(
            "min_nodes",
            spec.min_nodes,
            "0 with scaling auto-mode",
            "Auto Mode adds nodes when pods ask for them; keep a replica running instead",
        )
    _check_taints(given, spec)
    groups = aws_checks.ids(aws_checks.security_group_id)
    strategies = checks.choice("surge", "minimal")
    none: Sequence[str] = ()
    untagged: Mapping[str, str] = {}
    return PoolSettings(
        auto_mode=auto_mode,
        machine_type=_machine_type(given, spec),
        cluster=needed_input(given, "cluster_name", aws_checks.cluster_name),
        role_arn=needed_input(given, "node_role_arn", aws_checks.role_arn),
        subnet_ids=needed_input(given, "subnet_ids", aws_checks.ids(aws_checks.subnet_id)),
        security_group_ids=needed_input(given, "security_group_ids", groups) if auto_mode else none,
        disk_size_gib=given.read("disk_size_gib", checks.whole_number(50, 16384, "GiB"), 200),
        volume_key_arn=given.maybe("volume_key_arn", aws_checks.key_arn),
        reservation=_reservation(given, spec),
        max_unavailable=given.plain("max_unavailable", checks.whole_number(1, 100, "nodes"), 1),
        surge=given.plain("update_strategy", strategies, "surge") == "surge",
        node_repair=given.plain("node_repair", checks.boolean, default=True),
        kubernetes_version=given.maybe("kubernetes_version", aws_checks.kubernetes_version),
        ami_release=given.maybe("ami_release", _ami_release),
        expire_after_hours=given.plain("expire_after_hours", checks.whole_number(1, 504, "hours"), 336),
        tags=given.read("tags", aws_checks.tags, untagged),
    )


def _check_taints(given: Arguments, spec: PoolSpec) -> None:
    """EKS refuses a second taint of the same key and effect, after the cluster has been made."""
    key, _, effect = spec.accelerator.taint
    seen = {(key, effect)}
    for taint in spec.taints:
        one = (taint["key"], taint["effect"])
        if one in seen:
            own = "the accelerator's own is always there" if one == (key, effect) else "name each once"
            raise given.refuse("taints", f"{one[0]}:{one[1]} twice", "different keys or effects", own)
        seen.add(one)


def _machine_type(given: Arguments, spec: PoolSpec) -> str:
    key, count = spec.accelerator.key, spec.per_node
    if "machine_type" not in given:
        try:
            return choose("aws", key, count).name
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
    return name


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


def _ami_release(value: object) -> str:
    return checks.text(
        r"1\.[1-9][0-9]\.[0-9]+-[0-9]{8}", "a release of EKS' machine images, such as 1.34.1-20251007"
    )(value)
