"""Nothing says it runs as user 0."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    holders = [(pod.path, mapping(pod.spec.get("securityContext")))]
    holders += [(one.path, mapping(one.body.get("securityContext"))) for one in pod.containers()]
    for path, context in holders:
        user = context.get("runAsUser")
        if user is not None and user == 0:
            yield f"{path}.securityContext.runAsUser is 0", "another user, or none"


RULE = Rule(
    name="pods-run-as-user",
    group="workloads",
    title="No pod or container names user 0.",
    why="User 0 is root, whatever the image says.",
    fix="Name another user, such as 65532, or none.",
    types=KUBERNETES,
    answers=("CKV_K8S_40",),
    check_stack=of_stack(look),
)
