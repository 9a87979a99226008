"""No firewall on Google Cloud lets the internet in."""

from collections.abc import Iterator

from berth_policy.reading import anywhere, has, items, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, survey


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the sources of what comes in."""
    props = resource.props
    if str(props.get("direction") or "INGRESS") != "INGRESS" or on(props.get("disabled")):
        return
    if not has(props, "allows"):
        return
    named = [key for key in ("sourceRanges", "sourceTags", "sourceServiceAccounts") if has(props, key)]
    if not named:
        yield Finding("no source is named, so everybody", "sourceRanges of your own networks")
    elif "sourceRanges" in named:
        yield from survey(
            items(props, "sourceRanges"),
            lambda place: (
                [Finding(f"sourceRanges[{place[0]}] is {said(place[1])}", "your own networks")]
                if anywhere(place[1])
                else []
            ),
        )


RULE = Rule(
    name="google-open-firewalls",
    group="google",
    title="No firewall rule on Google Cloud lets the internet in.",
    why="Engines, exporters and the API server answer whoever reaches their port.",
    fix="Name sourceRanges of your own; clients come in through a load balancer.",
    types=("gcp:compute/firewall:",),
    answers=("CIS GCP 3.6", "CIS GCP 3.7", "CKV_GCP_2", "CKV_GCP_3", "CKV_GCP_106"),
    check=check,
)
