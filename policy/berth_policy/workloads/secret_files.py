"""Files of a Secret are for the process that needs them."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import ADVICE, Rule
from berth_policy.subject import at, mapping, sequence
from berth_policy.units import number

OTHERS = 0o007
DEFAULT = 0o644


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod's volumes."""
    for index, volume in enumerate(sequence(pod.spec.get("volumes"))):
        if mapping(mapping(volume).get("secret")):
            mode = int(number(at(volume, "secret", "defaultMode"), DEFAULT))
            if mode & OTHERS:
                yield f"{pod.path}.volumes[{index}].secret.defaultMode is {mode:#o}", "0440 or less"


RULE = Rule(
    name="pods-secret-files",
    group="workloads",
    title="Files of a Secret are not readable by every user of the container.",
    why="A helper process of another user has no business with the keys.",
    fix="Set secret.defaultMode to 0440 (288), and fsGroup to the process's group.",
    levels=ADVICE,
    types=KUBERNETES,
    check_stack=of_stack(look, agents=True),
)
