"""Volumes of machines are encrypted."""

from collections.abc import Iterator
from typing import Any

from berth_policy.aws._machines import TYPES
from berth_policy.reading import on, peek, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, mapping, sequence, survey

_BLOCKS = ("rootBlockDevice", "ebsBlockDevices")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each volume that a resource makes."""
    props = resource.props
    if resource.token.startswith("aws:ebs/volume:"):
        yield from _volume(("", props))
        return
    if resource.token.startswith("aws:ec2/launchTemplate:"):
        mappings = sequence(props.get("blockDeviceMappings"))
        if not [one for one in mappings if mapping(one).get("ebs")]:
            yield Finding("blockDeviceMappings names no volume, so the image decides", "one, encrypted")
        for number, one in enumerate(mappings):
            if not str(peek(one, "deviceName") or "").startswith("/dev/"):
                name = f"blockDeviceMappings[{number}].deviceName is {said(peek(one, 'deviceName'))}"
                yield Finding(f"{name}, so it is not the image's own volume", "such as /dev/xvda")
        yield from survey(
            [(f"blockDeviceMappings[{number}].ebs.", at(one, "ebs")) for number, one in enumerate(mappings)],
            _volume,
        )
        return
    for key in _BLOCKS:
        value = props.get(key)
        found = [value] if key == "rootBlockDevice" else [*sequence(value)]
        if key == "rootBlockDevice" and not value:
            yield Finding(f"{key} is absent, so the image decides", "a volume that is encrypted")
        yield from survey([(f"{key}.", one) for one in found if one], _volume)


def _volume(place: tuple[str, Any]) -> Iterator[Finding]:
    where, volume = place
    encrypted = at(volume, "encrypted")
    if volume is not None and not on(encrypted):
        yield Finding(f"{where}encrypted is {said(encrypted)}", "true")


RULE = Rule(
    name="aws-volumes-encrypted",
    group="aws",
    title="Every volume is encrypted.",
    why="Weights, prompts in swap or cache and credentials are readable in a copy of the disk.",
    fix="Set encrypted to true, and kmsKeyId where AWS' own key is not enough.",
    types=(*TYPES, "aws:ebs/volume:"),
    answers=("CIS AWS 6.1.1", "CKV_AWS_3", "CKV_AWS_8"),
    check=check,
)
