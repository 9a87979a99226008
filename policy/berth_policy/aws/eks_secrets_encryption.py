"""Kubernetes Secrets in EKS are encrypted by a key of KMS."""

from collections.abc import Iterator

from berth_policy.reading import require, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, sequence


def check(resource: Resource) -> Iterator[Finding]:
    """Look at what is encrypted, and whether a key is named."""
    yield from require(resource.props, "encryptionConfig.provider.keyArn", "the ARN of a key of KMS")
    resources = at(resource.props, "encryptionConfig", "resources")
    if "secrets" not in [*sequence(resources)]:
        yield Finding(f"encryptionConfig.resources is {said(resources)}", "['secrets']")


RULE = Rule(
    name="eks-secrets-encryption",
    group="aws",
    title="Secrets of an EKS cluster are encrypted by a key of KMS.",
    why="Whoever reads etcd or a backup of it reads every key of every client otherwise.",
    fix="Set encryptionConfig with the key's ARN and resources [secrets]; it can be added, never taken away.",
    types=("aws:eks/cluster:",),
    answers=("CIS EKS 5.3.1", "CKV_AWS_58"),
    check=check,
)
