"""What a pool of accelerator nodes on Google Cloud is made of, and that every argument changes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args, is_typeddict

import pulumi
import pytest
from berth_catalogue.machines import machines
from berth_components.gcp import GkeNodePool, GkeNodePoolArgs

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
PROJECT, REGION = "models-prod-1", "europe-west4"
KEY = f"projects/{PROJECT}/locations/{REGION}/keyRings/ours/cryptoKeys/disks"
RESERVED = {"capacity_type": "reserved", "reservation": "l4-2026"}
SPOT = {"capacity_type": "spot"}
BLUE = {"upgrade.strategy": "blue-green"}
UNCHANGED: dict[str, str] = {}

# Every argument: another value, what else it needs to matter.
OTHER: dict[str, tuple[Any, Json]] = {
    "accelerator": ("nvidia-a100-40gb", {}),
    "accelerators_per_node": (2, {}),
    "max_nodes": (8, {}),
    "min_nodes": (1, {}),
    "capacity_type": ("spot", {}),
    "labels": ({"team": "search"}, {}),
    "taints.key": (
        [{"key": "b", "effect": "NoSchedule"}],
        {"taints": [{"key": "a", "effect": "NoSchedule"}]},
    ),
    "taints.value": (
        [{"key": "a", "value": "2", "effect": "NoSchedule"}],
        {"taints": [{"key": "a", "value": "1", "effect": "NoSchedule"}]},
    ),
    "taints.effect": (
        [{"key": "a", "effect": "NoExecute"}],
        {"taints": [{"key": "a", "effect": "NoSchedule"}]},
    ),
    "taints": ([{"key": "a", "effect": "PreferNoSchedule"}], {}),
    "cluster": ("other", {}),
    "project": ("models-prod-2", {}),
    "location": ("us-central1", {}),
    "service_account": (f"other@{PROJECT}.iam.gserviceaccount.com", {}),
    "machine_type": ("g2-standard-16", {}),
    "zones": (["europe-west4-b"], {}),
    "reservation": ("l4-2027", RESERVED),
    "location_policy": ("any", {}),
    "driver": ("latest", {}),
    "disk_size_gb": (300, {}),
    "disk_type": ("pd-ssd", {}),
    "boot_disk_kms_key": (KEY, {}),
    "local_ssds": (1, {}),
    "image_streaming": (True, {}),
    "secure_boot": (False, {}),
    "max_pods": (32, {}),
    "spot_grace_seconds": (120, SPOT),
    "upgrade.strategy": ("blue-green", {}),
    "upgrade.max_surge": (2, {}),
    "upgrade.max_unavailable": (1, {}),
    "upgrade.batch_nodes": (2, BLUE),
    "upgrade.batch_soak_seconds": (60, BLUE),
    "upgrade.soak_seconds": (60, BLUE),
}


def _groups(hint: Any) -> list[type]:
    if is_typeddict(hint):
        return [hint]
    return [found for one in get_args(hint) for found in _groups(one)]


def _paths(accepted: type, prefix: str = "") -> set[str]:
    found = set()
    for key, hint in accepted.__annotations__.items():
        groups = _groups(hint)
        for group in groups:
            found |= _paths(group, f"{prefix}{key}.")
        if not groups or "Sequence" in str(hint):
            found.add(f"{prefix}{key}")
    return found


def test_every_argument_is_tried() -> None:
    assert _paths(GkeNodePoolArgs) == set(OTHER)


@pytest.mark.parametrize("path", OTHER)
def test_every_argument_changes_a_resource(pool: Callable[..., Any], path: str) -> None:
    value, needs = OTHER[path]
    place = "taints" if path.startswith("taints") else path
    before = json.dumps(needs, sort_keys=True)
    if before not in UNCHANGED:
        UNCHANGED[before] = pool(needs).flat()
    assert pool({**needs, place: value}).flat() != UNCHANGED[before]


def test_baseline(pool: Callable[..., Any]) -> None:
    found = pool().pool("l4-pool")
    nodes = found["nodeConfig"]
    assert nodes["machineType"] == "g2-standard-4"
    assert nodes["imageType"] == "COS_CONTAINERD"
    assert nodes["gvnic"] == {"enabled": True}
    assert nodes["shieldedInstanceConfig"] == {"enableSecureBoot": True, "enableIntegrityMonitoring": True}
    assert nodes["workloadMetadataConfig"] == {"mode": "GKE_METADATA"}
    assert nodes["metadata"] == {"disable-legacy-endpoints": "true"}
    assert nodes["kubeletConfig"] == {"insecureKubeletReadonlyPortEnabled": "FALSE"}
    assert nodes["labels"] == {"berth.dev/pool": "l4"}
    assert nodes["guestAccelerators"] == [
        {"type": "nvidia-l4", "count": 1, "gpuDriverInstallationConfig": {"gpuDriverVersion": "DEFAULT"}}
    ]
    assert "spot" not in nodes
    assert "reservationAffinity" not in nodes
    assert found["networkConfig"] == {"enablePrivateNodes": True}
    assert found["management"] == {"autoRepair": True, "autoUpgrade": True}
    assert found["nodeDrainConfigs"] == [{"respectPdbDuringNodePoolDeletion": True}]
    # A successor must be able to stand beside it, so the name is Pulumi's.
    assert "name" not in found
    assert "nodeCount" not in found


def test_it_scales_from_zero_and_counts_all_zones_together(pool: Callable[..., Any]) -> None:
    found = pool().pool("l4-pool")
    assert found["initialNodeCount"] == 0
    assert found["autoscaling"] == {
        "totalMinNodeCount": 0,
        "totalMaxNodeCount": 4,
        "locationPolicy": "BALANCED",
    }
    # Every zone of the region that offers the machine, by the catalogue.
    offered = machines("gcp")["g2-standard-4"].zones
    assert offered is not None
    assert found["nodeLocations"] == list(offered[REGION])


@pytest.mark.parametrize(
    ("least", "most", "zones", "initial"),
    [(3, 6, "abc", 1), (4, 6, "abc", 2), (4, 5, "abc", 1), (1, 1, "abc", 0), (2, 2, "a", 2)],
)
def test_it_begins_with_what_google_accepts(
    pool: Callable[..., Any], least: int, most: int, zones: str, initial: int
) -> None:
    """Google makes the same number in each zone, and refuses more than the maximum."""
    names = [f"{REGION}-{letter}" for letter in zones]
    found = pool({"min_nodes": least, "max_nodes": most, "zones": names}).pool("l4-pool")
    assert found["initialNodeCount"] == initial


def test_the_gpus_own_taint_is_always_there(pool: Callable[..., Any]) -> None:
    """GKE adds it only where the cluster had other nodes before; said here it is the same one."""
    more = {"taints": [{"key": "team", "value": "search", "effect": "NoExecute"}]}
    assert pool(more).pool("l4-pool")["nodeConfig"]["taints"] == [
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"},
        {"key": "team", "value": "search", "effect": "NO_EXECUTE"},
    ]


def test_spot_goes_where_capacity_is(pool: Callable[..., Any]) -> None:
    found = pool({**SPOT, "spot_grace_seconds": 120}).pool("l4-pool")
    assert found["nodeConfig"]["spot"] is True
    assert found["autoscaling"]["locationPolicy"] == "ANY"
    assert found["nodeConfig"]["kubeletConfig"] == {
        "insecureKubeletReadonlyPortEnabled": "FALSE",
        "shutdownGracePeriodSeconds": 120,
        "shutdownGracePeriodCriticalPodsSeconds": 15,
    }


@pytest.mark.parametrize(
    ("changes", "seconds"), [({}, None), (SPOT, 15), ({**SPOT, "spot_grace_seconds": 120}, 105)]
)
def test_how_long_a_pod_gets_when_its_node_is_taken(
    plan: Callable[..., Any], changes: Json, seconds: int | None
) -> None:
    made = _made(plan, changes)
    assert made.pod_grace_seconds == seconds


def test_a_reservation_is_used_and_none_other(pool: Callable[..., Any]) -> None:
    found = pool(RESERVED).pool("l4-pool")
    assert found["nodeConfig"]["reservationAffinity"] == {
        "consumeReservationType": "SPECIFIC_RESERVATION",
        "key": "compute.googleapis.com/reservation-name",
        "values": ["l4-2026"],
    }
    # A reservation has no machine to spare for a surge.
    assert found["upgradeSettings"] == {"strategy": "SURGE", "maxSurge": 0, "maxUnavailable": 1}
    assert found["autoscaling"]["locationPolicy"] == "ANY"


def test_blue_green(pool: Callable[..., Any]) -> None:
    assert pool(BLUE).pool("l4-pool")["upgradeSettings"] == {
        "strategy": "BLUE_GREEN",
        "blueGreenSettings": {
            "standardRolloutPolicy": {"batchNodeCount": 1, "batchSoakDuration": "300s"},
            "nodePoolSoakDuration": "3600s",
        },
    }


@pytest.mark.parametrize(
    ("accelerator", "count", "machine", "kind", "disk", "way"),
    [
        ("nvidia-l4", 4, "g2-standard-48", "nvidia-l4", "pd-balanced", {}),
        ("nvidia-a100-40gb", 1, "a2-highgpu-1g", "nvidia-tesla-a100", "pd-balanced", {}),
        ("nvidia-a100-80gb", 1, "a2-ultragpu-1g", "nvidia-a100-80gb", "pd-balanced", {}),
        ("nvidia-h100-80gb", 8, "a3-highgpu-8g", "nvidia-h100-80gb", "pd-balanced", {}),
        ("nvidia-h200-141gb", 8, "a3-ultragpu-8g", "nvidia-h200-141gb", "hyperdisk-balanced", RESERVED),
    ],
)
def test_the_machine_of_each_gpu(  # noqa: PLR0917 - see PLR0913
    pool: Callable[..., Any], accelerator: str, count: int, machine: str, kind: str, disk: str, way: Json
) -> None:
    place = {"location": "us-central1"}
    asked = {**place, **way, "accelerator": accelerator, "accelerators_per_node": count}
    nodes = pool(asked).pool("l4-pool")["nodeConfig"]
    assert nodes["machineType"] == machine
    assert nodes["guestAccelerators"][0]["type"] == kind
    assert nodes["guestAccelerators"][0]["count"] == count
    assert nodes["diskType"] == disk


def _made(plan: Callable[..., Any], changes: Json, **how: bool) -> GkeNodePool:
    made: list[GkeNodePool] = []
    args: Any = {
        "cluster": "prod",
        "project": PROJECT,
        "location": REGION,
        "service_account": f"nodes@{PROJECT}.iam.gserviceaccount.com",
        "accelerator": "nvidia-l4",
        "accelerators_per_node": 1,
        "max_nodes": 4,
        **changes,
    }
    plan(lambda opts: made.append(GkeNodePool("l4", args, opts)), **how)
    return made[0]


TPUS = [
    ("google-tpu-v5e", 4, "ct5lp-hightpu-4t", "tpu-v5-lite-podslice", "2x2", "pd-balanced"),
    ("google-tpu-v5e", 1, "ct5lp-hightpu-1t", "tpu-v5-lite-podslice", "1x1", "pd-balanced"),
    ("google-tpu-v6e", 4, "ct6e-standard-4t", "tpu-v6e-slice", "2x2", "hyperdisk-balanced"),
    ("google-tpu-v6e", 8, "ct6e-standard-8t", "tpu-v6e-slice", "2x4", "hyperdisk-balanced"),
]


@pytest.mark.parametrize(("accelerator", "count", "machine", "label", "topology", "disk"), TPUS)
def test_single_host_tpus(  # noqa: PLR0917 - see PLR0913
    plan: Callable[..., Any], accelerator: str, count: int, machine: str, label: str, topology: str, disk: str
) -> None:
    seen: list[Any] = []
    zones = machines("gcp")[machine].zones
    assert zones is not None
    region = min(zones)

    def program(opts: pulumi.ResourceOptions) -> object:
        args: Any = {
            "cluster": "prod",
            "project": PROJECT,
            "location": region,
            "service_account": f"nodes@{PROJECT}.iam.gserviceaccount.com",
            "accelerator": accelerator,
            "accelerators_per_node": count,
            "max_nodes": 2,
        }
        made = GkeNodePool("tpu", args, opts)
        return pulumi.Output.all(
            made.node_selector, made.tolerations, made.resource_key, made.max_accelerators
        ).apply(seen.append)

    found = plan(program).pool("tpu-pool")
    nodes = found["nodeConfig"]
    assert nodes["machineType"] == machine
    assert nodes["diskType"] == disk
    # A TPU needs no driver, GKE taints its nodes itself, and a single host no placement.
    assert not {"guestAccelerators", "taints"} & nodes.keys()
    assert "placementPolicy" not in found
    selector, tolerations, resource, most = seen[0]
    assert selector == {
        "berth.dev/pool": "tpu",
        "cloud.google.com/gke-tpu-accelerator": label,
        "cloud.google.com/gke-tpu-topology": topology,
    }
    assert tolerations == [{"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert resource == "google.com/tpu"
    assert most == 2 * count


@pytest.mark.parametrize(
    ("changes", "storage_class"),
    [
        ({}, None),
        ({"accelerator": "nvidia-h100-80gb", "accelerators_per_node": 8}, None),
        (
            {"accelerator": "nvidia-h200-141gb", "accelerators_per_node": 8, **RESERVED},
            "berth-hyperdisk-balanced",
        ),
        ({"accelerator": "google-tpu-v6e", "accelerators_per_node": 4}, "berth-hyperdisk-balanced"),
        ({"accelerator": "google-tpu-v5e", "accelerators_per_node": 4}, None),
    ],
)
def test_volumes_of_machines_without_persistent_disks(
    plan: Callable[..., Any], changes: Json, storage_class: str | None
) -> None:
    assert _made(plan, {"location": "us-central1", **changes}).storage_class == storage_class


def test_pods_find_the_pool(plan: Callable[..., Any]) -> None:
    made = _made(plan, {"taints": [{"key": "team", "value": "search", "effect": "NoSchedule"}]})
    assert made.spec.node_selector == {"berth.dev/pool": "l4"}
    assert made.spec.resource == "nvidia.com/gpu"
    assert made.spec.max_accelerators == 4
    assert {one["key"] for one in made.spec.tolerations} == {"nvidia.com/gpu", "team"}


def test_outputs_of_a_cluster_that_is_not_there_yet(plan: Callable[..., Any]) -> None:
    """In a preview a cluster's outputs are unknown, and the pool is planned all the same."""
    unknown: Any = pulumi.Output.from_input(pulumi.UNKNOWN)
    changes = {"cluster": unknown, "service_account": unknown, "boot_disk_kms_key": unknown}
    assert _made(plan, changes, preview=True).spec.name == "l4"


def test_every_child_has_the_providers_that_were_passed(pool: Callable[..., Any]) -> None:
    found = [one for one in pool().resources if one.type.startswith("gcp:")]
    assert len(found) == 1
    assert "pulumi:providers:gcp::google::" in found[0].provider
