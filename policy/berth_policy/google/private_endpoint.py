"""GKE's control plane has no public address."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import off, on, said
from berth_policy.rule import ADVICE, Finding, Rule
from berth_policy.subject import Resource, at


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the endpoint by address, where there is one."""
    if not off(at(resource.props, "controlPlaneEndpointsConfig", "ipEndpointsConfig", "enabled")):
        private = at(resource.props, "privateClusterConfig", "enablePrivateEndpoint")
        if not on(private):
            default = ", so false" if private is None else ""
            yield Finding(f"privateClusterConfig.enablePrivateEndpoint is {said(private)}{default}", "true")


RULE = Rule(
    name="gke-private-endpoint",
    group="google",
    title="The control plane of a GKE cluster has no public address.",
    why="Addresses change owners, and a list of them is never shortened.",
    fix="Set privateClusterConfig.enablePrivateEndpoint to true and use the DNS endpoint.",
    levels=ADVICE,
    types=(CLUSTER,),
    answers=("CIS GKE 5.6.4", "CKV_GCP_18"),
    check=check,
)
