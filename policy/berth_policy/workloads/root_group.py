"""Nothing belongs to root's group."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping, sequence


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    holders = [(pod.path, mapping(pod.spec.get("securityContext")))]
    holders += [(one.path, mapping(one.body.get("securityContext"))) for one in pod.containers()]
    for path, context in holders:
        for key in ("runAsGroup", "fsGroup"):
            group = context.get(key)
            if group is not None and group == 0:
                yield f"{path}.securityContext.{key} is 0", "another group, or none"
        if 0 in sequence(context.get("supplementalGroups")):
            yield f"{path}.securityContext.supplementalGroups has 0", "other groups, or none"
    of_pod = holders[0][1]
    for path, context in holders[1:]:
        user, group = (context.get(key, of_pod.get(key)) for key in ("runAsUser", "runAsGroup"))
        if user is not None and user != 0 and group is None:
            # An image rarely knows a user by such a number, and then the container runtime takes group 0.
            yield f"{path} has runAsUser and no runAsGroup, so its group may be 0", "runAsGroup"


RULE = Rule(
    name="pods-root-group",
    group="workloads",
    title="No pod or container is in root's group.",
    why="Files that images leave writable for root's group are writable then, and volumes for others in it.",
    fix="Name another group, such as 65532; none only where no user is named either.",
    types=KUBERNETES,
    check_stack=of_stack(look),
)
