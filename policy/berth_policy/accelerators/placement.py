"""Whatever asks for an accelerator fits on a pool that is there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from berth_policy.accelerators._pools import EKS, GKE, Pool, accelerated, pools
from berth_policy.checks import all_pods
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, at, mapping, sequence, survey

_HARD = ("NoSchedule", "NoExecute")
_CLOUDS = (
    *("node.kubernetes.io/", "topology.kubernetes.io/", "kubernetes.io/", "eks.amazonaws.com/"),
    *("karpenter.sh/", "karpenter.k8s.aws/", "cloud.google.com/", "nvidia.com/", "beta.kubernetes.io/"),
)
"""Labels that a cloud or an agent puts on nodes, which a pool need not declare."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each pod that asks for an accelerator, where the stack declares pools."""
    declared = pools(stack)
    asking = [pod for pod in all_pods(stack) if accelerated(pod)]
    if declared:
        yield from survey(asking, lambda pod: _look(pod, declared))
    else:
        yield from survey(asking, _tolerates)


def _look(pod: Pod, declared: list[Pool]) -> Iterator[Finding]:
    resource = pod.object.resource
    selector = mapping(pod.spec.get("nodeSelector"))
    chosen = [pool for pool in declared if _selected(selector, pool)]
    if not selector and not _affine(pod):
        found = f"{pod.path} asks for accelerators and selects no nodes"
        yield Finding(found, "a nodeSelector of a pool's labels", resource)
    if not chosen:
        words = ", ".join(f"{key}={selector[key]}" for key in selector)
        found = f"{pod.path}.nodeSelector ({words}) selects no pool of the stack"
        yield Finding(found, f"labels of {', '.join(pool.resource.name for pool in declared)}", resource)
        return
    fits = [pool for pool in chosen if not list(_lacks(pod, pool))]
    if not fits:
        for said in _lacks(pod, chosen[0]):
            yield Finding(said, f"what pool {chosen[0].resource.name} has", resource)


def _lacks(pod: Pod, pool: Pool) -> Iterator[str]:
    """What keeps a pod off a pool's nodes."""
    for taint in pool.taints:
        if taint[2] in _HARD and not _tolerated(pod, taint):
            yield f"{pod.path}.tolerations lack the taint {taint[0]}={taint[1]}:{taint[2]}"
    for name, count in accelerated(pod).items():
        if pool.accelerator and pool.accelerator != name:
            yield f"{pod.path} asks for {name}, and the nodes have {pool.accelerator}"
        elif pool.count is not None and count > pool.count:
            yield f"{pod.path} asks for {count:g} {name}, and a node has {pool.count}"


def _tolerates(pod: Pod) -> Iterator[Finding]:
    """Without a pool to compare with: GPU nodes carry the taint of their resource, as GKE makes them."""
    for name in accelerated(pod):
        if not _tolerated(pod, (name, "present", "NoSchedule"), any_value=True):
            found = f"{pod.path}.tolerations has none for {name}"
            yield Finding(found, f"key {name}, operator Exists", pod.object.resource)


def _selected(selector: Mapping[str, Any], pool: Pool) -> bool:
    for key in selector:
        if key in pool.labels:
            if str(selector[key]) != pool.labels[key]:
                return False
        elif not str(key).startswith(_CLOUDS):
            return False
    return True


def _affine(pod: Pod) -> Sequence[Any]:
    path = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    return sequence(at(pod.spec, *path))


def _tolerated(pod: Pod, taint: tuple[str, str, str], *, any_value: bool = False) -> bool:
    key, value, effect = taint
    for one in map(mapping, sequence(pod.spec.get("tolerations"))):
        if one.get("effect") not in (None, "", effect):
            continue
        exists = one.get("operator") == "Exists"
        if exists and one.get("key") in (None, "", key):
            return True
        if one.get("key") == key and (exists or any_value or str(one.get("value") or "") == value):
            return True
    return False


RULE = Rule(
    name="accelerators-placement",
    group="accelerators",
    title="What asks for accelerators selects a pool that is there, tolerates its taints and fits on a node.",
    why="A pod that no node takes is pending for ever, and no autoscaler adds a node for it.",
    fix="Select the pool's labels, tolerate its taints, and ask for no more than one node has.",
    types=(*KUBERNETES, EKS, GKE, "aws:ec2/launchTemplate:"),
    check_stack=check,
)
