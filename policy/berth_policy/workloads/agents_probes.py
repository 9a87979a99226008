"""A node agent that listens says whether it works."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, is_agent
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, mapping, sequence, survey
from berth_policy.workloads import probes_alive, probes_ready


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each agent's containers with a port: of others nobody can ask."""
    yield from survey([pod for pod in all_pods(stack) if is_agent(stack, pod)], _look)


def _look(pod: Pod) -> Iterator[Finding]:
    resource = pod.object.resource
    for one in pod.containers("initContainers", "containers"):
        if not one.serves or not sequence(one.body.get("ports")):
            continue
        for found, wanted in probes_alive.look_at(one):
            yield Finding(found, wanted, resource)
        probe = mapping(one.body.get("readinessProbe"))
        if not probe:
            yield Finding(
                f"{one.path}.readinessProbe is absent", "one that asks what it listens for", resource
            )
            continue
        for found, wanted in probes_ready.slow(one.path, probe):
            yield Finding(found, wanted, resource)


RULE = Rule(
    name="agents-probes",
    group="workloads",
    title="A node agent that listens is asked whether it is ready and alive.",
    why="Without readiness an update of a DaemonSet takes a broken version to every node; what hangs, stays.",
    fix="Give each container with a port a startupProbe, a readinessProbe and a livenessProbe.",
    types=KUBERNETES,
    check_stack=check,
)
