"""Probes and hooks ask the pod itself."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at, mapping

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def look(_pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    asked = {name: mapping(container.body.get(name)) for name in PROBES}
    hooks = mapping(container.body.get("lifecycle"))
    asked |= {f"lifecycle.{name}": mapping(hooks.get(name)) for name in ("postStart", "preStop")}
    for name, probe in asked.items():
        for handler in ("httpGet", "tcpSocket"):
            host = at(probe, handler, "host")
            if host:
                yield f"{container.path}.{name}.{handler}.host is {host}", "absent"


RULE = Rule(
    name="pods-probe-hosts",
    group="workloads",
    title="Probes and lifecycle hooks ask no other host than their pod.",
    why="The kubelet would send requests from the node to wherever the pod's author wishes.",
    fix="Remove `host` from the probe or hook.",
    types=KUBERNETES,
    check_stack=of_stack(of_each(look)),
)
