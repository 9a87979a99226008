"""No door to the internet by accident."""

from collections.abc import Iterator, Mapping

from berth_policy.checks import PUBLIC, said
from berth_policy.kubernetes import Object, objects
from berth_policy.network._addresses import is_everybody, is_own
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, mapping, sequence

INTERNAL: Mapping[str, tuple[str, ...]] = {
    "service.beta.kubernetes.io/aws-load-balancer-internal": ("true", "0.0.0.0/0"),
    "service.beta.kubernetes.io/aws-load-balancer-scheme": ("internal",),
    "networking.gke.io/load-balancer-type": ("Internal",),
    "cloud.google.com/load-balancer-type": ("Internal",),
    "service.beta.kubernetes.io/azure-load-balancer-internal": ("true",),
}
"""What makes a load balancer internal, by annotation."""


def is_internal(service: Object) -> bool:
    """Whether a cloud gives a Service's load balancer an address of the private network."""
    annotations = mapping(service.metadata.get("annotations"))
    return any(key in annotations and str(annotations[key]) in INTERNAL[key] for key in INTERNAL)


def is_public(service: Object) -> bool:
    """Whether the internet may reach a Service."""
    if service.spec.get("type") != "LoadBalancer" or is_internal(service):
        return False
    ranges = sequence(service.spec.get("loadBalancerSourceRanges"))
    return not ranges or not all(is_own(one) for one in ranges)


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each Service."""
    for one in objects(resource):
        if one.kind != "Service":
            continue
        ranges = sequence(one.spec.get("loadBalancerSourceRanges"))
        path = f"{one.path}spec"
        if is_public(one) and not said(one, PUBLIC):
            found = f"{path}.type is LoadBalancer, reached by {', '.join(map(str, ranges)) or 'everybody'}"
            yield Finding(found, f"an internal one, own ranges, or the annotation {PUBLIC} that says why")
        elif one.spec.get("type") == "LoadBalancer" and not said(one, PUBLIC):
            if not ranges:
                found = f"{path}.loadBalancerSourceRanges is absent"
                yield Finding(found, "the ranges of the clients")
            elif any(is_everybody(cidr) for cidr in ranges):
                yield Finding(f"{path}.loadBalancerSourceRanges holds everybody", "the ranges of the clients")
        if sequence(one.spec.get("externalIPs")):
            found = f"{path}.externalIPs is set, by which a Service takes others' traffic (CVE-2020-8554)"
            yield Finding(found, "absent")


RULE = Rule(
    name="services-not-public",
    group="network",
    title="No load balancer is public without a reason, and each names its clients.",
    why="A Service of type LoadBalancer has a public address by default, and bots find it within minutes.",
    fix="Make it internal by the cloud's annotation, set loadBalancerSourceRanges, or say why it is public.",
    types=("kubernetes:core/",),
    check=check,
)
