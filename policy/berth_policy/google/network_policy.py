"""GKE enforces network policies."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import has, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the data path, and at the older way; look whether pods have addresses of the VPC."""
    props = resource.props
    if on(props.get("enableAutopilot")):
        return
    if props.get("datapathProvider") != "ADVANCED_DATAPATH" and not on(at(props, "networkPolicy", "enabled")):
        yield Finding(f"datapathProvider is {said(props.get('datapathProvider'))}", "'ADVANCED_DATAPATH'")
    if props.get("networkingMode") == "ROUTES" or not has(props, "ipAllocationPolicy"):
        yield Finding(
            f"networkingMode is {said(props.get('networkingMode'))}, ipAllocationPolicy "
            f"{'given' if has(props, 'ipAllocationPolicy') else 'absent'}",
            "'VPC_NATIVE' and ranges for pods and services",
        )


RULE = Rule(
    name="gke-network-policy",
    group="google",
    title="A GKE cluster enforces network policies, for pods with addresses of the VPC.",
    why="Policies are only words until the data path enforces them.",
    fix="Set datapathProvider to ADVANCED_DATAPATH and ipAllocationPolicy; neither can be changed later.",
    types=(CLUSTER,),
    answers=("CIS GKE 5.6.2", "CKV_GCP_12", "CKV_GCP_23"),
    check=check,
)
