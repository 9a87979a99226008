"""Service accounts on Google Cloud have no keys."""

from collections.abc import Iterator

from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(_: Resource) -> Iterator[Finding]:
    """Refuse keys."""
    yield Finding("it makes a credential that does not expire", "Workload Identity, or federation")


RULE = Rule(
    name="google-service-account-keys",
    group="identity",
    title="No service account has a key.",
    why="A key works from anywhere until somebody takes it away, and it is in the state of this stack.",
    fix="Use Workload Identity for pods, and federation for CI.",
    types=("gcp:serviceaccount/key:", "gcp:storage/hmacKey:"),
    answers=("CIS GCP 1.5", "CKV2_GCP_3"),
    check=check,
)
