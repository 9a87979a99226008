"""What the static part finds: a broken link by that link alone, nothing in what is shipped, no guesses."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from berth.operations.proof import UNKNOWN, Facts, Quota, Resource, page, prove
from berth.operations.proof.links import LINKS
from berth.operations.proof.links.metric import series_of

from tests.toolkit.proof.broken import BROKEN, HPA, Broken, edit, put

if TYPE_CHECKING:
    from berth.operations.proof import Chain, Proof

Plans = dict[str, list[Resource]]
NAMES = [name for name, _, _ in LINKS]


def chain_of(proof: Proof, model: str) -> Chain:
    (found,) = (one for one in proof.chains if one.autoscaler.endswith(f"/{model}"))
    return found


def failed(chain: Chain) -> list[str]:
    return [link.name for link in chain.links if link.verdict == "failed"]


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_link_is_found_by_that_link_alone(case: Broken, plans: Plans, facts: Facts) -> None:
    proof = prove(case.stack, case.change(plans[case.stack]), facts)
    chain = chain_of(proof, case.chain)
    assert failed(chain) == [case.link]
    assert proof.exit_code == 1
    link = next(link for link in chain.links if link.name == case.link)
    named = [" ".join(finding.objects) for finding in link.findings]
    assert any(all(part in objects for part in case.objects) for objects in named), named
    assert all(finding.remedy for finding in link.findings)
    # What is broken in one chain is not said of the stack's other chains, unless they share it.
    text = page(proof)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert link.findings[0].detail.split()[0] in text


def test_every_link_but_the_quota_is_broken_once_and_there_are_twenty() -> None:
    assert {case.link for case in BROKEN} == set(NAMES) - {"quota"}
    assert len(BROKEN) >= 20
    assert len({case.name for case in BROKEN}) == len(BROKEN)


def test_nothing_is_wrong_with_what_is_shipped(plans: Plans, facts: Facts) -> None:
    for stack, resources in plans.items():
        proof = prove(stack, resources, facts)
        assert proof.chains, stack
        for chain in proof.chains:
            assert failed(chain) == [], (stack, chain.autoscaler)
            assert [link.name for link in chain.links] == NAMES
        # No cloud was asked for its quota, nobody has measured its nodes: that is said, not passed over.
        assert proof.exit_code == 3
        json.dumps(proof.to_json())


@pytest.mark.parametrize(("nodes", "verdict"), [(2, "failed"), (7, "passed"), (None, "unknown")])
def test_a_quota_that_was_asked_for_is_compared(
    plans: Plans, facts: Facts, nodes: int | None, verdict: str
) -> None:
    quotas = {} if nodes is None else {"aws-chat": Quota(nodes, "Running On-Demand G and VT instances")}
    chain = chain_of(prove("aws-prod", plans["aws-prod"], dataclasses.replace(facts, quotas=quotas)), "chat")
    (link,) = (link for link in chain.links if link.name == "quota")
    assert link.verdict == verdict
    if nodes is not None:
        assert "Running On-Demand" in " ".join(link.findings[0].objects)


def test_pools_that_models_share_are_counted_once_for_all(plans: Plans, facts: Facts) -> None:
    plan = plans["aws-prod"]
    moved = edit("Deployment", "batch", lambda made: made["spec"]["template"]["spec"].update(
        nodeSelector={"berth.dev/pool": "aws-chat"},
        tolerations=[{"operator": "Exists"}],
    ))(plan)  # fmt: skip
    limits = ("spec", "template", "spec", "containers", 0, "resources", "limits")
    moved = edit("Deployment", "batch", put(*limits, value={"nvidia.com/gpu": "1"}))(moved)
    requests = (*limits[:-1], "requests")
    moved = edit("Deployment", "batch", put(*requests, value={"cpu": "4", "memory": "16Gi"}))(moved)
    proof = prove("aws-prod", moved, facts)
    for model in ("chat", "batch"):
        assert failed(chain_of(proof, model)) == ["capacity"]
    detail = next(link for link in proof.chains[0].links if link.name == "capacity").findings[0].detail
    assert "6 of Deployment berth-aws-prod/chat" in detail
    assert "3 of Deployment berth-aws-prod/batch" in detail
    assert "9 nodes" in detail


@pytest.mark.parametrize(
    ("place", "path", "link"),
    [
        ((HPA, "chat"), ("spec", "maxReplicas"), "limits"),
        (("Deployment", "chat"), ("spec", "template", "spec", "tolerations"), "taints"),
        (("Deployment", "chat"), ("spec", "template", "spec", "nodeSelector"), "selectors"),
        (("PodDisruptionBudget", "chat"), ("spec", "maxUnavailable"), "scale-down"),
        (("aws:eks/nodeGroup:NodeGroup", "aws-chat-nodes"), ("scalingConfig",), "capacity"),
        (("APIService", "v1beta1.external.metrics.k8s.io"), ("spec", "service"), "matches"),
        ((HPA, "chat"), ("spec", "metrics", 0, "external", "metric", "name"), "exported"),
        ((HPA, "chat"), ("spec", "metrics", 0, "external", "target", "averageValue"), "value"),
        ((HPA, "chat"), ("spec", "scaleTargetRef"), "target"),
        (("aws:autoscaling/tag:Tag", "aws-chat-tag-accelerators"), ("tag",), "wakes"),
    ],
)
def test_what_is_not_known_stays_unknown(
    plans: Plans, facts: Facts, place: tuple[str, str], path: tuple[str | int, ...], link: str
) -> None:
    proof = prove("aws-dev", edit(*place, put(*path, value=UNKNOWN))(plans["aws-dev"]), facts)
    chain = chain_of(proof, "chat")
    assert failed(chain) == []
    found = next(one for one in chain.links if one.name == link)
    assert found.verdict == "unknown"
    assert "not known" in found.findings[0].detail
    assert proof.exit_code == 3


def test_any_value_may_be_unknown_or_missing_without_a_failure_of_the_proof_itself(
    plans: Plans, facts: Facts
) -> None:
    """Every value of every object of the chain, once unknown and once missing; probes are no part of it."""
    plan = plans["aws-dev"]
    wanted = {HPA, "Deployment", "PodDisruptionBudget", "APIService", "Service", "NetworkPolicy", "ConfigMap"}
    for index, one in enumerate(plan):
        if one.kind not in wanted and one.name not in {"aws-chat-nodes", "aws-chat-tag-accelerators"}:
            continue
        if one.kind and one.properties["metadata"].get("namespace", "") not in {
            "",
            "berth-aws-dev",
            "berth-metrics",
        }:
            continue
        for path in paths(one.properties):
            if path[0] in {"kind", "apiVersion"} or path[:2] == ("metadata", "name") or "command" in path:
                continue
            for value in (UNKNOWN, ...):
                properties = copy.deepcopy(dict(one.properties))
                put(*path, value=value)(properties)
                changed = [*plan]
                changed[index] = dataclasses.replace(one, properties=properties)
                verdict = prove("aws-dev", changed, facts).verdict
                assert verdict in {"unknown", "failed"}, (one.title, path)
                if value is UNKNOWN:
                    assert verdict == "unknown", (one.title, path)


def paths(value: Any, before: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path below a value, of branches and leaves."""
    entries: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    found: list[tuple[str | int, ...]] = []
    for key, inner in entries:
        found += [(*before, key), *paths(inner, (*before, key))]
    return found


def test_a_stack_without_autoscaler_has_no_chain_and_says_so(plans: Plans, facts: Facts) -> None:
    left = [one for one in plans["onprem"] if one.kind != HPA]
    proof = prove("onprem", left, facts)
    assert (proof.chains, proof.exit_code) == ((), 0)
    assert "nothing in this stack is scaled" in page(proof)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('sum(berth_queue_depth{site="a", model="x"}) or vector(0)', ["berth_queue_depth"]),
        ("sum by (pod) (rate(tgi_request_count[1m]))", ["tgi_request_count"]),
        ("max_over_time(a:b[5m]) / on(pod) group_left(x) clamp_min(c, 1)", ["a:b", "c"]),
    ],
)
def test_the_series_of_a_query(query: str, names: list[str]) -> None:
    assert series_of(query) == names


def by_keda(plan: list[Resource], query: str) -> list[Resource]:
    """The plan with KEDA instead of its HPA and our adapter."""
    made = []
    for one in plan:
        if one.kind == HPA:
            trigger = {
                "type": "prometheus",
                "metricType": "AverageValue",
                "metadata": {"serverAddress": "http://prometheus:9090", "query": query, "threshold": "4"},
            }
            spec = {
                "scaleTargetRef": {"name": "chat"},
                "minReplicaCount": 1,
                "maxReplicaCount": 2,
                "triggers": [trigger],
            }
            metadata = one.properties["metadata"]
            scaled = {
                "apiVersion": "keda.sh/v1alpha1",
                "kind": "ScaledObject",
                "metadata": metadata,
                "spec": spec,
            }
            made.append(dataclasses.replace(one, properties=scaled))
        elif one.kind != "APIService":
            made.append(one)
    return made


POD_QUERY = 'sum({}{{namespace="berth-aws-dev",pod=~"chat-.*"}}) or vector(0)'


@pytest.mark.parametrize(
    ("query", "link"),
    [
        (POD_QUERY.format("berth_queue_depth"), None),
        (POD_QUERY.format("vllm_requests_queued"), "exported"),
        (POD_QUERY.format("berth_queue_depth").replace("chat", "other"), "matches"),
    ],
)
def test_a_chain_by_keda_is_followed_too(plans: Plans, facts: Facts, query: str, link: str | None) -> None:
    (chain,) = prove("aws-dev", by_keda(plans["aws-dev"], query), facts).chains
    assert chain.autoscaler == "ScaledObject berth-aws-dev/chat"
    assert failed(chain) == ([link] if link else [])


def test_keda_beside_our_adapter_is_refused_by_name(plans: Plans, facts: Facts) -> None:
    plan = by_keda(plans["aws-dev"], POD_QUERY.format("berth_queue_depth"))
    api = [one for one in plans["aws-dev"] if one.kind == "APIService"]
    (chain,) = prove("aws-dev", [*plan, *api], facts).chains
    assert failed(chain) == ["matches"]
    (finding,) = next(one for one in chain.links if one.name == "matches").findings
    assert finding.objects == (
        "ScaledObject berth-aws-dev/chat",
        "APIService v1beta1.external.metrics.k8s.io",
    )
    assert "both claim" in finding.detail
