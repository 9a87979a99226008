"""Images in ECR are encrypted by a key of KMS."""

from collections.abc import Iterator

from berth_policy.reading import said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, mapping, sequence


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the kind of encryption."""
    configured = sequence(resource.props.get("encryptionConfigurations"))
    kind = at(mapping(configured[0]), "encryptionType") if configured else None
    if kind not in ("KMS", "KMS_DSSE"):
        yield Finding(f"encryptionConfigurations[0].encryptionType is {said(kind)}, so AES256", "'KMS'")


RULE = Rule(
    name="ecr-encryption",
    group="aws",
    title="A repository of ECR is encrypted by KMS.",
    why="Only a key of KMS can be taken away, and says in CloudTrail who used it. It cannot be added later.",
    fix="Give encryptionConfigurations one entry of encryptionType KMS.",
    levels={"local": "disabled", "development": "advisory", "production": "mandatory"},
    types=("aws:ecr/repository:",),
    answers=("CKV_AWS_136",),
    check=check,
)
