"""AppArmor is not switched off."""

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
        kind = at(context, "appArmorProfile", "type")
        if kind not in (None, "", "RuntimeDefault", "Localhost"):
            yield f"{path}.securityContext.appArmorProfile.type is {kind}", "RuntimeDefault or absent"
    annotations = mapping(at(pod.template, "metadata", "annotations"))
    for key in annotations:
        if key.startswith("container.apparmor.security.beta.kubernetes.io/"):
            value = str(annotations[key])
            if value not in {"", "runtime/default"} and not value.startswith("localhost/"):
                yield f"the pod's annotation {key} is {value}", "runtime/default or absent"


RULE = Rule(
    name="pods-app-armor",
    group="workloads",
    title="AppArmor is not switched off.",
    why="The runtime's profile keeps a container from mounting and from writing to /proc and /sys.",
    fix="Remove appArmorProfile, or make its type RuntimeDefault.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.6.3",),
    check_stack=of_stack(look, agents=True),
)
