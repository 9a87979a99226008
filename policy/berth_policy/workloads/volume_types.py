"""Pods mount only kinds of volumes that belong to them."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping, sequence

WANTED = (
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
)
ALLOWED = frozenset({*WANTED, "name", "hostPath"})
"""A hostPath has a rule of its own."""


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    for number, volume in enumerate(sequence(pod.spec.get("volumes"))):
        body = mapping(volume)
        odd = sorted(key for key in body if key not in ALLOWED and body[key] is not None)
        if odd:
            yield f"{pod.path}.volumes[{number}] is a {odd[0]}", f"one of {', '.join(WANTED)}"


RULE = Rule(
    name="pods-volume-types",
    group="workloads",
    title="Pods mount only volumes of ordinary types.",
    why="Types such as nfs or gcePersistentDisk bypass storage classes and reach other machines.",
    fix="Use a volume claim, or configMap, secret, projected, downwardAPI, emptyDir, ephemeral, csi.",
    types=KUBERNETES,
    check_stack=of_stack(look, agents=True),
)
