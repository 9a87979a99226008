"""What a cluster on Google Cloud is made of, and that every argument changes it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, get_args, is_typeddict

import pulumi
import pytest
from berth_components.gcp import GkeCluster, GkeClusterArgs

if TYPE_CHECKING:
    from collections.abc import Callable


Json = dict[str, Any]
PROJECT, NUMBER, REGION = "models-prod-1", "123456789012", "europe-west4"
KEY = f"projects/{PROJECT}/locations/{REGION}/keyRings/ours/cryptoKeys/gke"
OFFICE = {"access.authorized_networks": {"office": "198.51.100.0/24"}}
GIVEN = {
    "network.network": "shared",
    "network.subnetwork": "gke",
    "network.pods_range": "pods",
    "network.services_range": "services",
}
UNCHANGED: dict[str, str] = {}
FREEZE = {"name": "freeze", "start": "2026-12-20T00:00:00Z", "end": "2027-01-03T00:00:00Z"}
REPOSITORY = f"projects/{PROJECT}/locations/{REGION}/repositories/serving"

# Every argument: another value, what else it needs to matter.
OTHER: dict[str, tuple[Any, Json]] = {
    "project": ("models-prod-2", {}),
    "location": ("europe-west1", {}),
    "project_number": ("999999999999", {}),
    "existing": ("there", {}),
    "name": ("serving", {}),
    "release_channel": ("STABLE", {}),
    "min_version": ("1.35", {}),
    "zones": (["europe-west4-a"], {}),
    "network.subnet_cidr": ("10.1.0.0/20", {}),
    "network.pods_cidr": ("10.12.0.0/14", {}),
    "network.services_cidr": ("10.9.0.0/20", {}),
    "network.nat": (False, {}),
    "network.flow_logs": (False, {}),
    "network.network": ("other", GIVEN),
    "network.subnetwork": ("other", GIVEN),
    "network.pods_range": ("other", GIVEN),
    "network.services_range": ("other", GIVEN),
    "access.dns_endpoint": (False, {}),
    "access.ip_endpoints": (False, {}),
    "access.private_endpoint": (False, OFFICE),
    "access.authorized_networks": ({"office": "198.51.100.0/24"}, {}),
    "encryption.key": (KEY, {}),
    "encryption.rotation_days": (30, {}),
    "encryption.grant_access": (False, {"encryption.key": KEY}),
    "encryption.boot_disks": (True, {}),
    "logging": (["SYSTEM_COMPONENTS"], {}),
    "monitoring": (["SYSTEM_COMPONENTS", "DCGM"], {}),
    "managed_prometheus": (False, {}),
    "maintenance.start": ("03:30", {}),
    "maintenance.hours": (6, {}),
    "maintenance.days": (["SA", "SU", "MO"], {}),
    "maintenance.exclusions": ([FREEZE], {}),
    "maintenance.exclusions.name": ([{**FREEZE, "name": "sale"}], {"maintenance.exclusions": [FREEZE]}),
    "maintenance.exclusions.start": (
        [{**FREEZE, "start": "2026-12-21T00:00:00Z"}],
        {"maintenance.exclusions": [FREEZE]},
    ),
    "maintenance.exclusions.end": (
        [{**FREEZE, "end": "2027-01-04T00:00:00Z"}],
        {"maintenance.exclusions": [FREEZE]},
    ),
    "maintenance.exclusions.scope": (
        [{**FREEZE, "scope": "NO_UPGRADES"}],
        {"maintenance.exclusions": [FREEZE]},
    ),
    "deletion_protection": (False, {}),
    "system_pool.machine_type": ("n2-standard-4", {}),
    "system_pool.min_nodes": (2, {}),
    "system_pool.max_nodes": (5, {}),
    "system_pool.disk_size_gb": (50, {}),
    "system_pool.disk_type": ("pd-ssd", {}),
    "node_service_account": (f"ours@{PROJECT}.iam.gserviceaccount.com", {}),
    "image_repositories": ([REPOSITORY], {}),
    "cost_allocation": (False, {}),
    "security_posture": ("ENTERPRISE", {}),
    "binary_authorization": ("PROJECT_SINGLETON_POLICY_ENFORCE", {}),
    "gcs_fuse": (True, {}),
}


def _groups(hint: Any) -> list[type]:
    """The TypedDicts in an annotation, and whether it is a list of them does not matter."""
    if is_typeddict(hint):
        return [hint]
    return [found for one in get_args(hint) for found in _groups(one)]


def _paths(accepted: type, prefix: str = "") -> set[str]:
    """Every argument by dotted path; a group is its members, a list of groups both."""
    found = set()
    for key, hint in accepted.__annotations__.items():
        groups = _groups(hint)
        for group in groups:
            found |= _paths(group, f"{prefix}{key}.")
        if not groups or "Sequence" in str(hint):
            found.add(f"{prefix}{key}")
    return found


def test_every_argument_is_tried() -> None:
    assert _paths(GkeClusterArgs) == set(OTHER)


@pytest.mark.parametrize("path", OTHER)
def test_every_argument_changes_a_resource(cluster: Callable[..., Any], path: str) -> None:
    value, needs = OTHER[path]
    place = path if not path.startswith("maintenance.exclusions") else "maintenance.exclusions"
    before = json.dumps(needs, sort_keys=True)
    if before not in UNCHANGED:
        UNCHANGED[before] = cluster(needs).flat()
    assert cluster({**needs, place: value}).flat() != UNCHANGED[before]


def test_a_new_cluster_has_a_class_for_machines_without_persistent_disks(cluster: Callable[..., Any]) -> None:
    kind = "kubernetes:storage.k8s.io/v1:StorageClass"
    made = [one for one in cluster().resources if one.type == kind]
    assert len(made) == 1
    assert made[0].provider.startswith("urn:pulumi:test::berth::")
    assert "prod-provider" in made[0].provider
    assert made[0].inputs["metadata"]["name"] == "berth-hyperdisk-balanced"
    assert made[0].inputs["provisioner"] == "pd.csi.storage.gke.io"
    assert made[0].inputs["parameters"] == {"type": "hyperdisk-balanced"}
    assert made[0].inputs["volumeBindingMode"] == "WaitForFirstConsumer"
    assert made[0].inputs["reclaimPolicy"] == "Delete"
    # An existing cluster is looked up, never changed.
    assert not [one for one in cluster({"existing": "there"}).resources if one.type == kind]


def test_baseline(cluster: Callable[..., Any]) -> None:
    found = cluster().cluster
    assert found["privateClusterConfig"] == {"enablePrivateNodes": True, "enablePrivateEndpoint": True}
    assert found["controlPlaneEndpointsConfig"] == {
        "dnsEndpointConfig": {"allowExternalTraffic": True},
        "ipEndpointsConfig": {"enabled": True},
    }
    assert found["masterAuthorizedNetworksConfig"] == {"gcpPublicCidrsAccessEnabled": False}
    assert found["datapathProvider"] == "ADVANCED_DATAPATH"
    assert found["networkingMode"] == "VPC_NATIVE"
    assert found["enableShieldedNodes"] is True
    assert found["enableLegacyAbac"] is False
    assert found["anonymousAuthenticationConfig"] == {"mode": "LIMITED"}
    assert found["masterAuth"] == {"clientCertificateConfig": {"issueClientCertificate": False}}
    assert found["workloadIdentityConfig"] == {"workloadPool": f"{PROJECT}.svc.id.goog"}
    assert found["deletionProtection"] is True
    assert found["removeDefaultNodePool"] is True
    assert found["releaseChannel"] == {"channel": "REGULAR"}
    assert {"APISERVER", "CONTROLLER_MANAGER", "SCHEDULER"} < set(found["loggingConfig"]["enableComponents"])
    assert "DCGM" in found["monitoringConfig"]["enableComponents"]
    assert found["securityPostureConfig"] == {"mode": "BASIC"}
    assert found["maintenancePolicy"]["recurringWindow"] == {
        "startTime": "2026-01-05T02:00:00Z",
        "endTime": "2026-01-05T06:00:00Z",
        "recurrence": "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH",
    }


def test_without_collectors_only_what_needs_none_is_sent(cluster: Callable[..., Any]) -> None:
    assert cluster({"managed_prometheus": False}).cluster["monitoringConfig"] == {
        "enableComponents": ["SYSTEM_COMPONENTS", "APISERVER", "CONTROLLER_MANAGER", "SCHEDULER"],
        "managedPrometheus": {"enabled": False},
    }


@pytest.mark.parametrize("kind", ["cluster", "pool"])
def test_nodes_never_run_as_the_projects_default_account(cluster: Callable[..., Any], kind: str) -> None:
    planned = cluster()
    place = planned.cluster if kind == "cluster" else planned.pool("system")
    nodes = place["nodeConfig"]
    assert nodes["serviceAccount"] == f"prod-nodes@{PROJECT}.iam.gserviceaccount.com"
    assert nodes["workloadMetadataConfig"] == {"mode": "GKE_METADATA"}
    assert nodes["shieldedInstanceConfig"] == {"enableSecureBoot": True, "enableIntegrityMonitoring": True}


def test_the_nodes_account_may_do_what_nodes_need_and_read_images(cluster: Callable[..., Any]) -> None:
    member = f"serviceAccount:prod-nodes@{PROJECT}.iam.gserviceaccount.com"
    grants = [one.inputs for one in cluster().of("projects/iAMMember:IAMMember")]
    assert {one["role"] for one in grants} == {
        "roles/container.defaultNodeServiceAccount",
        "roles/artifactregistry.reader",
    }
    assert {one["member"] for one in grants} == {member}


def test_images_of_one_repository_only(cluster: Callable[..., Any]) -> None:
    planned = cluster({"image_repositories": [REPOSITORY]})
    roles = [one.inputs["role"] for one in planned.of("projects/iAMMember:IAMMember")]
    assert roles == ["roles/container.defaultNodeServiceAccount"]
    grant = planned.one("artifactregistry/repositoryIamMember:RepositoryIamMember")
    assert (grant["project"], grant["location"], grant["repository"]) == (PROJECT, REGION, "serving")
    assert not cluster({"image_repositories": []}).of("RepositoryIamMember")


def test_two_long_names_get_two_accounts(cluster: Callable[..., Any]) -> None:
    first, second = (
        cluster({"name": f"language-models-in-production-{end}"}).one("serviceaccount/account:Account")
        for end in ("one", "two")
    )
    assert first["accountId"] != second["accountId"]
    assert max(len(first["accountId"]), len(second["accountId"])) <= 30


def test_secrets_are_encrypted_by_a_key_that_rotates(cluster: Callable[..., Any]) -> None:
    planned = cluster()
    assert planned.one("kms/cryptoKey:CryptoKey")["rotationPeriod"] == "7776000s"
    # A key ring can never be deleted: with a name of ours, a cluster could be made only once.
    assert "name" not in planned.one("kms/keyRing:KeyRing")
    grant = planned.one("kms/cryptoKeyIAMMember:CryptoKeyIAMMember")
    assert grant["role"] == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    assert (
        grant["member"] == f"serviceAccount:service-{NUMBER}@container-engine-robot.iam.gserviceaccount.com"
    )
    assert planned.cluster["databaseEncryption"]["state"] == "ENCRYPTED"
    assert planned.cluster["databaseEncryption"]["keyName"] == grant["cryptoKeyId"]


def test_a_given_key_is_used_and_granted(cluster: Callable[..., Any]) -> None:
    planned = cluster({"encryption.key": KEY})
    assert planned.cluster["databaseEncryption"]["keyName"] == KEY
    assert not planned.of("kms/keyRing:KeyRing")
    assert planned.one("kms/cryptoKeyIAMMember:CryptoKeyIAMMember")["cryptoKeyId"] == KEY
    alone = cluster({"encryption.key": KEY, "encryption.grant_access": False})
    assert not alone.of("kms/cryptoKeyIAMMember:CryptoKeyIAMMember")


def test_boot_disks_with_the_same_key(cluster: Callable[..., Any]) -> None:
    planned = cluster({"encryption.boot_disks": True})
    grant = planned.one("kms/cryptoKeyIAMMember:CryptoKeyIAMMember", "-disks")
    assert grant["member"] == f"serviceAccount:service-{NUMBER}@compute-system.iam.gserviceaccount.com"
    for nodes in (planned.pool("system")["nodeConfig"], planned.cluster["nodeConfig"]):
        assert nodes["bootDiskKmsKey"] == grant["cryptoKeyId"]


def test_the_projects_number_is_looked_up_with_the_components_provider(cluster: Callable[..., Any]) -> None:
    planned = cluster({"project_number": None})
    assert planned.calls == ["gcp:organizations/getProject:getProject"]
    assert "pulumi:providers:gcp::google::" in planned.providers_of_calls[0]
    member = planned.one("kms/cryptoKeyIAMMember:CryptoKeyIAMMember")["member"]
    assert member == f"serviceAccount:service-{NUMBER}@container-engine-robot.iam.gserviceaccount.com"


def test_the_network_is_private_and_reaches_out_through_nat(cluster: Callable[..., Any]) -> None:
    planned = cluster()
    assert planned.one("compute/network:Network")["autoCreateSubnetworks"] is False
    subnet = planned.one("compute/subnetwork:Subnetwork")
    assert subnet["privateIpGoogleAccess"] is True
    assert [one["rangeName"] for one in subnet["secondaryIpRanges"]] == ["pods", "services"]
    assert planned.cluster["ipAllocationPolicy"] == {
        "clusterSecondaryRangeName": "pods",
        "servicesSecondaryRangeName": "services",
    }
    nat = planned.one("compute/routerNat:RouterNat")
    assert nat["subnetworks"][0]["sourceIpRangesToNats"] == ["ALL_IP_RANGES"]
    assert nat["enableDynamicPortAllocation"] is True
    assert not cluster({"network.nat": False}).of("compute/router")


def test_a_given_network_is_named_and_not_made(cluster: Callable[..., Any]) -> None:
    planned = cluster(GIVEN)
    assert not planned.of("compute/")
    assert planned.cluster["network"] == "shared"
    assert planned.cluster["subnetwork"] == "gke"


def test_a_public_address_for_named_ranges_only(cluster: Callable[..., Any]) -> None:
    found = cluster({"access.private_endpoint": False, **OFFICE}).cluster
    assert found["privateClusterConfig"] == {"enablePrivateNodes": True, "enablePrivateEndpoint": False}
    assert found["masterAuthorizedNetworksConfig"] == {
        "cidrBlocks": [{"cidrBlock": "198.51.100.0/24", "displayName": "office"}],
        "gcpPublicCidrsAccessEnabled": False,
    }


def test_without_addresses_iam_is_the_only_way_in(cluster: Callable[..., Any]) -> None:
    found = cluster({"access.ip_endpoints": False}).cluster
    assert found["controlPlaneEndpointsConfig"]["ipEndpointsConfig"] == {"enabled": False}
    assert found["privateClusterConfig"] == {"enablePrivateNodes": True}
    assert "masterAuthorizedNetworksConfig" not in found


def test_the_system_pool_counts_its_nodes_in_total(cluster: Callable[..., Any]) -> None:
    pool = cluster({"system_pool.min_nodes": 2, "system_pool.max_nodes": 4}).pool("system")
    assert pool["autoscaling"]["totalMinNodeCount"] == 2
    assert pool["autoscaling"]["totalMaxNodeCount"] == 4
    # One node in each of three zones is between both; two in each would exceed the maximum.
    assert pool["initialNodeCount"] == 1
    assert pool["management"] == {"autoRepair": True, "autoUpgrade": True}
    assert "name" not in pool


def test_a_zonal_cluster_has_its_own_zone_anyway(cluster: Callable[..., Any]) -> None:
    zone = {"location": "europe-west4-a"}
    assert "nodeLocations" not in cluster(zone).cluster
    more = cluster({**zone, "zones": ["europe-west4-a", "europe-west4-b"]})
    assert more.cluster["nodeLocations"] == ["europe-west4-b"]
    assert more.one("compute/subnetwork:Subnetwork")["region"] == REGION


def test_a_window_that_crosses_midnight(cluster: Callable[..., Any]) -> None:
    window = cluster({"maintenance": {"start": "22:00", "hours": 8, "days": ["FR", "SA"]}}).cluster
    assert window["maintenancePolicy"]["recurringWindow"] == {
        "startTime": "2026-01-09T22:00:00Z",
        "endTime": "2026-01-10T06:00:00Z",
        "recurrence": "FREQ=WEEKLY;BYDAY=FR,SA",
    }


def _kubeconfig(plan: Callable[..., Any], changes: Json, **how: Any) -> Json | None:
    seen: list[str] = []

    def program(opts: pulumi.ResourceOptions) -> object:
        args: Any = {"project": PROJECT, "location": REGION, "project_number": NUMBER, **changes}
        return GkeCluster("prod", args, opts).kubeconfig.apply(seen.append)

    planned = plan(program, **how)
    assert len(planned.of("pulumi:providers:kubernetes")) == 1
    return json.loads(seen[0]) if seen else None


@pytest.mark.parametrize(
    ("changes", "server", "authority"),
    [
        ({}, "https://gke-4567.gke.example", None),
        ({"access": {"dns_endpoint": False}}, "https://10.4.5.6", "Y2E="),
        ({"existing": "there"}, "https://gke-0123.gke.example", None),
        ({"existing": "there", "access": {"dns_endpoint": False}}, "https://10.1.2.3", "Y2E="),
    ],
)
def test_kubeconfig_without_a_credential(
    plan: Callable[..., Any], changes: Json, server: str, authority: str | None
) -> None:
    found = _kubeconfig(plan, changes)
    assert found is not None
    cluster = found["clusters"][0]["cluster"]
    assert cluster.get("certificate-authority-data") == authority
    assert cluster["server"] == server
    user = found["users"][0]["user"]
    assert list(user) == ["exec"]
    assert user["exec"]["command"] == "gke-gcloud-auth-plugin"
    assert found["current-context"] == found["contexts"][0]["name"]


@pytest.mark.parametrize("access", [{}, {"access": {"dns_endpoint": False}}])
def test_a_preview_knows_no_kubeconfig_and_does_not_fail(plan: Callable[..., Any], access: Json) -> None:
    assert _kubeconfig(plan, access, preview=True) is None


def test_an_existing_cluster_is_looked_up_and_not_touched(cluster: Callable[..., Any]) -> None:
    planned = cluster({"existing": "there"})
    assert planned.calls == ["gcp:container/getCluster:getCluster"]
    kinds = {one.type for one in planned.resources}
    assert not any(kind.startswith(("gcp:container/", "gcp:compute/", "gcp:kms/")) for kind in kinds)
    assert planned.one("serviceaccount/account:Account")["accountId"] == "there-nodes"


CLOSED = [{"dnsEndpointConfigs": [{"allowExternalTraffic": False, "endpoint": "gke-0123.gke.example"}]}]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"controlPlaneEndpointsConfigs": CLOSED}, "option --enable-dns-access, or make access.dns_endpoint"),
        ({"enableAutopilot": True}, "the cluster there is an Autopilot cluster, which takes no pools"),
        (
            {"workloadIdentityConfigs": []},
            f"clusters update there --location {REGION} --workload-pool {PROJECT}.svc.id.goog",
        ),
    ],
)
def test_an_existing_cluster_that_does_not_fit_is_refused(
    plan: Callable[..., Any], answer: Json, words: str
) -> None:
    with pytest.raises(Exception, match=re.escape(words)):
        _kubeconfig(plan, {"existing": "there"}, answer=answer)


@pytest.mark.parametrize(
    ("answer", "warned"),
    [
        ({}, False),
        ({"datapathProvider": "LEGACY_DATAPATH"}, True),
        ({"datapathProvider": "LEGACY_DATAPATH", "networkPolicies": [{"enabled": True}]}, False),
    ],
)
def test_an_existing_cluster_without_network_policies_is_warned_of(
    plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, answer: Json, warned: bool
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", lambda text, **_: said.append(text))
    assert _kubeconfig(plan, {"existing": "there"}, answer=answer) is not None
    assert [("enforces no network policy" in text) for text in said] == ([True] if warned else [])


def test_every_child_has_the_providers_that_were_passed(cluster: Callable[..., Any]) -> None:
    for one in cluster().resources:
        if one.type.startswith("gcp:"):
            assert "pulumi:providers:gcp::google::" in one.provider, one.name
