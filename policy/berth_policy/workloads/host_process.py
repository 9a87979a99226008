"""No Windows container is a process of its node."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at, mapping


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    holders = [(pod.path, mapping(pod.spec.get("securityContext")))]
    holders += [(one.path, mapping(one.body.get("securityContext"))) for one in pod.containers()]
    for path, context in holders:
        if at(context, "windowsOptions", "hostProcess"):
            yield f"{path}.securityContext.windowsOptions.hostProcess is true", "false or absent"


RULE = Rule(
    name="pods-host-process",
    group="workloads",
    title="No Windows container is a process of its node.",
    why="A HostProcess container is administrator of its node.",
    fix="Remove windowsOptions.hostProcess.",
    types=KUBERNETES,
    check_stack=of_stack(look, agents=True),
)
