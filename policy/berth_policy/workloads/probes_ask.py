"""A probe asks something, in time."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.scaling import named
from berth_policy.subject import at, mapping, sequence
from berth_policy.units import number

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
LONGEST_ANSWER = 30.0
SHORTEST_START, LONGEST_START = 30.0, 7200.0
LEAST_FAILURES = 2.0
"""Liveness: one answer that is late is no reason to end every request."""


def look(pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    for name in PROBES:
        probe = mapping(container.body.get(name))
        if probe:
            yield from _look(pod, f"{container.path}.{name}", name, probe)


def _look(pod: Pod, path: str, name: str, probe: Mapping[str, Any]) -> Iterator[Said]:
    if not _asks(pod, probe):
        yield (
            f"{path} asks nothing",
            "a command, or a port that the pod has",
        )
    if probe.get("httpGet") is not None and not at(probe, "httpGet", "path"):
        yield f"{path}.httpGet.path is absent", "the path that says how it is"
    timeout = number(probe.get("timeoutSeconds"), 1)
    if timeout > LONGEST_ANSWER:
        yield f"{path}.timeoutSeconds is {timeout:g}", f"{LONGEST_ANSWER:g} at the most"
    failures = number(probe.get("failureThreshold"), 3)
    budget = failures * number(probe.get("periodSeconds"), 10)
    if name == "startupProbe" and not SHORTEST_START <= budget <= LONGEST_START:
        found = f"{path} gives a start {budget:g} s"
        yield found, f"{SHORTEST_START:g} to {LONGEST_START:g} s: twice of what was measured"
    if name == "livenessProbe" and failures < LEAST_FAILURES:
        yield f"{path}.failureThreshold is {failures:g}", f"{LEAST_FAILURES:g} or more"


def _asks(pod: Pod, probe: Mapping[str, Any]) -> bool:
    if sequence(at(probe, "exec", "command")):
        return True
    ports = [at(probe, handler, "port") for handler in ("httpGet", "tcpSocket", "grpc")]
    return any(port and named(pod, port) for port in ports)


RULE = Rule(
    name="pods-probes-ask",
    group="workloads",
    title="Probes ask something that answers, in time.",
    why="A probe of a port that is not there fails for ever; a start that takes longer is killed each time.",
    fix="Name a port of the pod and a path; give a start twice the time that was measured.",
    types=KUBERNETES,
    check_stack=of_stack(of_each(look, "initContainers", "containers"), agents=True),
)
