"""SELinux labels are those of containers."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping

TYPES = ("container_t", "container_init_t", "container_kvm_t", "container_engine_t")


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    holders = [(pod.path, mapping(pod.spec.get("securityContext")))]
    holders += [(one.path, mapping(one.body.get("securityContext"))) for one in pod.containers()]
    for path, context in holders:
        options = mapping(context.get("seLinuxOptions"))
        kind = options.get("type")
        if kind and kind not in TYPES:
            yield f"{path}.securityContext.seLinuxOptions.type is {kind}", f"one of {', '.join(TYPES)}"
        for key in ("user", "role"):
            if options.get(key):
                yield f"{path}.securityContext.seLinuxOptions.{key} is set", "absent"


RULE = Rule(
    name="pods-selinux",
    group="workloads",
    title="SELinux options are those of containers.",
    why="Another SELinux type takes the container out of its confinement.",
    fix="Remove seLinuxOptions, or use the type container_t.",
    types=KUBERNETES,
    check_stack=of_stack(look, agents=True),
)
