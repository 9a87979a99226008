"""Images that nobody could ask a registry for yet."""

from collections.abc import Iterator

from berth_policy.checks import all_pods
from berth_policy.findings._declared import declared_open, names
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import ADVICE, Finding, Rule
from berth_policy.subject import Stack, survey
from berth_policy.supply_chain._images import UNPINNED, parse


def is_placeholder(stack: Stack, image: str) -> bool:
    """Whether an image stands for one that the stack itself calls open."""
    if image.startswith(f"{UNPINNED}/"):
        return True
    wanted = (image, parse(image).repository)
    return any(names(text, word) for text in declared_open(stack) for word in wanted)


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each container's image."""
    yield from survey(all_pods(stack), lambda pod: _look(stack, pod))


def _look(stack: Stack, pod: Pod) -> Iterator[Finding]:
    for one in pod.containers():
        image = str(one.body.get("image") or "")
        if is_placeholder(stack, image):
            found = f"{one.path}.image is {image}, which stands for one that is not known yet"
            yield Finding(found, "an image by digest", pod.object.resource)


RULE = Rule(
    name="open-images",
    group="findings",
    title="Open: an image is to be built, pushed or asked of its registry.",
    why="A real run is refused while it is open: nothing invented is ever pulled.",
    fix="./berth images push, then ./berth images pin.",
    levels=ADVICE,
    types=(*KUBERNETES, "berth:stacks:"),
    check_stack=check,
)
