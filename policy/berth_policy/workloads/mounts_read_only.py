"""What is given to a pod is not for it to change."""

import posixpath
from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.reading import on, peek, said
from berth_policy.rule import Rule
from berth_policy.subject import at, mapping, sequence

_GIVEN = ("secret", "configMap", "projected", "downwardAPI")
_OF_NODE = (
    *("bin", "boot", "etc", "lib", "lib64", "proc", "root", "sbin", "sys", "usr", "var/log"),
    "var/lib/kubelet/pod-resources",
)
"""Folders of a node that an agent has no business to write to."""


def look(pod: Pod, container: Container) -> Iterator[Said]:
    """Look at the mounts of Secrets, ConfigMaps, tokens and the like, and of what a node is made of."""
    given = {
        str(peek(one, "name"))
        for one in sequence(pod.spec.get("volumes"))
        if any(kind in [*mapping(one)] for kind in _GIVEN) or _is_of_node(at(one, "hostPath", "path"))
    }
    for number, mount in enumerate(sequence(container.body.get("volumeMounts"))):
        kept = at(mount, "readOnly")
        if str(at(mount, "name")) in given and not on(kept):
            yield f"{container.path}.volumeMounts[{number}].readOnly is {said(kept)}", "true"


def _is_of_node(path: object) -> bool:
    if path is None:
        return False
    folder = posixpath.normpath(str(path)).strip("/")
    return not folder or any(folder == one or folder.startswith(f"{one}/") for one in _OF_NODE)


RULE = Rule(
    name="pods-mounts-read-only",
    group="workloads",
    title="Secrets, ConfigMaps and what a node is made of are mounted read-only.",
    why="A program that believes it may write to the former fails at night; one that writes to a node's /etc "
    "or /usr owns the node. Node agents are no exception.",
    fix="Set readOnly on the mount.",
    types=KUBERNETES,
    check_stack=of_stack(of_each(look), agents=True),
)
