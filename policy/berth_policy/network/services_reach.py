"""A Service reaches pods."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Object
from berth_policy.rule import Finding, Rule
from berth_policy.scaling import named, selects
from berth_policy.subject import Stack, mapping, sequence, survey


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each Service with a selector, in a namespace that the stack has pods in."""
    yield from survey(declared(stack, "Service"), lambda one: _look(stack, one))


def _look(stack: Stack, service: Object) -> Iterator[Finding]:
    selector = mapping(service.spec.get("selector"))
    here = [pod for pod in all_pods(stack) if pod.namespace == service.namespace]
    if not here or service.spec.get("type") == "ExternalName":
        return
    reached = [pod for pod in here if selector and selects({"matchLabels": selector}, pod.labels)]
    if not reached:
        found = f"{service.path}spec.selector selects no pod that the stack declares there"
        yield Finding(found, "the labels of the pods that answer", service.resource)
    for number, port in enumerate(sequence(service.spec.get("ports"))):
        target = mapping(port).get("targetPort") or mapping(port).get("port")
        if reached and not any(named(pod, target) for pod in reached):
            found = f"{service.path}spec.ports[{number}].targetPort is {target}, a name that no container has"
            yield Finding(found, "a port's name, or its number", service.resource)
    if len({pod.object.name for pod in reached}) > 1 and len(reached) > 1:
        names = ", ".join(sorted(pod.object.name for pod in reached))
        found = f"{service.path}spec.selector selects the pods of {names}"
        yield Finding(found, "the pods of one workload", service.resource)


RULE = Rule(
    name="services-reach-pods",
    group="network",
    title="A Service sends requests to the pods of one workload, at a port that they have.",
    why="A selector or port that matches nothing is an outage, and one that is too wide mixes workloads.",
    fix="Select the workload's own labels, and name a port of its container.",
    types=KUBERNETES,
    check_stack=check,
)
