"""Nodes of GKE have a service account of their own, with few rights."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pulumi_policy.proxy import UnknownValueError

from berth_policy.google._nodes import CLUSTER, POOL, node_configs
from berth_policy.reading import has, made_from
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, sequence, survey

_DEFAULT = re.compile(r"(\d+-compute@developer\.gserviceaccount\.com|default)$")
_SCOPES = "https://www.googleapis.com/auth/"
_ALLOWED = {
    *("cloud-platform", "devstorage.read_only", "logging.write", "monitoring", "monitoring.write"),
    *("service.management.readonly", "servicecontrol", "trace.append"),
}
"""What nodes need at most; with cloud-platform the account's roles decide, as Google advises."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at clusters and pools."""
    yield from survey(stack.of(CLUSTER, POOL), _resource)


def _resource(resource: Resource) -> Iterator[Finding]:

    def config(place: tuple[str, Mapping[str, Any]]) -> Iterator[Finding]:
        where, one = place
        yield from _account(resource, where, one)
        if has(one, "oauthScopes"):
            for scope in sequence(one.get("oauthScopes")):
                if str(scope).removeprefix(_SCOPES) not in _ALLOWED:
                    yield Finding(
                        f"{where}.oauthScopes has {scope}", "cloud-platform, or what nodes need", resource
                    )

    yield from survey(node_configs(resource), config)


def _account(resource: Resource, where: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    wanted = "an account made for these nodes"
    if not has(config, "serviceAccount"):
        yield Finding(f"{where}.serviceAccount is absent, so Compute Engine's default", wanted, resource)
        return
    try:
        account = str(config.get("serviceAccount"))
    except UnknownValueError:
        # The e-mail address of an account that is made here is not known before, but it is no default one.
        if made_from(resource, where.partition(".")[0].partition("[")[0], "gcp:serviceaccount/account:"):
            return
        raise
    if not account or _DEFAULT.search(account):
        yield Finding(f"{where}.serviceAccount is {account!r}", wanted, resource)


RULE = Rule(
    name="gke-node-identity",
    group="google",
    title="Nodes of GKE run as a service account of their own.",
    why="The default one is an editor of the whole project in many of them.",
    fix="Make a service account with roles/container.defaultNodeServiceAccount and name it in nodeConfig.",
    types=(CLUSTER, POOL),
    answers=("CIS GKE 5.2.1", "CIS GCP 4.1", "CIS GCP 4.2", "CKV2_GCP_1"),
    check_stack=check,
)
