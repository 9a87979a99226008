"""In production boot disks of GKE's nodes are encrypted by a key of ours."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER, POOL, node_configs
from berth_policy.reading import require
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look for a key in each configuration."""
    for where, config in node_configs(resource):
        for finding in require(config, "bootDiskKmsKey", "a key of Cloud KMS"):
            yield Finding(f"{where}.{finding.found}", finding.wanted)


RULE = Rule(
    name="gke-disk-encryption",
    group="google",
    title="Boot disks of nodes in production are encrypted by a key of Cloud KMS.",
    why="Google's own key cannot be taken away, and nobody sees who used it.",
    fix="Set nodeConfig.bootDiskKmsKey, and let Compute Engine's service agent use the key.",
    levels=IN_PRODUCTION,
    types=(CLUSTER, POOL),
    answers=("CIS GKE 5.9.2", "CIS GCP 4.7"),
    check=check,
)
