"""A stack of several clusters: a name means another object in each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berth_policy import pack
from berth_policy.run import Run
from berth_policy.testing import Given, check, given

if TYPE_CHECKING:
    from collections.abc import Sequence


def _objects(cluster: str) -> list[Given]:
    provider = given("pulumi:providers:kubernetes", f"{cluster}-provider", {"kubeconfig": "k"})
    labels = {"app": "web"}
    pod: dict[str, Any] = {
        "metadata": {"labels": labels},
        "spec": {"serviceAccountName": "web", "containers": [{"name": "c", "image": "a.example/b:1"}]},
    }
    objects: dict[str, dict[str, Any]] = {
        "kubernetes:core/v1:ServiceAccount": {},
        "kubernetes:apps/v1:Deployment": {
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": pod}
        },
    }
    return [
        given(
            token,
            f"{cluster}-{token.rpartition(':')[2]}",
            {"kind": token.rpartition(":")[2], "metadata": {"name": "web", "namespace": "room"}, **body},
            provider=provider,
        )
        for token, body in objects.items()
    ]


def _said(resources: Sequence[Given], *rules: str) -> list[tuple[str, str]]:
    chosen = tuple(rule for rule in pack.rules() if rule.name in rules)
    first = pack.rules()[0]
    found = check(pack.policies(Run(), (first, *chosen)), [*resources], stack="dev", project="shop")
    return [(one.policy, one.urn.rpartition("::")[2]) for one in found if one.policy in rules]


def test_two_clusters_may_have_the_same_account() -> None:
    name = "service-accounts-own"
    assert not _said([*_objects("home"), *_objects("cloud")], name)
    # In one cluster it is one account of two.
    (home, second) = _objects("home")[1], _objects("home")[1].but(name="other")
    assert _said([home, second], name)
