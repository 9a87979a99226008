"""Wrong args fail where they are made, by name, value, what is allowed, and what to do."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_catalogue.machines import DATA_DATE
from berth_components import ArgumentError
from berth_components.gcp import GkeCluster, GkeNodePool, GkeWorkloadIdentity

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
PROJECT = "models-prod-1"
CLUSTER: Json = {"project": PROJECT, "location": "europe-west4", "project_number": "123456789012"}
POOL: Json = {
    "cluster": "prod",
    "project": PROJECT,
    "location": "europe-west4",
    "service_account": f"nodes@{PROJECT}.iam.gserviceaccount.com",
    "accelerator": "nvidia-l4",
    "accelerators_per_node": 1,
    "max_nodes": 4,
}
IDENTITY: Json = {
    "project": PROJECT,
    "namespace": "chat",
    "service_account": "chat",
    "buckets": [{"bucket": "weights"}],
}
KEY = f"projects/{PROJECT}/locations/europe-west4/keyRings/ours/cryptoKeys/gke"
EVERYBODY = {"all": "0.0.0.0/0"}

# Changes to good args, and the whole message after the component's name.
WRONG_CLUSTERS: list[tuple[Json, str]] = [
    ({"project": None}, "argument 'project' is missing; allowed: a project's ID"),
    ({"project": "Models Prod"}, "argument 'project' is 'Models Prod'; allowed: a project's ID"),
    ({"project_number": 12}, "argument 'project_number' is 12; allowed: a project's number as a string"),
    ({"location": None}, "argument 'location' is missing; allowed: a region such as europe-west4"),
    ({"location": "europe"}, "argument 'location' is 'europe'; allowed: a region such as europe-west4"),
    ({"zone": "europe-west4-a"}, "argument 'zone' does not exist; allowed: one of "),
    ({"relese_channel": "RAPID"}, "remedy: did you mean 'release_channel'?"),
    ({"name": "Prod"}, "argument 'name' is 'Prod'; allowed: 1 to 40 lower-case letters"),
    ({"release_channel": "regular"}, "is 'regular'; allowed: one of RAPID, REGULAR, STABLE, EXTENDED"),
    ({"min_version": "1"}, "argument 'min_version' is '1'; allowed: a version such as 1.35"),
    ({"zones": []}, "argument 'zones' is []; allowed: a list of at least 1"),
    ({"zones": ["europe-west1-b"]}, "allowed: zones of europe-west4, where the cluster is"),
    ({"zones": ["europe-west4-a", "europe-west4-a"]}, "allowed: each zone once"),
    (
        {"location": "europe-west4-a", "zones": ["europe-west4-b"]},
        "allowed: a list with the cluster's own zone, europe-west4-a, in it",
    ),
    ({"network.subnet_cidr": "10.0.0.1/20"}, "(host bits zero)"),
    ({"network.subnet_cidr": "fd00::/20"}, "allowed: an IPv4 address range"),
    (
        {"network.pods_cidr": "10.0.0.0/14"},
        (
            "argument 'network.pods_cidr' is 10.0.0.0/14; allowed: a range apart from subnet_cidr, which is "
            "10.0.0.0/20"
        ),
    ),
    (
        {"network.network": "shared", "network.nat": True},
        "argument 'network.nat' is given; allowed: only without network; an existing network is not changed",
    ),
    ({"network.network": "shared"}, "argument 'network.subnetwork' is missing"),
    (
        {"access.authorized_networks": EVERYBODY},
        (
            "argument 'access.authorized_networks' is {'all': '0.0.0.0/0'}; allowed: ranges of addresses "
            "that you know; 'all' is 0.0.0.0/0, which is everybody; use the DNS endpoint, which asks IAM"
        ),
    ),
    ({"access.authorized_networks": {"six": "::/0"}}, "'six' is ::/0, which is everybody"),
    (
        {"access.authorized_networks": {"low": "0.0.0.0/1", "high": "128.0.0.0/1"}},
        "low, high together hold every address",
    ),
    ({"access.authorized_networks": {"office": "office"}}, "allowed: an address range such as"),
    ({"access.authorized_networks": ["198.51.100.0/24"]}, "allowed: a mapping"),
    (
        {"access.private_endpoint": False},
        (
            "argument 'access.authorized_networks' is empty; allowed: at least one range by name; "
            "private_endpoint is False: the control plane has an address on the internet"
        ),
    ),
    (
        {"access.ip_endpoints": False, "access.dns_endpoint": False},
        "argument 'access.ip_endpoints' is False; allowed: True; without the DNS endpoint nobody gets in",
    ),
    (
        {"access.ip_endpoints": False, "access.private_endpoint": True},
        "argument 'access.private_endpoint' is given; allowed: only with ip_endpoints",
    ),
    ({"encryption.key": "gke"}, "argument 'encryption.key' is 'gke'; allowed: a key as projects/"),
    (
        {"encryption.key": KEY, "encryption.rotation_days": 30},
        "argument 'encryption.rotation_days' is given; allowed: only for a key made here",
    ),
    (
        {"encryption.grant_access": False},
        "argument 'encryption.grant_access' is given; allowed: only with key",
    ),
    ({"encryption.rotation_days": 0}, "is 0; allowed: a whole number from 1 to 365 days"),
    ({"logging": ["WORKLOADS"]}, "allowed: a list with SYSTEM_COMPONENTS in it"),
    ({"monitoring": ["SYSTEM_COMPONENTS", "GPU"]}, "argument 'monitoring'"),
    (
        {"managed_prometheus": False, "monitoring": ["SYSTEM_COMPONENTS", "DCGM"]},
        (
            "only SYSTEM_COMPONENTS, APISERVER, CONTROLLER_MANAGER, SCHEDULER without managed_prometheus; "
            "Google's collectors are what gathers DCGM"
        ),
    ),
    ({"maintenance.start": "25:00"}, "allowed: a time of day as HH:MM, UTC"),
    ({"maintenance.hours": 3}, "allowed: a whole number from 4 to 24 hours"),
    ({"maintenance.days": ["MONDAY"]}, "allowed: one of MO, TU, WE, TH, FR, SA, SU"),
    (
        {"maintenance.days": ["SA", "SU"]},
        (
            "argument 'maintenance.days' is ['SA', 'SU']; allowed: days and hours that give 48 hours in any "
            "32 days; 4 h on SA, SU can be 32; GKE refuses that"
        ),
    ),
    (
        {"maintenance.exclusions": [{"name": "x", "start": "2026-12-20", "end": "2026-12-21T00:00:00Z"}]},
        "argument 'maintenance.exclusions[0].start' is '2026-12-20'; allowed: a time in UTC",
    ),
    (
        {
            "maintenance.exclusions": [
                {"name": "x", "start": "2026-12-20T00:00:00Z", "end": "2026-12-19T00:00:00Z"}
            ]
        },
        "argument 'maintenance.exclusions[0].end'",
    ),
    ({"deletion_protection": "no"}, "is 'no'; allowed: True or False"),
    ({"system_pool.min_nodes": 4, "system_pool.max_nodes": 3}, "is 4; allowed: at most max_nodes, 3"),
    ({"system_pool.min_nodes": 0}, "is 0; allowed: a whole number from 1 to 1000 nodes"),
    ({"system_pool.disk_type": "ssd"}, "is 'ssd'; allowed: one of pd-balanced"),
    ({"node_service_account": "nodes"}, "allowed: the e-mail address of a service account"),
    (
        {"node_service_account": f"n@{PROJECT}.iam.gserviceaccount.com", "image_repositories": []},
        "argument 'image_repositories' is given; allowed: only for an account made here",
    ),
    ({"image_repositories": ["serving"]}, "allowed: a repository of Artifact Registry as projects/"),
    (
        {"existing": "there", "release_channel": "RAPID"},
        (
            "argument 'release_channel' is given; allowed: only for a new cluster; an existing one is looked "
            "up, never changed"
        ),
    ),
    (
        {"existing": "there", "access.private_endpoint": True},
        "argument 'access.private_endpoint' is given; allowed: only for a new cluster",
    ),
]
WRONG_POOLS: list[tuple[Json, str]] = [
    ({"cluster": None}, "argument 'cluster' is missing"),
    ({"service_account": None}, "argument 'service_account' is missing"),
    ({"max_nodes": None}, "argument 'max_nodes' is missing"),
    ({"accelerator": None}, "argument 'accelerator' is missing"),
    ({"accelerator": "nvidia-l5"}, "argument 'accelerator' is 'nvidia-l5'; allowed: one of "),
    ({"accelerator": "nvidia-l5"}, "did you mean 'nvidia-l4'?"),
    ({"accelerator": "aws-inferentia2"}, "argument 'accelerator' is 'aws-inferentia2'; allowed: one of "),
    (
        {"accelerators_per_node": 3},
        "argument 'accelerators_per_node' is 3; allowed: one of 1, 2, 4, 8: no machine has exactly 3 x",
    ),
    (
        {"machine_type": "a2-highgpu-1g"},
        "argument 'machine_type' is 'a2-highgpu-1g'; allowed: a machine with 1 x nvidia-l4: g2-standard-4, ",
    ),
    ({"machine_type": "a2-highgpu-1g"}, "; it has 1 x nvidia-a100-40gb"),
    ({"machine_type": "g9-standard-4"}, f"; the catalogue, of {DATA_DATE}, does not know it"),
    (
        {"accelerator": "nvidia-h200-141gb", "accelerators_per_node": 8, "location": "us-central1"},
        "argument 'capacity_type' is 'on-demand'; allowed: ",
    ),
    (
        {"location": "europe-north1"},
        "argument 'location' is 'europe-north1'; allowed: a place that offers g2-standard-4: ",
    ),
    (
        {"location": "europe-north1"},
        f"; the catalogue, of {DATA_DATE}, knows no zone of europe-north1 that does",
    ),
    (
        {"location": "nowhere-east9"},
        "argument 'zones' is missing; allowed: the zones of nowhere-east9 that offer",
    ),
    (
        {"location": "europe-west1-d"},
        (
            "argument 'location' is europe-west1-d; allowed: zones of europe-west1 that offer g2-standard-4: "
            "europe-west1-b, europe-west1-c; these are the catalogue's"
        ),
    ),
    (
        {"location": "europe-west1", "zones": ["europe-west1-b", "europe-west1-d"]},
        "argument 'zones' is europe-west1-d; allowed: zones of europe-west1 that offer g2-standard-4",
    ),
    ({"zones": ["europe-west1-b"]}, "allowed: zones of europe-west4, where the cluster is"),
    ({"min_nodes": 5}, "argument 'min_nodes' is 5; allowed: at most max_nodes, 4"),
    ({"capacity_type": "preemptible"}, "allowed: one of on-demand, spot, reserved"),
    ({"capacity_type": "reserved"}, "argument 'reservation' is missing; allowed: a reservation's name"),
    (
        {"reservation": "l4"},
        (
            "argument 'reservation' is given; allowed: only with capacity_type reserved; this pool is "
            "on-demand and would not use it"
        ),
    ),
    (
        {"spot_grace_seconds": 120},
        "argument 'spot_grace_seconds' is given; allowed: only with capacity_type spot",
    ),
    (
        {"capacity_type": "spot", "spot_grace_seconds": 60},
        "argument 'spot_grace_seconds' is 60; allowed: 30 or 120; GKE knows no other",
    ),
    ({"location_policy": "ANY"}, "is 'ANY'; allowed: one of any, balanced"),
    ({"driver": "535"}, "is '535'; allowed: one of default, latest, disabled"),
    (
        {"accelerator": "google-tpu-v5e", "location": "us-central1", "driver": "latest"},
        "argument 'driver' is given; allowed: only for GPUs; a TPU's driver is part of the node's image",
    ),
    (
        {"accelerator": "google-tpu-v6e", "location": "us-east5", "disk_type": "pd-ssd"},
        "argument 'disk_type' is 'pd-ssd'; allowed: hyperdisk-balanced; ct6e-standard-1t boots from no other",
    ),
    ({"disk_size_gb": 20}, "is 20; allowed: a whole number from 50 to 65536 GB"),
    (
        {
            "accelerator": "nvidia-a100-80gb",
            "local_ssds": 1,
        },
        "argument 'local_ssds' is given; allowed: only for g2 and a2-highgpu machines; a2-ultragpu-1g has",
    ),
    ({"boot_disk_kms_key": "disks"}, "allowed: a key as projects/"),
    (
        {"upgrade.batch_nodes": 2},
        "argument 'upgrade.batch_nodes' is given; allowed: only with strategy blue-green",
    ),
    (
        {"upgrade.strategy": "blue-green", "upgrade.max_surge": 2},
        "argument 'upgrade.max_surge' is given; allowed: only with strategy surge; the strategy is",
    ),
    (
        {"upgrade.max_surge": 0},
        "argument 'upgrade.max_unavailable' is 0; allowed: above 0 where max_surge is 0; no node could",
    ),
    ({"upgrade.max_surge": 15, "upgrade.max_unavailable": 6}, "is 6; allowed: at most 5, 20 together"),
    ({"labels": {"berth.dev/pool": "x"}}, "argument 'labels.berth.dev/pool' is x"),
    ({"taints": [{"key": "a", "effect": "Never"}]}, "argument 'taints[0].effect' is 'Never'"),
    ({"node_count": 3}, "argument 'node_count' does not exist"),
]
WRONG_IDENTITIES: list[tuple[Json, str]] = [
    ({"namespace": "Chat"}, "argument 'namespace' is 'Chat'"),
    ({"service_account": None}, "argument 'service_account' is missing"),
    (
        {"project_roles": ["roles/editor"]},
        (
            "argument 'project_roles' is ['roles/editor']; allowed: roles for what the pods really do; "
            "roles/editor covers every service of the project; for weights in a bucket give buckets"
        ),
    ),
    ({"project_roles": ["roles/owner"]}, "roles/owner covers every service of the project"),
    ({"project_roles": ["editor"]}, "allowed: a role such as roles/storage.objectViewer"),
    ({"project_roles": ["roles/a.b", "roles/a.b"]}, "allowed: each role once"),
    ({"buckets": [{"bucket": "gs://weights"}]}, "argument 'buckets[0].bucket' is 'gs://weights'"),
    (
        {"buckets": [{"bucket": "weights", "role": "roles/owner"}]},
        "argument 'buckets[0].role' is 'roles/owner'",
    ),
    ({"buckets": [{"bucket": "weights"}, {"bucket": "weights"}]}, "allowed: each bucket and role once"),
    ({"buckets": None}, "argument 'buckets' is empty; allowed: at least one of buckets or project_roles"),
    (
        {"account_id": "reader"},
        "argument 'account_id' is given; allowed: only with mode google-service-account",
    ),
    (
        {"mode": "google-service-account", "project_number": "123456789012"},
        "argument 'project_number' is given; allowed: only in mode direct",
    ),
    ({"mode": "google-service-account", "account_id": "a"}, "argument 'account_id' is 'a'; allowed: 6 to 30"),
]


def _changed(base: Json, changes: Json) -> Any:
    args = copy.deepcopy(base)
    for path, value in changes.items():
        group, _, key = path.rpartition(".")
        place = args.setdefault(group, {}) if group else args
        place[key] = value
    return {key: value for key, value in args.items() if value is not None}


def _refused(plan: Callable[..., Any], component: Any, args: Any, name: str) -> ArgumentError:
    with pytest.raises(ArgumentError) as refused:
        plan(lambda opts: component(name, args, opts))
    return refused.value


@pytest.mark.parametrize(("changes", "words"), WRONG_CLUSTERS)
def test_wrong_clusters(plan: Callable[..., Any], changes: Json, words: str) -> None:
    error = _refused(plan, GkeCluster, _changed(CLUSTER, changes), "prod")
    assert str(error).startswith("GkeCluster 'prod': argument '")
    assert words.removeprefix("remedy: ") in str(error)


@pytest.mark.parametrize(("changes", "words"), WRONG_POOLS)
def test_wrong_pools(plan: Callable[..., Any], changes: Json, words: str) -> None:
    error = _refused(plan, GkeNodePool, _changed(POOL, changes), "l4")
    assert str(error).startswith("GkeNodePool 'l4': argument '")
    assert words in str(error)


@pytest.mark.parametrize(("changes", "words"), WRONG_IDENTITIES)
def test_wrong_identities(plan: Callable[..., Any], changes: Json, words: str) -> None:
    error = _refused(plan, GkeWorkloadIdentity, _changed(IDENTITY, changes), "reader")
    assert str(error).startswith("GkeWorkloadIdentity 'reader': argument '")
    assert words in str(error)


@pytest.mark.parametrize(
    ("component", "args"), [(GkeCluster, CLUSTER), (GkeNodePool, POOL), (GkeWorkloadIdentity, IDENTITY)]
)
def test_no_provider_means_no_guess(plan: Callable[..., Any], component: Any, args: Json) -> None:
    """The environment's own project and credentials may be anybody's."""
    with pytest.raises(ArgumentError, match="has no provider of Google Cloud; allowed: an explicit one"):
        plan(lambda _opts: component("prod", args, pulumi.ResourceOptions()))


@pytest.mark.parametrize(("component", "args"), [(GkeCluster, CLUSTER), (GkeNodePool, POOL)])
def test_names_leave_room_for_pulumis(plan: Callable[..., Any], component: Any, args: Json) -> None:
    error = _refused(plan, component, args, "a" * 28)
    assert "characters" in str(error)


def test_an_output_is_checked_when_it_is_known(plan: Callable[..., Any]) -> None:
    args: Any = {**CLUSTER, "release_channel": pulumi.Output.from_input("fast")}
    with pytest.raises(ValueError, match="argument 'release_channel' is 'fast'; allowed: one of RAPID, "):
        plan(lambda opts: GkeCluster("prod", args, opts))


@pytest.mark.parametrize("key", ["location", "zones", "accelerator", "machine_type"])
def test_what_decides_on_objects_must_be_known(plan: Callable[..., Any], key: str) -> None:
    args = {**POOL, key: pulumi.Output.from_input("x")}
    assert "is an output; allowed: a value that the program knows" in str(
        _refused(plan, GkeNodePool, args, "l4")
    )
