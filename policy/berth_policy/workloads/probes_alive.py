"""Whatever runs on is restarted when it hangs, and gets time to start."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping
from berth_policy.units import number

LONGEST = 60.0
"""Seconds until a container that hangs is restarted, at the most."""
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
    if not mapping(one.body.get("startupProbe")):
        yield f"{one.path}.startupProbe is absent", "one with the budget that a start takes"


RULE = Rule(
    name="pods-liveness",
    group="workloads",
    title="Whatever runs on is restarted when it hangs, and gets time to start.",
    why="A wedged engine answers nobody until somebody looks; without a startupProbe slow starts are killed.",
    fix="Give the container a livenessProbe that fails within 60 s, and a startupProbe.",
    types=KUBERNETES,
    answers=("CKV_K8S_8",),
    check_stack=of_stack(look),
)
