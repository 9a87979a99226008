"""Whatever runs on is restarted when it hangs, and gets time to start."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping
from berth_policy.units import number
from berth_policy.workloads.probes_ask import SHORTEST_START

LONGEST = 60.0
"""Seconds until a container that hangs is restarted, at the most."""
LONGEST_DELAY = 60.0
"""Seconds at the start in which nobody looks whether it hangs; a longer start has a probe of its own."""
PERIOD, FAILURES = 10.0, 3.0
"""Kubernetes' defaults."""


def look(pod: Pod) -> Iterator[Said]:
    """Look at each container that runs on."""
    if pod.stays:
        for one in pod.containers("initContainers", "containers"):
            if one.serves:
                yield from look_at(one)


def look_at(one: Container) -> Iterator[Said]:
    """Look at one container."""
    liveness = mapping(one.body.get("livenessProbe"))
    if not liveness:
        yield f"{one.path}.livenessProbe is absent", "one that fails where the process hangs"
        return
    period = number(liveness.get("periodSeconds"), PERIOD)
    seconds = period * number(liveness.get("failureThreshold"), FAILURES)
    if seconds > LONGEST:
        found = f"{one.path}.livenessProbe restarts after {seconds:g} s"
        yield found, f"periodSeconds x failureThreshold of {LONGEST:g} s at the most"
    if mapping(one.body.get("startupProbe")):
        return
    delay = number(liveness.get("initialDelaySeconds"), 0)
    if not SHORTEST_START <= delay <= LONGEST_DELAY:
        found = f"{one.path}.startupProbe is absent, and liveness begins after {delay:g} s"
        yield (
            found,
            (
                "one with the budget that a start takes, or livenessProbe.initialDelaySeconds of "
                f"{SHORTEST_START:g} to {LONGEST_DELAY:g}"
            ),
        )


RULE = Rule(
    name="pods-liveness",
    group="workloads",
    title="Whatever runs on is restarted when it hangs, and gets time to start.",
    why="A wedged engine answers nobody until somebody looks; without time for it a slow start is killed.",
    fix=(
        "Give the container a livenessProbe that fails within 60 s, and a startupProbe; where a start takes "
        "a minute at the most, livenessProbe.initialDelaySeconds does."
    ),
    types=KUBERNETES,
    answers=("CKV_K8S_8",),
    check_stack=of_stack(look),
)
