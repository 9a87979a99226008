"""What selects pods selects its own."""

from collections.abc import Iterator
from typing import Any

from berth_policy.kubernetes import KUBERNETES, Object, objects
from berth_policy.reading import said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, sequence

_INSTANCE = "app.kubernetes.io/instance"
_KINDS = {
    "Service": ("spec", "selector"),
    "PodDisruptionBudget": ("spec", "selector", "matchLabels"),
    "NetworkPolicy": ("spec", "podSelector", "matchLabels"),
}


def check(resource: Resource) -> Iterator[Finding]:
    """Look at selectors of objects that say which instance of a program they belong to."""
    for one in objects(resource):
        instance = at(one.metadata, "labels", _INSTANCE)
        if one.kind in _KINDS and instance and not _denies(one):
            selected: Any = at(one.body, *_KINDS[one.kind], _INSTANCE)
            if selected != instance:
                path = ".".join(_KINDS[one.kind])
                yield Finding(f"{one.path}{path} has {_INSTANCE} {said(selected)}", said(instance))


def _denies(one: Object) -> bool:
    return one.kind == "NetworkPolicy" and not (
        sequence(one.spec.get("ingress")) or sequence(one.spec.get("egress"))
    )


RULE = Rule(
    name="selectors-own",
    group="workloads",
    title="Services, disruption budgets and network policies select the instance that they belong to.",
    why="A Service sends clients to another model's pods, a policy opens what was not meant.",
    fix="Select by app.kubernetes.io/instance too.",
    types=KUBERNETES,
    check=check,
)
