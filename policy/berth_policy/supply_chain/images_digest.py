"""Production runs exactly the images that were tested."""

from collections.abc import Iterator

from berth_policy.checks import all_pods
from berth_policy.findings.images import is_placeholder
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Stack, survey
from berth_policy.supply_chain._images import parse


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each container's image; one that the stack itself calls open is left to `open-images`."""
    yield from survey(all_pods(stack), lambda pod: _look(stack, pod))


def _look(stack: Stack, pod: Pod) -> Iterator[Finding]:
    for one in pod.containers():
        image = str(one.body.get("image") or "")
        if not parse(image).digest and not is_placeholder(stack, image):
            found = f"{one.path}.image is {image or 'absent'}"
            yield Finding(found, "an image with @sha256:…", pod.object.resource)


RULE = Rule(
    name="images-digest",
    group="supply_chain",
    title="Production names images by digest.",
    why="A tag can be moved to another image after it was tested and reviewed.",
    fix="Ask the registry for the digest (./berth images pin) and name it.",
    levels=IN_PRODUCTION,
    types=(*KUBERNETES, "berth:stacks:"),
    answers=("CKV_K8S_43",),
    check_stack=check,
)
