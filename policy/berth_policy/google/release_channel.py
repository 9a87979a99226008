"""GKE keeps its clusters and nodes up to date."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER, POOL
from berth_policy.reading import expect, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at

_CHANNELS = {"RAPID", "REGULAR", "STABLE", "EXTENDED"}


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the channel of clusters, and at upgrades and repairs of pools."""
    if resource.token.startswith(CLUSTER):
        channel = at(resource.props, "releaseChannel", "channel")
        if str(channel) not in _CHANNELS:
            yield Finding(f"releaseChannel.channel is {said(channel)}", "'REGULAR' or 'STABLE'")
        return
    for key in ("autoUpgrade", "autoRepair"):
        yield from expect(resource.props, f"management.{key}", on, "true")


RULE = Rule(
    name="gke-release-channel",
    group="google",
    title="A GKE cluster follows a release channel; its nodes are upgraded and repaired.",
    why="A version whose holes are known stays for ever otherwise, and a broken node too.",
    fix="Set releaseChannel.channel to REGULAR, and management.autoUpgrade and autoRepair to true.",
    types=(CLUSTER, POOL),
    answers=("CIS GKE 5.5.2", "CIS GKE 5.5.3", "CIS GKE 5.5.4", "CKV_GCP_9", "CKV_GCP_10", "CKV_GCP_70"),
    check=check,
)
