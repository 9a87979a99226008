"""The API server itself refuses pods that are not restricted."""

from collections.abc import Iterator

from berth_policy.checks import ENFORCE, REASON, said
from berth_policy.kubernetes import objects
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each namespace."""
    for one in objects(resource):
        if one.kind != "Namespace":
            continue
        level = at(one.metadata, "labels", ENFORCE)
        path = f"{one.path}metadata.labels of the namespace"
        if level not in ("restricted", "baseline", "privileged"):
            yield Finding(f"{path}: {ENFORCE} is {level or 'absent'}", "restricted")
        elif level != "restricted" and not said(one, REASON):
            found = f"{path}: {ENFORCE} is {level}, and no annotation {REASON} says why"
            yield Finding(found, "restricted, or the reason")


RULE = Rule(
    name="namespaces-restricted",
    group="workloads",
    title="Namespaces admit restricted pods only, or say why not.",
    why="Policies see what this program declares; admission sees whatever else somebody makes there.",
    fix="Label it pod-security.kubernetes.io/enforce: restricted; node agents get one of their own.",
    types=("kubernetes:core/",),
    check=check,
)
