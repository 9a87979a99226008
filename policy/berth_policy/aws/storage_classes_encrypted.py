"""Volumes that pods claim on EKS are encrypted."""

from collections.abc import Iterator

from berth_policy.kubernetes import objects
from berth_policy.reading import on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at

_DRIVERS = ("ebs.csi.aws.com", "ebs.csi.eks.amazonaws.com", "kubernetes.io/aws-ebs")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the parameters of storage classes of EBS."""
    for one in objects(resource):
        if one.kind == "StorageClass" and one.body.get("provisioner") in _DRIVERS:
            encrypted = at(one.body, "parameters", "encrypted")
            if not on(encrypted):
                yield Finding(f"{one.path}parameters.encrypted is {said(encrypted)}", "'true'")


RULE = Rule(
    name="aws-storage-classes-encrypted",
    group="aws",
    title="Storage classes of EBS make encrypted volumes.",
    why="The account's default decides otherwise, and it may be none.",
    fix='Set parameters.encrypted to "true".',
    types=("kubernetes:storage.k8s.io/", "kubernetes:yaml", "kubernetes:core/v1:List"),
    answers=("CIS AWS 6.1.1", "CKV_AWS_3"),
    check=check,
)
