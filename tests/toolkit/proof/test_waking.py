"""The link from no replica to the first one: found whole, and each of its breaks by its name."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from berth.operations.proof import Resource, prove
from berth.operations.proof.links import LINKS

from tests.toolkit.proof.broken import HPA, edit, put, without
from tests.toolkit.proof.test_static import Plans, chain_of, failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth.operations.proof import Chain, Facts

Json = dict[str, Any]
STACK, MODEL, ROOM = "onprem", "smollm2", "berth-onprem"
ROUTER: Json = {"app.kubernetes.io/name": "router", "app.kubernetes.io/instance": "front"}
ADAPTER = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "berth-metrics"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "metrics-adapter"}},
}
DOCUMENT: Json = {
    "backends": {
        MODEL: {
            "service": {"namespace": ROOM, "name": MODEL},
            "wakes": {"holdSeconds": 300, "most": 100, "keys": True},
        }
    }
}


def router(like: Resource) -> list[Resource]:
    """A router's objects as its component makes them, in the cluster of another object."""
    metadata = {"name": "front", "namespace": ROOM, "labels": ROUTER}
    pod = {
        "containers": [
            {
                "name": "router",
                "ports": [{"name": "probes", "containerPort": 9001}, {"name": "load", "containerPort": 9003}],
                "volumeMounts": [{"name": "keys-0", "mountPath": f"/etc/berth-router-keys/{MODEL}"}],
            }
        ],
    }
    labels = {**ROUTER, "berth.dev/queue-metrics": "router"}
    made: list[Json] = [
        {"kind": "ConfigMap", "data": {"router.json": json.dumps(DOCUMENT)}},
        {"kind": "Deployment", "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}}},
        {
            "kind": "NetworkPolicy",
            "spec": {
                "podSelector": {"matchLabels": ROUTER},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [ADAPTER], "ports": [{"port": 9003, "protocol": "TCP"}]}],
            },
        },
    ]
    return [
        dataclasses.replace(
            like,
            urn=f"{like.urn}-{one['kind']}",
            type=f"kubernetes:core/v1:{one['kind']}",
            name=f"front-{one['kind']}",
            properties={**one, "metadata": metadata},
            references={},
        )
        for one in made
    ]


@pytest.fixture
def asleep(plans: Plans) -> list[Resource]:
    """A shipped plan in which the model may have no replica."""
    plan = edit(HPA, MODEL, put("spec", "minReplicas", value=0))(plans[STACK])
    (scaler,) = (one for one in plan if one.kind == HPA)
    return [*plan, *router(scaler)]


def link(chain: Chain) -> Any:
    return next(one for one in chain.links if one.name == "wakes")


def test_a_model_that_its_router_wakes_has_a_whole_chain(asleep: list[Resource], facts: Facts) -> None:
    chain = chain_of(prove(STACK, asleep, facts), MODEL)
    assert failed(chain) == []
    assert [one.name for one in chain.links] == [name for name, _, _ in LINKS]
    (limits,) = (one for one in chain.links if one.name == "limits")
    assert limits.findings[0].detail.startswith("0 to ")


def document(change: Callable[[Json], object]) -> Callable[[list[Resource]], list[Resource]]:
    made = copy.deepcopy(DOCUMENT)
    change(made["backends"][MODEL])
    return edit("ConfigMap", "front-ConfigMap", put("data", "router.json", value=json.dumps(made)))


TEMPLATE = ("spec", "template")
BREAKS: list[tuple[Callable[[list[Resource]], list[Resource]], str]] = [
    (without("ConfigMap", "front-ConfigMap"), "no router of its namespace holds requests"),
    (document(lambda backend: backend.pop("wakes")), "no router of its namespace holds requests"),
    (document(lambda backend: backend["service"].update(name="other")), "no router of its namespace holds"),
    (without("Deployment", "front-Deployment"), "is followed by no router"),
    (
        edit(
            "Deployment", "front-Deployment", put(*TEMPLATE, "spec", "containers", 0, "ports", value=[])
        ),
        "no container port named load",
    ),
    (
        edit(
            "Deployment", "front-Deployment",
            put(*TEMPLATE, "metadata", "labels", "berth.dev/queue-metrics", value="true"),
        ),
        "lack the label berth.dev/queue-metrics=router",
    ),
    (
        edit(
            "Deployment", "front-Deployment",
            put(*TEMPLATE, "spec", "containers", 0, "volumeMounts", value=[]),
        ),
        "lets nobody wake it",
    ),
    (
        edit("NetworkPolicy", "front-NetworkPolicy",
             put("spec", "ingress", 0, "ports", 0, "port", value=9001)),
        "lets the metrics adapter reach port 9003",
    ),
    (
        edit("NetworkPolicy", "front-NetworkPolicy",
             put("spec", "ingress", 0, "from", 0, "podSelector", "matchLabels", value={"a": "b"})),
        "lets the metrics adapter reach port 9003",
    ),
    (
        edit("NetworkPolicy", "berth-metrics-adapter",
             put("spec", "egress", 1, "ports", 0, "port", value=9002)),
        "lets it reach port 9003",
    ),
    (
        edit(HPA, MODEL, lambda made: made["spec"]["metrics"].pop()),
        "put to sleep under the requests",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BREAKS, ids=[words for _, words in BREAKS])
def test_a_broken_one_is_found_by_this_link_alone(
    asleep: list[Resource], facts: Facts, change: Callable[[list[Resource]], list[Resource]], words: str
) -> None:
    chain = chain_of(prove(STACK, change(asleep), facts), MODEL)
    assert failed(chain) == ["wakes"]
    assert any(words in one.detail for one in link(chain).findings), link(chain).findings
    assert all(one.remedy and one.objects for one in link(chain).findings)


def held_for(seconds: int) -> Callable[[list[Resource]], list[Resource]]:
    return document(lambda backend: backend["wakes"].update(holdSeconds=seconds))


def waits(chain: Chain) -> Any:
    (found,) = (one for one in link(chain).findings if "waits at most" in one.detail)
    return found


def test_what_is_held_is_compared_with_what_the_first_replica_may_take(
    asleep: list[Resource], facts: Facts
) -> None:
    def said(seconds: int) -> tuple[str, str]:
        found = waits(chain_of(prove(STACK, held_for(seconds)(asleep), facts), MODEL))
        assert found.remedy
        return found.verdict, found.detail

    # Nothing is asked for before who waits is sent away.
    verdict, detail = said(5)
    assert verdict == "failed"
    assert "waits at most 5 s (holdSeconds), and only after up to" in detail
    # Longer than that, and shorter than the budgets of its steps.
    verdict, detail = said(70)
    assert verdict == "unknown"
    assert "by its budgets the first replica may take" in detail
    assert "most of it engine loads the model" in detail
    # Longer than all that is known: what nobody has said is named.
    verdict, detail = said(7_000)
    assert verdict == "unknown"
    assert "nobody says yet: a node with room, images pulled" in detail


def test_keda_brings_the_first_replica_without_the_windows_of_an_hpa(
    asleep: list[Resource], facts: Facts
) -> None:
    found = waits(chain_of(prove(STACK, scaled(held_for(5)(asleep)), facts), MODEL))
    assert found.verdict == "unknown"
    assert "by its budgets" in found.detail


def test_nobody_can_set_the_gate_on_a_managed_cluster(plans: Plans, facts: Facts) -> None:
    plan = edit(HPA, "chat", put("spec", "minReplicas", value=0))(plans["aws-dev"])
    chain = chain_of(prove("aws-dev", plan, facts), "chat")
    assert failed(chain) == ["wakes"]


def scaled(plan: list[Resource], **spec: Any) -> list[Resource]:
    """The plan with KEDA instead of our adapter."""
    made = []
    own = f'sum(berth_queue_depth{{namespace="{ROOM}",pod=~"{MODEL}-.*"}}) or vector(0)'
    held = f'sum(berth_router_held_requests{{namespace="{ROOM}",service="{MODEL}"}}) or vector(0)'
    running = f'sum(berth_running_requests{{namespace="{ROOM}",pod=~"{MODEL}-.*"}}) or vector(0)'
    queries = spec.pop("queries", (f"({own}) + ({held})", running))
    for one in plan:
        if one.kind == HPA:
            triggers = [
                {
                    "type": "prometheus",
                    "metricType": "AverageValue",
                    "metadata": {"serverAddress": "http://p:9090", "query": query, "threshold": "2"},
                }
                for query in queries
            ]
            whole = {
                "scaleTargetRef": {"name": MODEL},
                "minReplicaCount": 0,
                "maxReplicaCount": 2,
                "triggers": triggers,
                **spec,
            }
            properties = {"kind": "ScaledObject", "metadata": one.properties["metadata"], "spec": whole}
            made.append(dataclasses.replace(one, properties=properties))
        elif one.kind != "APIService":
            made.append(one)
    return made


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, ""),
        ({"fallback": {"failureThreshold": 3, "replicas": 0}}, "a fallback of 0 replicas is none"),
        (
            {"queries": [f'sum(berth_queue_depth{{pod=~"{MODEL}-.*"}}) or vector(0)']},
            "no trigger counts berth_router_held_requests",
        ),
    ],
)
def test_keda_wakes_it_too(asleep: list[Resource], facts: Facts, spec: Json, words: str) -> None:
    chain = chain_of(prove(STACK, scaled(asleep, **spec), facts), MODEL)
    assert failed(chain) == (["wakes"] if words else [])
    assert words in " ".join(one.detail for one in link(chain).findings)
