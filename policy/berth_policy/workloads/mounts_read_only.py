"""What is given to a pod is not for it to change."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.reading import on, peek, said
from berth_policy.rule import Rule
from berth_policy.subject import at, mapping, sequence

_GIVEN = ("secret", "configMap")


def look(pod: Pod, container: Container) -> Iterator[Said]:
    """Look at the mounts of Secrets and ConfigMaps."""
    given = {
        str(peek(one, "name"))
        for one in sequence(pod.spec.get("volumes"))
        if any(kind in [*mapping(one)] for kind in _GIVEN)
    }
    for number, mount in enumerate(sequence(container.body.get("volumeMounts"))):
        kept = at(mount, "readOnly")
        if str(at(mount, "name")) in given and not on(kept):
            yield f"{container.path}.volumeMounts[{number}].readOnly is {said(kept)}", "true"


RULE = Rule(
    name="pods-mounts-read-only",
    group="workloads",
    title="Secrets and ConfigMaps are mounted read-only.",
    why="The kubelet mounts them so; a program that believes it may write there fails at night.",
    fix="Set readOnly on the mount.",
    types=KUBERNETES,
    check_stack=of_stack(of_each(look)),
)
