"""A program says where it deploys to."""

from collections.abc import Iterator

from berth_policy.reading import has, peek
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource

_NEEDED = {
    "pulumi:providers:kubernetes": ("kubeconfig",),
    "pulumi:providers:aws": ("region",),
    "pulumi:providers:gcp": ("project",),
}


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each provider that the program declares; Pulumi's default ones say nothing."""
    if resource.name.startswith("default"):
        return
    for key in _NEEDED.get(resource.token, ()):
        if not has(resource.props, key) or peek(resource.props, key) in ("", "*"):
            yield Finding(f"{key} is absent, so it is whatever this machine has", "one that is named")


RULE = Rule(
    name="providers-explicit",
    group="workloads",
    title="A provider says which cluster, region or project it deploys to.",
    why="It is whatever the machine's own configuration names otherwise: production, from a laptop.",
    fix="Pass kubeconfig, region or project to the provider.",
    types=tuple(_NEEDED),
    check=check,
)
