"""Each workload on GKE has an identity of its own."""

from collections.abc import Iterator

from berth_policy.identity._google import is_grant, members
from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, survey

_GRANTS = "gcp:serviceaccount/"
_USE = "roles/iam.workloadIdentityUser"
_KEY = "serviceAccountId"


def check(stack: Stack) -> Iterator[Finding]:
    """Gather who may act as which service account."""
    users: dict[str, list[tuple[str, Resource]]] = {}

    def note(grant: Resource) -> Iterator[Finding]:
        if is_grant(grant) and grant.props.get("role") == _USE:
            linked = [urn for urn in grant.references.get(_KEY, ()) if "gcp:serviceaccount/account:" in urn]
            if linked or has(grant.props, _KEY):
                account = linked[0] if linked else str(grant.props.get(_KEY))
                for _, who in members(grant):
                    users.setdefault(account, []).append((who, grant))
        yield from ()

    yield from survey(stack.of(_GRANTS), note)
    for account, claims in users.items():
        names = sorted({who for who, _ in claims})
        for who, grant in claims if len(names) > 1 else ():
            others = ", ".join(one for one in names if one != who)
            short = account.rpartition("::")[2]
            yield Finding(f"{who} acts as {short}, as does {others}", "an account of its own", grant)


RULE = Rule(
    name="google-identity-per-workload",
    group="identity",
    title="Each workload on GKE acts as a service account of its own.",
    why="Workloads that share an account share every right that one of them was given.",
    fix="Make a service account for each Kubernetes service account, or grant to its principal directly.",
    types=(_GRANTS,),
    answers=("CIS GKE 5.2.2",),
    check_stack=check,
)
