"""An agent of a router follows a document that is there."""

from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.reading import said
from berth_policy.routers._documents import documents, followers
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, at, sequence, survey


def check(stack: Stack) -> Iterator[Finding]:
    """Look at the ConfigMaps that each agent mounts."""
    yield from survey(followers(stack), lambda one: _look(stack, *one))


def _look(stack: Stack, pod: Pod, entry: str) -> Iterator[Finding]:
    there = {one.object.name for one in documents(stack, entry) if one.object.namespace == pod.namespace}
    mounted = [at(one, "configMap", "name") for one in sequence(pod.spec.get("volumes"))]
    if not there.intersection(str(one) for one in mounted if one):
        named = ", ".join(said(one) for one in mounted if one) or "no ConfigMap"
        found = f"{pod.path}.volumes mount {named}, none of which has a document {entry} that agents read"
        yield Finding(found, "the ConfigMap with the agent's document", pod.object.resource)


RULE = Rule(
    name="routers-documents",
    group="routers",
    title="A router's agent mounts the document that it is to follow.",
    why="Without it the agent does not start, and requests go by what was told last, or nowhere.",
    fix="Mount the ConfigMap that the stack declares, with the entry that the agent reads.",
    types=KUBERNETES,
    check_stack=check,
)
