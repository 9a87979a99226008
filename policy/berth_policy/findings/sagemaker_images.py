"""Images for SageMaker that nobody has named yet."""

from collections.abc import Iterator

from berth_policy.aws.sagemaker_images import PLACEHOLDER, containers
from berth_policy.reading import has
from berth_policy.rule import ADVICE, Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each container's image."""
    for where, container in containers(resource):
        image = container.get("image") if has(container, "image") else None
        if isinstance(image, str) and PLACEHOLDER.fullmatch(image):
            yield Finding(f"{where}.image is {image}, which stands for one of yours", "your image, by digest")


RULE = Rule(
    name="open-sagemaker-images",
    group="findings",
    title="Open: an image for SageMaker is yours to build and push to ECR.",
    why="A real run is refused while it is open: nothing invented is ever pulled.",
    fix="Push an image with gateway and engine to ECR and name it: images.refs, see docs/stacks.md.",
    levels=ADVICE,
    types=("aws:sagemaker/model:",),
    check=check,
)
