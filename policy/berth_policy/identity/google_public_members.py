"""Nothing on Google Cloud is given to everybody."""

import re
from collections.abc import Iterator

from berth_policy.identity._google import PACKAGE, is_grant, members
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, survey

_EVERYBODY = {"allUsers", "allAuthenticatedUsers"}
_DEFAULT = re.compile(r"serviceAccount:(\d+-compute@developer|[\w-]+@appspot)\.gserviceaccount\.com")
_POOL = re.compile(r"principalSet://iam\.googleapis\.com/.*/workloadIdentityPools/[^/]+/\*")


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each member of each grant."""
    yield from survey([one for one in stack.of(*PACKAGE) if is_grant(one)], _grant)


def _grant(resource: Resource) -> Iterator[Finding]:
    for where, who in members(resource):
        if who in _EVERYBODY:
            yield Finding(f"{where} is {who}", "who needs it, by name", resource)
        elif _DEFAULT.fullmatch(who):
            yield Finding(
                f"{where} is a default service account, {who}", "an account of the workload's own", resource
            )
        elif _POOL.fullmatch(who):
            yield Finding(f"{where} is every identity of a pool", "one subject of it", resource)


RULE = Rule(
    name="google-public-members",
    group="identity",
    title="No role on Google Cloud is given to everybody, or to an account that everything runs as.",
    why="allUsers is the internet; what a default account may do, every machine and function may.",
    fix="Name a service account, group or subject.",
    types=PACKAGE,
    answers=("CIS GCP 1.10", "CIS GCP 5.1", "CKV_GCP_28", "CKV_GCP_46", "CKV_GCP_101", "CKV_GCP_112"),
    check_stack=check,
)
