"""Kubernetes Secrets in GKE are encrypted by a key of Cloud KMS."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import expect, require
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource

_ENCRYPTED = {"ENCRYPTED", "ALL_OBJECTS_ENCRYPTION_ENABLED"}


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the state, and whether a key is named."""
    yield from expect(
        resource.props,
        "databaseEncryption.state",
        lambda value: isinstance(value, str) and value in _ENCRYPTED,
        "'ENCRYPTED'",
        "DECRYPTED",
    )
    yield from require(resource.props, "databaseEncryption.keyName", "a key of Cloud KMS")


RULE = Rule(
    name="gke-secrets-encryption",
    group="google",
    title="Secrets of a GKE cluster are encrypted by a key of Cloud KMS.",
    why="Whoever reads etcd or a backup of it reads every key of every client otherwise.",
    fix="Set databaseEncryption with state ENCRYPTED and the key's name.",
    types=(CLUSTER,),
    answers=("CIS GKE 5.3.1",),
    check=check,
)
