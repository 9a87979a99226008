"""A load balancer for private ranges is in the private network."""

from collections.abc import Iterator, Mapping

from berth_policy.checks import PUBLIC, declared, said
from berth_policy.kubernetes import Object
from berth_policy.network._addresses import is_own
from berth_policy.network.load_balancers import INTERNAL
from berth_policy.rule import IN_CLOUDS, Finding, Rule
from berth_policy.subject import Resource, Stack, mapping, sequence, survey

_CLUSTERS: Mapping[str, tuple[str, ...]] = {
    "aws:eks/cluster:Cluster": (
        "service.beta.kubernetes.io/aws-load-balancer-internal",
        "service.beta.kubernetes.io/aws-load-balancer-scheme",
    ),
    "gcp:container/cluster:Cluster": (
        "networking.gke.io/load-balancer-type",
        "cloud.google.com/load-balancer-type",
    ),
}
"""By the cluster, which annotations its cloud reads."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each load balancer in a cluster of a cloud that the stack declares."""
    balancers = [one for one in declared(stack, "Service") if one.spec.get("type") == "LoadBalancer"]
    yield from survey(balancers, lambda one: _look(stack, one))


def _look(stack: Stack, service: Object) -> Iterator[Finding]:
    keys = _CLUSTERS.get(_cluster(stack, service.resource), ())
    ranges = sequence(service.spec.get("loadBalancerSourceRanges"))
    if not keys or said(service, PUBLIC) or not ranges or not all(is_own(one) for one in ranges):
        return
    annotations = mapping(service.metadata.get("annotations"))
    if not any(str(annotations.get(key)) in INTERNAL[key] for key in keys):
        found = f"{service.path}metadata.annotations make its load balancer public, for private ranges only"
        wanted = " or ".join(f"{key}: {INTERNAL[key][0]!r}" for key in keys)
        yield Finding(found, wanted, service.resource)


def _cluster(stack: Stack, resource: Resource) -> str:
    """The type of the cluster that an object is in; "" where that is not known."""
    providers = [one for one in stack.of("pulumi:providers:kubernetes") if one.urn == resource.provider]
    made_of = {
        urn.split("::")[-2].rpartition("$")[2]
        for one in providers
        for urns in one.references.values()
        for urn in urns
    }
    found = [kind for kind in _CLUSTERS if kind in made_of]
    return found[0] if len(found) == 1 else ""


RULE = Rule(
    name="services-internal",
    group="network",
    title="A cloud's load balancer for private ranges has a private address.",
    why=(
        "Without the annotation it has a public one, which private clients do not reach, and one slip in its "
        "ranges opens to everybody."
    ),
    fix="Set the annotation by which the cloud makes it internal.",
    levels=IN_CLOUDS,
    types=("kubernetes:core/", "pulumi:providers:kubernetes"),
    check_stack=check,
)
