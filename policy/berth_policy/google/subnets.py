"""Subnets on Google Cloud are made on purpose, log their flows, and reach Google without going out."""

from collections.abc import Iterator

from berth_policy.reading import expect, has, off, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at
from berth_policy.units import number

_NO_FLOWS = {"REGIONAL_MANAGED_PROXY", "GLOBAL_MANAGED_PROXY", "INTERNAL_HTTPS_LOAD_BALANCER"}
_NO_FLOWS |= {"PRIVATE_SERVICE_CONNECT", "PRIVATE_NAT"}


def check(resource: Resource) -> Iterator[Finding]:
    """Look at networks, subnets and NAT."""
    props = resource.props
    if resource.token.startswith("gcp:compute/network:"):
        yield from expect(props, "autoCreateSubnetworks", off, "false", "true")
        return
    if resource.token.startswith("gcp:compute/routerNat:"):
        yield from expect(props, "logConfig.enable", on, "true", "false")
        return
    if has(props, "purpose") and props.get("purpose") in _NO_FLOWS:
        return
    yield from expect(props, "privateIpGoogleAccess", on, "true", "false")
    if not has(props, "logConfig"):
        yield Finding("logConfig is absent, so no flow is logged", "one")
        return
    sampling = at(props, "logConfig", "flowSampling")
    if sampling is not None and number(sampling, 0) <= 0:
        yield Finding(f"logConfig.flowSampling is {said(sampling)}", "more than 0")


RULE = Rule(
    name="google-subnets",
    group="google",
    title="Networks on Google Cloud have subnets of their own, which log flows and reach Google privately.",
    why="Subnets in every region are open to each other; without flows nobody sees who talked to whom.",
    fix="Set autoCreateSubnetworks false, privateIpGoogleAccess true, and logConfig on subnets and NAT.",
    types=("gcp:compute/network:", "gcp:compute/subnetwork:", "gcp:compute/routerNat:"),
    answers=("CIS GCP 3.10", "CIS GKE 5.6.1", "CKV_GCP_26", "CKV_GCP_61", "CKV_GCP_74"),
    check=check,
)
