"""An image is a version, not whatever is newest."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.supply_chain._images import parse


def look(_pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    image = container.body.get("image")
    if not isinstance(image, str) or not image:
        yield f"{container.path}.image is absent", "an image by version or digest"
        return
    name = parse(image)
    if not name.digest and name.tag in {"", "latest"}:
        found = f"{container.path}.image is {image}, whatever that is today"
        yield found, "a version, or a digest"


RULE = Rule(
    name="images-version",
    group="supply_chain",
    title="Images are named by version or digest, none by latest.",
    why="Two pods of one Deployment may run different programs, and nobody can go back.",
    fix="Name the version; pin its digest for production.",
    types=KUBERNETES,
    answers=("CKV_K8S_14",),
    check_stack=of_stack(of_each(look), agents=True),
)
