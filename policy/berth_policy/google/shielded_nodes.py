"""Nodes of GKE prove what they have booted."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.google._nodes import CLUSTER, POOL, node_configs
from berth_policy.reading import off, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, survey


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the cluster's switch, and at each configuration of nodes."""
    if resource.token.startswith(CLUSTER) and off(resource.props.get("enableShieldedNodes")):
        yield Finding("enableShieldedNodes is false", "true")
    yield from survey(node_configs(resource), _config)


def _config(place: tuple[str, Mapping[str, Any]]) -> Iterator[Finding]:
    where, config = place
    boot = at(config, "shieldedInstanceConfig", "enableSecureBoot")
    if not on(boot):
        default = ", so false" if boot is None else ""
        yield Finding(f"{where}.shieldedInstanceConfig.enableSecureBoot is {said(boot)}{default}", "true")
    if off(at(config, "shieldedInstanceConfig", "enableIntegrityMonitoring")):
        yield Finding(f"{where}.shieldedInstanceConfig.enableIntegrityMonitoring is false", "true")


RULE = Rule(
    name="gke-shielded-nodes",
    group="google",
    title="Nodes of GKE are shielded: secure boot and integrity monitoring.",
    why="Without it a node can be impersonated, and a changed kernel goes unseen.",
    fix="Set enableShieldedNodes and both switches of shieldedInstanceConfig to true.",
    types=(CLUSTER, POOL),
    answers=(
        "CIS GKE 5.5.5",
        "CIS GKE 5.5.6",
        "CIS GKE 5.5.7",
        "CIS GCP 4.8",
        "CKV_GCP_68",
        "CKV_GCP_71",
        "CKV_GCP_72",
    ),
    check=check,
)
