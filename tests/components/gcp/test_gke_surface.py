"""What teams import, what Pulumi offers to other languages, and options that no input shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import berth_components.gcp
import pulumi
import pytest
from berth_components.gcp import GkeCluster, GkeNodePool
from pulumi.provider.experimental.analyzer import Analyzer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROJECT, REGION = "models-prod-1", "europe-west4"
PUBLIC = [
    *("BucketRoleArgs", "GkeAccessArgs", "GkeCluster", "GkeClusterArgs", "GkeEncryptionArgs"),
    *("GkeMaintenanceArgs", "GkeMaintenanceExclusionArgs", "GkeNetworkArgs", "GkeNodePool"),
    *("GkeNodePoolArgs", "GkeSystemPoolArgs", "GkeUpgradeArgs", "GkeWorkloadIdentity"),
    "GkeWorkloadIdentityArgs",
]
# What may not be left out, and what comes out.
COMPONENTS = {
    "GkeCluster": (
        ["project", "location"],
        [
            *("provider", "kubeconfig", "clusterName", "clusterId", "project", "location"),
            *("nodeServiceAccount", "bootDiskKmsKey", "workloadPool"),
        ],
    ),
    "GkeNodePool": (
        [
            *("accelerator", "acceleratorsPerNode", "maxNodes", "cluster", "project", "location"),
            "serviceAccount",
        ],
        ["nodeSelector", "tolerations", "resourceKey", "maxAccelerators", "name", "machineType"],
    ),
    "GkeWorkloadIdentity": (
        ["project", "namespace", "serviceAccount"],
        ["member", "email", "annotations"],
    ),
}


def test_exported_names() -> None:
    assert sorted(berth_components.gcp.__all__) == sorted(PUBLIC)
    assert all(hasattr(berth_components.gcp, name) for name in PUBLIC)


# The SDK leaves a file of its own open while it analyses a provider.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("name", COMPONENTS)
def test_pulumi_can_offer_it_to_other_languages(name: str) -> None:
    definition = Analyzer("berth").analyze([getattr(berth_components.gcp, name)])["component_definitions"][
        name
    ]
    needed, outputs = COMPONENTS[name]
    assert [key for key, found in definition.inputs.items() if not found.optional] == needed
    assert list(definition.outputs) == outputs


def test_type_tokens(root: Path) -> None:
    sources = "".join(path.read_text() for path in (root / "components/berth_components/gcp").glob("*.py"))
    for name in COMPONENTS:
        assert f'super().__init__("berth:gcp:{name}"' in sources


def test_google_and_its_autoscaler_own_what_they_own(plan: Callable[..., Any]) -> None:
    """The number of nodes is the autoscaler's, and the pool that a cluster begins with is gone at once."""
    ignored: dict[str, list[str]] = {}

    def note(args: pulumi.ResourceTransformationArgs) -> None:
        ignored[args.name] = list(args.opts.ignore_changes or [])

    def program(opts: pulumi.ResourceOptions) -> object:
        watched = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(transformations=[note]))
        place: Any = {"project": PROJECT, "location": REGION}
        cluster = GkeCluster("prod", {**place, "project_number": "123456789012"}, watched)
        pool: Any = {"accelerator": "nvidia-l4", "accelerators_per_node": 1, "max_nodes": 2}
        account = cluster.node_service_account
        return GkeNodePool(
            "l4", {**place, **pool, "cluster": cluster.cluster_id, "service_account": account}, watched
        )

    plan(program)
    assert ignored["l4-pool"] == ignored["prod-system"] == ["initialNodeCount", "nodeCount"]
    assert ignored["prod-cluster"] == ["initialNodeCount", "nodeConfig", "nodePools"]


def test_pools_wait_for_the_nodes_that_need_no_accelerator(plan: Callable[..., Any]) -> None:
    """Without them GKE leaves its own taint off GPU nodes, and its own pods have no place but those."""
    seen: list[Any] = []

    async def waits(cluster: GkeCluster) -> None:
        seen.extend(sorted(one._name for one in await cluster.cluster_id.resources()))

    def program(opts: pulumi.ResourceOptions) -> object:
        args: Any = {"project": PROJECT, "location": REGION, "project_number": "123456789012"}
        return pulumi.Output.from_input(waits(GkeCluster("prod", args, opts)))

    plan(program)
    assert {"prod-cluster", "prod-system", "prod-nodes-role", "prod-nodes-images"} <= set(seen)
