"""Volumes of SageMaker's instances, and what they capture, are encrypted by a key of KMS."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.reading import has, items, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, mapping, survey

_OWN_DISKS = ("ml.g4dn.", "ml.g5.", "ml.g6.", "ml.g6e.", "ml.p4d.", "ml.p4de.", "ml.p5", "ml.p6", "ml.trn")
"""Machines with NVMe disks, which their hardware encrypts: a key of KMS is refused there (KmsKeyId of
CreateEndpointConfig in SageMaker's API, botocore 1.44.5)."""
_KEYS = ("productionVariants", "shadowProductionVariants")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at variants whose machines have volumes, and at captured data."""
    keyed = has(resource.props, "kmsKeyArn")

    def variant(place: tuple[str, Mapping[str, Any]]) -> Iterator[Finding]:
        where, one = place
        if has(one, "instanceType") and not keyed:
            machine = one.get("instanceType")
            if not isinstance(machine, str) or not machine.startswith(_OWN_DISKS):
                yield Finding(f"kmsKeyArn is absent, and {where} runs on {said(machine)}", "a key of KMS")

    yield from survey(
        [
            (f"{key}[{number}]", mapping(one))
            for key in _KEYS
            if has(resource.props, key)
            for number, one in items(resource.props, key)
        ],
        variant,
    )
    capture = at(resource.props, "dataCaptureConfig")
    if on(at(capture, "enableCapture")) and not has(capture, "kmsKeyId"):
        yield Finding("dataCaptureConfig.kmsKeyId is absent while requests are captured", "a key of KMS")


RULE = Rule(
    name="sagemaker-volumes",
    group="aws",
    title="Volumes of a SageMaker endpoint and captured requests are encrypted by a key of KMS.",
    why="Both hold what clients asked.",
    fix="Set kmsKeyArn, and dataCaptureConfig.kmsKeyId where requests are captured.",
    types=("aws:sagemaker/endpointConfiguration:",),
    answers=("CKV_AWS_98",),
    check=check,
)
