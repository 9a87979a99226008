"""A pool that is empty can grow again."""

from collections.abc import Iterator, Mapping

from berth_policy.accelerators._pools import EKS, GKE, KARPENTER, Pool, pools
from berth_policy.checks import all_pods
from berth_policy.kubernetes import KUBERNETES
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, at, mapping, sequence, survey
from berth_policy.units import number

TAG = "aws:autoscaling/tag:Tag"
PREFIX = "k8s.io/cluster-autoscaler/"
TEMPLATE = f"{PREFIX}node-template/"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each pool with accelerators."""
    yield from survey(pools(stack), lambda pool: _look(stack, pool))


def _look(stack: Stack, pool: Pool) -> Iterator[Finding]:
    if pool.ground == "karpenter":
        yield from _limited(pool.resource)
    elif pool.accelerator and pool.ground == "gcp":
        yield from _grows(pool)
    elif pool.accelerator and _has_autoscaler(stack):
        yield from _tagged(stack, pool)


def _limited(resource: Resource) -> Iterator[Finding]:
    limits = mapping(at(resource.props, "spec", "limits"))
    if not limits:
        found = "spec.limits is absent: the pool may grow until the account's quota ends"
        yield Finding(found, "limits of cpu, memory and accelerators", resource)


def _grows(pool: Pool) -> Iterator[Finding]:
    scaling = mapping(pool.resource.props.get("autoscaling"))
    most = max(number(scaling.get(key), 0) for key in ("totalMaxNodeCount", "maxNodeCount"))
    if not scaling or most < 1:
        found = "autoscaling is absent or has no most"
        yield Finding(found, "totalMinNodeCount and totalMaxNodeCount", pool.resource)


def _has_autoscaler(stack: Stack) -> bool:
    """Whether Cluster Autoscaler runs in the stack; Auto Mode and Karpenter need no tags."""
    return any(
        "cluster-autoscaler" in str(one.body.get("image"))
        for pod in all_pods(stack)
        for one in pod.containers("containers")
    )


def _tagged(stack: Stack, pool: Pool) -> Iterator[Finding]:
    group = pool.resource
    most = number(at(group.props, "scalingConfig", "maxSize"), 0)
    if most < 1 or most < pool.smallest:
        yield Finding(f"scalingConfig.maxSize is {most:g}", "1 or more, and not below minSize", group)
    tags = _tags(stack, group)
    cluster = group.props.get("clusterName")
    wanted: dict[str, tuple[str, ...]] = {
        f"{PREFIX}enabled": ("true",),
        f"{PREFIX}{cluster}": ("owned", "true"),
        f"{TEMPLATE}resources/{pool.accelerator}": (str(pool.count),),
    }
    wanted |= {f"{TEMPLATE}label/{key}": (value,) for key, value in pool.labels.items()}
    wanted |= {f"{TEMPLATE}taint/{key}": (f"{value}:{effect}",) for key, value, effect in pool.taints}
    for key, values in wanted.items():
        if tags.get(key) not in values:
            found = f"the tag {key} of its Auto Scaling group is {tags.get(key, 'absent')}"
            yield Finding(found, " or ".join(values), group)


def _tags(stack: Stack, group: Resource) -> Mapping[str, str]:
    """Tags of a node group's Auto Scaling group; a preview does not know its name, but what it is of."""
    found: dict[str, str] = {}
    for one in stack.of(TAG):
        urns = one.references.get("autoscalingGroupName", ())
        if group.urn in (urns or one.dependencies):
            for tag in map(mapping, [one.props.get("tag"), *sequence(one.props.get("tags"))]):
                if tag:
                    found[str(tag.get("key"))] = str(tag.get("value"))
    return found


RULE = Rule(
    name="accelerators-scale-from-zero",
    group="accelerators",
    title="A pool of accelerators can grow from no node.",
    why="Cluster Autoscaler knows an empty group by its tags only: without them its pods wait for ever.",
    fix="Tag the Auto Scaling group with its labels, taints and accelerators; give other pools a most.",
    types=(*KUBERNETES, EKS, GKE, *KARPENTER, TAG, "aws:ec2/launchTemplate:"),
    check_stack=check,
)
