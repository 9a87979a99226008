"""An upgrade of GKE's nodes leaves what serves in place."""

from collections.abc import Iterator

from berth_policy.google._nodes import POOL
from berth_policy.reading import has, items, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at
from berth_policy.units import number

_MOST = 1
"""Most nodes that may be away at a time."""


def check(resource: Resource) -> Iterator[Finding]:
    """Look at what goes away at a time, and whether disruption budgets are kept."""
    away = at(resource.props, "upgradeSettings", "maxUnavailable")
    if number(away, 0) > _MOST:
        yield Finding(f"upgradeSettings.maxUnavailable is {said(away)}", f"{_MOST} at most")
    drains = items(resource.props, "nodeDrainConfigs") if has(resource.props, "nodeDrainConfigs") else []
    if not drains:
        yield Finding("nodeDrainConfigs is absent", "respectPdbDuringNodePoolDeletion true")
    else:
        for place, one in drains:
            kept = at(one, "respectPdbDuringNodePoolDeletion")
            if not on(kept):
                path = f"nodeDrainConfigs[{place}].respectPdbDuringNodePoolDeletion"
                yield Finding(f"{path} is {said(kept)}", "true")


RULE = Rule(
    name="gke-node-upgrades",
    group="google",
    title="Upgrades of GKE's nodes take one at a time, and keep disruption budgets.",
    why="Replicas that share an upgrade's batch are all gone at once.",
    fix="Set upgradeSettings.maxUnavailable to 0 or 1 and respectPdbDuringNodePoolDeletion to true.",
    levels={"local": "disabled", "development": "advisory", "production": "mandatory"},
    types=(POOL,),
    check=check,
)
