"""Containers of SageMaker reach nothing."""

from collections.abc import Iterator

from berth_policy.reading import expect, on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the model's network."""
    yield from expect(resource.props, "enableNetworkIsolation", on, "true", "false")


RULE = Rule(
    name="sagemaker-isolation",
    group="aws",
    title="The containers of a SageMaker model have no way out.",
    why="An engine or a model's code that is taken over can send prompts and weights anywhere otherwise.",
    fix="Set enableNetworkIsolation to true; weights come by modelDataSource or are in the image.",
    types=("aws:sagemaker/model:",),
    answers=("CKV_AWS_370",),
    check=check,
)
