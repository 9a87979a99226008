"""GKE's control plane is not open to the internet."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import anywhere, has, items, off, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, survey

_NETWORKS = "masterAuthorizedNetworksConfig"


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the endpoint by address; the one by name is for whoever IAM lets in, from anywhere."""
    props = resource.props
    endpoint = at(props, "controlPlaneEndpointsConfig", "ipEndpointsConfig", "enabled")
    if not off(endpoint):
        private = on(at(props, "privateClusterConfig", "enablePrivateEndpoint"))
        if not private and not has(props, _NETWORKS):
            yield Finding(
                f"the public endpoint is on and {_NETWORKS} is absent, so everybody reaches it",
                "privateClusterConfig.enablePrivateEndpoint true, or authorised networks",
            )
        google = at(props, _NETWORKS, "gcpPublicCidrsAccessEnabled")
        if has(props, _NETWORKS) and not off(google):
            path = f"{_NETWORKS}.gcpPublicCidrsAccessEnabled"
            yield Finding(f"{path} is {said(google)}", "false: anybody rents an address of Google's")
        if has(props, _NETWORKS, "cidrBlocks"):
            yield from survey(
                items(props, _NETWORKS, "cidrBlocks"),
                lambda place: (
                    [
                        Finding(
                            f"{_NETWORKS}.cidrBlocks[{place[0]}] is {said(at(place[1], 'cidrBlock'))}",
                            "the addresses that need it",
                        )
                    ]
                    if anywhere(at(place[1], "cidrBlock"))
                    else []
                ),
            )


RULE = Rule(
    name="gke-control-plane",
    group="google",
    title="The control plane of a GKE cluster is not open to the internet.",
    why="One leaked credential, or one hole in the API server, is enough for anybody anywhere.",
    fix="Set privateClusterConfig.enablePrivateEndpoint to true and use the DNS endpoint, or list networks.",
    types=(CLUSTER,),
    answers=("CIS GKE 5.6.3", "CIS GKE 5.6.4", "CKV_GCP_18", "CKV_GCP_20"),
    check=check,
)
