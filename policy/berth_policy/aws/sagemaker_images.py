"""SageMaker runs images by digest in production."""

import re
from collections.abc import Iterator
from typing import Any

from berth_policy.reading import has, items, said
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Resource, survey

PLACEHOLDER = re.compile(r"000000000000\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/unpinned:unpinned")
"""Stands for an image that nobody has named yet: no account has this number."""
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


def containers(resource: Resource) -> Iterator[tuple[str, Any]]:
    """Each container of a model, with its place."""
    if has(resource.props, "primaryContainer"):
        yield "primaryContainer", resource.props.get("primaryContainer")
    if has(resource.props, "containers"):
        yield from ((f"containers[{number}]", one) for number, one in items(resource.props, "containers"))


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each container's image."""
    every = [*containers(resource)]
    if not every:
        yield Finding("it has no container", "one, with an image")
    yield from survey(every, _image)


def _image(place: tuple[str, Any]) -> Iterator[Finding]:
    where, container = place
    if has(container, "modelPackageName"):
        return
    image = container.get("image") if has(container, "image") else None
    if not isinstance(image, str) or not (_DIGEST.search(image) or PLACEHOLDER.fullmatch(image)):
        yield Finding(f"{where}.image is {said(image)}", "an image by digest, …@sha256:…")


RULE = Rule(
    name="sagemaker-images",
    group="aws",
    title="A SageMaker model in production names its image by digest.",
    why="Whoever pushes to the repository changes what production runs, at its next scaling.",
    fix="Name the image by digest: ./berth images pin.",
    levels=IN_PRODUCTION,
    types=("aws:sagemaker/model:",),
    check=check,
)
