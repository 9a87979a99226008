"""Pods on GKE act as themselves, not as their node."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.google._nodes import CLUSTER, POOL, node_configs
from berth_policy.reading import on, peek, require, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, survey


def check(resource: Resource) -> Iterator[Finding]:
    """Look for the cluster's pool of identities, and at what nodes' metadata server shows."""
    if resource.token.startswith(CLUSTER) and not on(resource.props.get("enableAutopilot")):
        yield from require(
            resource.props, "workloadIdentityConfig.workloadPool", "the project's, <project>.svc.id.goog"
        )
        pool = peek(resource.props, "workloadIdentityConfig", "workloadPool")
        if pool is not None and not str(pool).endswith(".svc.id.goog"):
            found = f"workloadIdentityConfig.workloadPool is {said(pool)}"
            yield Finding(found, "the project's, <project>.svc.id.goog")
    yield from survey(node_configs(resource), _config)
    if resource.token.startswith(POOL):
        legacy = at(resource.props, "nodeConfig", "metadata", "disable-legacy-endpoints")
        if not on(legacy):
            yield Finding(f"nodeConfig.metadata.disable-legacy-endpoints is {said(legacy)}", "'true'")


def _config(place: tuple[str, Mapping[str, Any]]) -> Iterator[Finding]:
    where, config = place
    mode = at(config, "workloadMetadataConfig", "mode")
    if mode != "GKE_METADATA":
        yield Finding(f"{where}.workloadMetadataConfig.mode is {said(mode)}", "'GKE_METADATA'")


RULE = Rule(
    name="gke-workload-identity",
    group="google",
    title="Pods on GKE get identities of their own from the metadata server, not their node's.",
    why="Every pod can ask for the node's token otherwise, and do what the node may.",
    fix="Set workloadIdentityConfig.workloadPool, and workloadMetadataConfig.mode GKE_METADATA.",
    types=(CLUSTER, POOL),
    answers=("CIS GKE 5.2.2", "CIS GKE 5.4.1", "CKV_GCP_69"),
    check=check,
)
