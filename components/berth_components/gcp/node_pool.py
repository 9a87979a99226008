"""A pool of GPU or TPU nodes on Google Cloud."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from berth_catalogue.accelerators import accelerator
from berth_catalogue.capacity import TYPES as CAPACITY_TYPES
from berth_catalogue.machines import DATA_DATE, Machine, machines, offered
from pulumi_gcp import container

from berth_components import checks
from berth_components.arguments import ArgumentError, Arguments, combine
from berth_components.gcp import checks as gcp_checks
from berth_components.gcp.cluster_settings import initial_per_zone, read_zones
from berth_components.gcp.node_config import CRITICAL_PODS_SECONDS, node_config
from berth_components.gcp.node_pool_args import GkeNodePoolArgs, GkeUpgradeArgs
from berth_components.gcp.shared import needed, needed_input, require_google
from berth_components.gcp.storage import HYPERDISK, ONLY_HYPERDISK
from berth_components.node_pools import NodePool, PoolSpec, read_pool

GROUND = "gcp"
_DRIVERS = {"default": "DEFAULT", "latest": "LATEST", "disabled": "INSTALLATION_DISABLED"}
_EFFECTS = {"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}
_DISKS = ("pd-balanced", "pd-ssd", "hyperdisk-balanced")
# Families by what disks they take besides `ONLY_HYPERDISK`: v5e only balanced persistent disks (Cloud TPU,
# "Attach durable block storage to a TPU VM").
_ONLY_BALANCED = ("ct5lp-",)
# Families whose number of local SSDs is ours to choose; the others have a fixed one.
_CHOSEN_SSDS = ("g2-", "a2-highgpu-")
_RESERVATION_KEY = "compute.googleapis.com/reservation-name"
_LONGEST_NAME = 27


@dataclass(frozen=True)
class _Upgrade:
    strategy: str
    max_surge: pulumi.Input[int] | None
    max_unavailable: pulumi.Input[int] | None
    blue_green: container.NodePoolUpgradeSettingsBlueGreenSettingsArgs | None


class GkeNodePool(NodePool):
    """Nodes with accelerators, added when a pod needs one and taken away when none does.

    Its nodes carry the label berth.dev/pool=<the component's name>. GKE labels them with their accelerator
    and installs driver and device plugin. A change that needs new nodes (machine, accelerator, disk) makes
    a new pool first and deletes the old one after it, within the disruption budgets of its pods.

    Attributes:
        pod_grace_seconds: of spot nodes, what a pod gets to end once Google takes its node; else None.
        storage_class: what volumes of its pods need where the machine takes no persistent disks, which GKE's
            default storage class makes; else None. Clusters that `GkeCluster` makes have it.
    """

    name: pulumi.Output[str]
    """The pool's name in Google Cloud."""
    machine_type: pulumi.Output[str]
    """Its machine type."""

    def __init__(self, name: str, args: GkeNodePoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        who = f"GkeNodePool '{name}'"
        given = Arguments(who, args, GkeNodePoolArgs)
        location = needed(given, "location", gcp_checks.location)
        chosen = _machine(given, gcp_checks.region_of(location))
        spec = read_pool(given, name, node_selector=_tpu_labels(chosen))
        if len(name) > _LONGEST_NAME:
            allowed = f"at most {_LONGEST_NAME} characters: GKE's limit is 40, and Pulumi adds 13"
            raise ArgumentError(who, "name", f"is {name!r}", allowed, "rename the pool")
        zones = _zones(given, chosen, location)
        grace = _grace(given, spec)
        config = _config(given, spec, chosen, grace)
        upgrade = _upgrade(given.group("upgrade", GkeUpgradeArgs), spec)
        spread = "BALANCED" if spec.capacity_type == "on-demand" else "ANY"
        policy = given.plain("location_policy", checks.choice("any", "balanced"), spread.lower()).upper()
        cluster = needed_input(given, "cluster", checks.plain_text)
        project = needed_input(given, "project", gcp_checks.project_id)
        max_pods = given.read("max_pods", checks.whole_number(16, 256, "pods"), 64)
        super().__init__("berth:gcp:GkeNodePool", name, spec, opts)
        require_google(self, who)
        pool = container.NodePool(
            # No name of our own: Pulumi's has a random end, so that a successor can stand beside it.
            f"{name}-pool",
            cluster=cluster,
            project=project,
            location=location,
            node_locations=list(zones),
            initial_node_count=initial_per_zone(spec.min_nodes, spec.max_nodes, len(zones)),
            autoscaling=container.NodePoolAutoscalingArgs(
                # In total, since limits per zone would multiply by the zones, and the bill with them.
                total_min_node_count=spec.min_nodes,
                total_max_node_count=spec.max_nodes,
                location_policy=policy,
            ),
            # Both are what a release channel demands.
            management=container.NodePoolManagementArgs(auto_repair=True, auto_upgrade=True),
            upgrade_settings=container.NodePoolUpgradeSettingsArgs(
                strategy=upgrade.strategy,
                max_surge=upgrade.max_surge,
                max_unavailable=upgrade.max_unavailable,
                blue_green_settings=upgrade.blue_green,
            ),
            # Without it a deleted pool takes its pods along at once. Timeouts of one's own are refused by
            # Google for projects that its support has not enabled for them.
            node_drain_configs=[
                container.NodePoolNodeDrainConfigArgs(respect_pdb_during_node_pool_deletion=True)
            ],
            max_pods_per_node=max_pods,
            network_config=container.NodePoolNetworkConfigArgs(enable_private_nodes=True),
            node_config=config,
            opts=pulumi.ResourceOptions(
                parent=self,
                # The autoscaler owns the number of nodes.
                ignore_changes=["initialNodeCount", "nodeCount"],
                custom_timeouts=pulumi.CustomTimeouts(create="60m", update="120m", delete="120m"),
            ),
        )
        self.pod_grace_seconds: int | None = grace - CRITICAL_PODS_SECONDS if grace else None
        self.storage_class: str | None = HYPERDISK if chosen.name.startswith(ONLY_HYPERDISK) else None
        self.name = pool.name
        self.machine_type = pulumi.Output.from_input(chosen.name)
        self.finish(name=self.name, machineType=self.machine_type)


def _machine(given: Arguments, region: str) -> Machine:
    """The machine that was named, or the smallest that fits and that the region offers."""
    # The pool's own checks follow; here they only have to be fit for a look into the catalogue.
    wanted = needed(given, "accelerator", checks.plain_text)
    per_node = needed(given, "accelerators_per_node", checks.whole_number(1, 16, "accelerators"))
    bought = given.plain("capacity_type", checks.choice(*CAPACITY_TYPES), CAPACITY_TYPES[0])
    alike = [
        one for one in machines(GROUND).values() if one.accelerator == wanted and one.accelerators == per_node
    ]
    if not alike:
        raise _not_there(given, wanted, per_node)
    if "machine_type" in given:
        name = needed(given, "machine_type", gcp_checks.machine_type)
        named = [one for one in alike if one.name == name]
        if not named:
            names = ", ".join(one.name for one in alike)
            raise given.refuse(
                "machine_type", repr(name), f"a machine with {per_node} x {wanted}: {names}", _of(name)
            )
        alike = named
    sold = [one for one in alike if bought in one.capacity_types]
    if not sold:
        ways = sorted({way for one in alike for way in one.capacity_types})
        raise given.refuse(
            "capacity_type",
            repr(bought),
            f"{', '.join(ways)}, as {', '.join(one.name for one in alike)} is sold",
            f"by the catalogue, of {DATA_DATE}",
        )
    there = [one for one in sold if offered(one, region) != ()]
    return min(there or sold, key=lambda one: (one.vcpus, one.memory_gib, one.name))


def _not_there(given: Arguments, wanted: str, per_node: int) -> ArgumentError:
    kinds = sorted({one.accelerator for one in machines(GROUND).values()})
    counts = sorted({one.accelerators for one in machines(GROUND).values() if one.accelerator == wanted})
    if counts:
        allowed = f"one of {', '.join(map(str, counts))}: no machine has exactly {per_node} x {wanted}"
        return given.refuse("accelerators_per_node", per_node, allowed)
    near = difflib.get_close_matches(wanted, kinds, n=1)
    return given.refuse(
        "accelerator",
        repr(wanted),
        f"one of {', '.join(kinds)}",
        f"did you mean '{near[0]}'?" if near else "Google Cloud has no other that the catalogue knows",
    )


def _of(name: str) -> str:
    found = machines(GROUND).get(name)
    if found is None:
        return f"the catalogue, of {DATA_DATE}, does not know it"
    return f"it has {found.accelerators} x {found.accelerator}"


def _tpu_labels(chosen: Machine) -> dict[str, str]:
    """What GKE labels TPU nodes with; it refuses TPU pods that do not select both."""
    tpu = accelerator(chosen.accelerator).gke_tpu
    if tpu is None or chosen.tpu_topology is None:
        return {}
    return {
        "cloud.google.com/gke-tpu-accelerator": tpu,
        "cloud.google.com/gke-tpu-topology": chosen.tpu_topology,
    }


def _zones(given: Arguments, chosen: Machine, location: str) -> Sequence[str]:
    region = gcp_checks.region_of(location)
    there = offered(chosen, region)
    if there == ():
        regions = ", ".join(sorted(chosen.zones or {}))
        raise given.refuse(
            "location",
            repr(location),
            f"a place that offers {chosen.name}: {regions}",
            f"the catalogue, of {DATA_DATE}, knows no zone of {region} that does",
        )
    if "zones" in given:
        zones: Sequence[str] = read_zones(given, location)
    elif gcp_checks.is_zone(location):
        zones = [location]
    elif there:
        return there
    else:
        raise given.refuse(
            "zones",
            "missing",
            f"the zones of {region} that offer {chosen.name}",
            f"the catalogue, of {DATA_DATE}, does not say; ask: gcloud compute machine-types list "
            f"--filter=name={chosen.name}",
        )
    missing = [zone for zone in zones if there is not None and zone not in there]
    if missing:
        raise given.refuse(
            "zones" if "zones" in given else "location",
            ", ".join(missing),
            f"zones of {region} that offer {chosen.name}: {', '.join(there or ())}",
            f"these are the catalogue's, of {DATA_DATE}",
        )
    return zones


def _grace(given: Arguments, spec: PoolSpec) -> int | None:
    if spec.capacity_type != "spot":
        if "spot_grace_seconds" in given:
            raise given.refuse(
                "spot_grace_seconds",
                "given",
                "only with capacity_type spot",
                f"other nodes are drained, for up to an hour; this pool is {spec.capacity_type}",
            )
        return None
    grace = given.plain("spot_grace_seconds", checks.whole_number(30, 120, "seconds"), 30)
    if grace not in {30, 120}:
        raise given.refuse("spot_grace_seconds", grace, "30 or 120", "GKE knows no other")
    return grace


def _config(
    given: Arguments, spec: PoolSpec, chosen: Machine, grace: int | None
) -> container.NodePoolNodeConfigArgs:
    return node_config(
        machine_type=chosen.name,
        service_account=needed_input(given, "service_account", gcp_checks.account_email),
        disk_size_gb=given.read("disk_size_gb", checks.whole_number(50, 65536, "GB"), 200),
        disk_type=_disk_type(given, chosen),
        boot_disk_kms_key=given.maybe("boot_disk_kms_key", gcp_checks.kms_key),
        secure_boot=given.read("secure_boot", checks.boolean, default=True),
        labels=spec.labels,
        taints=_taints(spec) or None,
        spot=True if spec.capacity_type == "spot" else None,
        # 30 seconds are Google's own: left out, older versions of GKE take the pool as well.
        shutdown_grace_seconds=grace if grace != 30 else None,  # noqa: PLR2004
        guest_accelerators=_accelerators(given, spec),
        reservation=_reservation(given, spec),
        local_ssds=_local_ssds(given, chosen),
        image_streaming=given.maybe("image_streaming", checks.boolean),
    )


def _disk_type(given: Arguments, chosen: Machine) -> str:
    allowed: Sequence[str] = _DISKS
    if chosen.name.startswith(ONLY_HYPERDISK):
        allowed = ("hyperdisk-balanced",)
    elif chosen.name.startswith(_ONLY_BALANCED):
        allowed = ("pd-balanced",)
    found = given.plain("disk_type", checks.choice(*_DISKS), allowed[0])
    if found not in allowed:
        raise given.refuse("disk_type", repr(found), ", ".join(allowed), f"{chosen.name} boots from no other")
    return found


def _taints(spec: PoolSpec) -> Sequence[container.NodePoolNodeConfigTaintArgs]:
    taints = [(one["key"], one.get("value", ""), one["effect"]) for one in spec.taints]
    # GKE puts this very taint on GPU nodes itself, but only where the cluster had other nodes before (and
    # never later); said here as well it is always there, and is the same one. TPU nodes always have theirs.
    if spec.accelerator.vendor == "nvidia":
        taints.insert(0, spec.accelerator.taint)
    return [
        container.NodePoolNodeConfigTaintArgs(key=key, value=value, effect=_EFFECTS[effect])
        for key, value, effect in taints
    ]


def _accelerators(
    given: Arguments, spec: PoolSpec
) -> Sequence[container.NodePoolNodeConfigGuestAcceleratorArgs] | None:
    kind = spec.accelerator.gke_accelerator
    if kind is None:
        if "driver" in given:
            raise given.refuse(
                "driver", "given", "only for GPUs", "a TPU's driver is part of the node's image"
            )
        return None
    driver = given.plain("driver", checks.choice(*_DRIVERS), "default")
    return [
        container.NodePoolNodeConfigGuestAcceleratorArgs(
            type=kind,
            count=spec.per_node,
            gpu_driver_installation_config=(
                container.NodePoolNodeConfigGuestAcceleratorGpuDriverInstallationConfigArgs(
                    gpu_driver_version=_DRIVERS[driver]
                )
            ),
        )
    ]


def _reservation(
    given: Arguments, spec: PoolSpec
) -> container.NodePoolNodeConfigReservationAffinityArgs | None:
    name = checks.text(
        r"(projects/[^/]+/reservations/)?[a-z]([-a-z0-9]{0,61}[a-z0-9])?",
        "a reservation's name, or projects/<project>/reservations/<name>",
    )
    if spec.capacity_type == "reserved":
        return container.NodePoolNodeConfigReservationAffinityArgs(
            consume_reservation_type="SPECIFIC_RESERVATION",
            key=_RESERVATION_KEY,
            values=[needed(given, "reservation", name)],
        )
    if "reservation" in given:
        raise given.refuse(
            "reservation",
            "given",
            "only with capacity_type reserved",
            f"this pool is {spec.capacity_type} and would not use it",
        )
    # On-demand nodes use what open reservations the project has, as Compute Engine's own default is.
    return None


def _local_ssds(given: Arguments, chosen: Machine) -> pulumi.Input[int] | None:
    if "local_ssds" not in given:
        return None
    if not chosen.name.startswith(_CHOSEN_SSDS):
        raise given.refuse(
            "local_ssds", "given", "only for g2 and a2-highgpu machines", f"{chosen.name} has a fixed number"
        )
    return needed_input(given, "local_ssds", checks.whole_number(1, 16, "disks of 375 GB"))


def _upgrade(given: Arguments, spec: PoolSpec) -> _Upgrade:
    strategy = given.plain("strategy", checks.choice("surge", "blue-green"), "surge")
    surge, blue = ("max_surge", "max_unavailable"), ("batch_nodes", "batch_soak_seconds", "soak_seconds")
    for key in blue if strategy == "surge" else surge:
        if key in given:
            other = "blue-green" if strategy == "surge" else "surge"
            raise given.refuse(key, "given", f"only with strategy {other}", f"the strategy is {strategy}")
    soak = checks.whole_number(0, 604_800, "seconds")
    if strategy == "blue-green":
        return _Upgrade(
            "BLUE_GREEN",
            None,
            None,
            container.NodePoolUpgradeSettingsBlueGreenSettingsArgs(
                standard_rollout_policy=container.NodePoolUpgradeSettingsBlueGreenSettingsStandardRolloutPolicyArgs(
                    batch_node_count=given.read("batch_nodes", checks.whole_number(1, 100, "nodes"), 1),
                    batch_soak_duration=combine(_seconds, given.read("batch_soak_seconds", soak, 300)),
                ),
                node_pool_soak_duration=combine(_seconds, given.read("soak_seconds", soak, 3600)),
            ),
        )
    reserved = spec.capacity_type == "reserved"
    nodes = checks.whole_number(0, 20, "nodes")
    more = given.read("max_surge", nodes, 0 if reserved else 1)

    def moves(more: int, fewer: int) -> int:
        if not more and not fewer:
            raise given.refuse(
                "max_unavailable", 0, "above 0 where max_surge is 0", "no node could be replaced"
            )
        if more + fewer > 20:  # noqa: PLR2004 - GKE's limit
            raise given.refuse("max_unavailable", fewer, f"at most {20 - more}, 20 together with max_surge")
        return fewer

    fewer = combine(moves, more, given.read("max_unavailable", nodes, 1 if reserved else 0))
    return _Upgrade("SURGE", more, fewer, None)


def _seconds(value: int) -> str:
    return f"{value}s"
