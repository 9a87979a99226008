"""What the agents of a router are told, against the rest of the plan."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from berth_policy.testing import UNKNOWN, Given, Results, given

if TYPE_CHECKING:
    from collections.abc import Callable

SPACE = "room"
NAME, INSTANCE = "app.kubernetes.io/name", "app.kubernetes.io/instance"
CHAT = {NAME: "model-server", INSTANCE: "chat"}
RULES = {
    *("routers-residency", "routers-tls", "routers-cost-caps", "routers-reported-pods"),
    *("routers-documents", "routers-trusted-hops", "network-peers-programs", "services-internal"),
}
ROUTER: dict[str, Any] = {
    "version": 1,
    "listener": {"port": 8080, "trustedHops": 0},
    "backends": {
        "home": {"service": {"namespace": SPACE, "name": "chat"}},
        "aws": {
            "hosts": [{"address": "aws.example.org", "port": 443}],
            "tls": {"serverName": "example.org", "caFile": "/etc/berth-router-ca/0/ca.crt"},
        },
    },
    "variants": {
        "home": {"backends": ["home", "aws"]},
        "aws": {"backends": ["aws", "home"]},
        "bank-home": {"backends": ["home"]},
    },
    "routes": [
        {"name": "bank", "match": {"headers": {"x-bank": "yes"}}, "weights": {"bank-home": 100}},
        {"name": "all", "weights": {"home": 100, "aws": 0}},
    ],
}
HYBRID: dict[str, Any] = {
    "version": 1,
    "router": "front",
    "namespace": SPACE,
    "model": "chat",
    "sites": [
        {
            "name": "home",
            "url": f"http://front-report.{SPACE}.svc:8080",
            "costPerReplicaHour": 0,
            "mostReplicas": 4,
            "caFile": None,
            "serverName": None,
        },
        {
            "name": "aws",
            "url": "https://report-aws.example.org:8080",
            "costPerReplicaHour": 1.5,
            "mostReplicas": 4,
            "caFile": "/etc/berth-hybrid-ca/0/ca.crt",
            "serverName": "example.org",
        },
    ],
    "policy": {"costCapPerHour": 20},
    "routes": {"bank": ["home"], "all": ["home", "aws"]},
}
SITE: dict[str, Any] = {"version": 1, "models": {"chat": {"service": "chat", "selector": dict(CHAT)}}}


def _metadata(name: str, **labels: str) -> dict[str, Any]:
    return {"name": name, "namespace": SPACE, "labels": labels}


def _map(name: str, entry: str, body: Any) -> Given:
    text = body if body == UNKNOWN else json.dumps(body)
    inputs = {"metadata": _metadata(name), "data": {entry: text}}
    return given("kubernetes:core/v1:ConfigMap", name, inputs)


def _follower(name: str, variable: str, entry: str, **others: str) -> Given:
    env = [{"name": variable, "value": f"/etc/agent/{entry}"}]
    env += [{"name": key, "value": value} for key, value in others.items()]
    spec = {
        "containers": [{"name": "agent", "image": "agent", "env": env}],
        "volumes": [{"name": "document", "configMap": {"name": name}}],
    }
    labels = {NAME: f"{variable}-agent".lower(), INSTANCE: "front"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    inputs = {"metadata": _metadata(name), "spec": {"template": template}}
    return given("kubernetes:apps/v1:Deployment", name, inputs)


def _policy(name: str, **ways: Any) -> Given:
    spec = {"podSelector": {"matchLabels": {INSTANCE: name}}, "policyTypes": ["Ingress", "Egress"], **ways}
    inputs = {"metadata": _metadata(name, **{INSTANCE: name}), "spec": spec}
    return given("kubernetes:networking.k8s.io/v1:NetworkPolicy", name, inputs)


def _world(**changed: Any) -> list[Given]:
    """A router of two sites that breaks none of these rules; its documents may be others."""
    server = {"metadata": {"labels": CHAT}, "spec": {"containers": [{"name": "server", "image": "server"}]}}
    return [
        _map("front", "router.json", changed.get("router", ROUTER)),
        _map("front-hybrid", "hybrid.json", changed.get("hybrid", HYBRID)),
        _map("front-report", "site.json", changed.get("site", SITE)),
        _follower("front", "BERTH_ROUTER_DOCUMENT", "router.json"),
        _follower("front-hybrid", "BERTH_HYBRID_DOCUMENT", "hybrid.json"),
        _follower("front-report", "BERTH_SITE_DOCUMENT", "site.json", BERTH_SITE="home"),
        given(
            "kubernetes:apps/v1:Deployment",
            "chat",
            {"metadata": _metadata("chat"), "spec": {"template": server}},
        ),
        given(
            "kubernetes:core/v1:Service",
            "chat",
            {"metadata": _metadata("chat"), "spec": {"selector": CHAT, "ports": [{"port": 80}]}},
        ),
        given(
            "kubernetes:autoscaling/v2:HorizontalPodAutoscaler",
            "chat",
            {
                "metadata": _metadata("chat"),
                "spec": {
                    "minReplicas": 2,
                    "maxReplicas": 4,
                    "scaleTargetRef": {"kind": "Deployment", "name": "chat"},
                },
            },
        ),
        _policy(
            "front",
            ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 8080}]}],
            egress=[{"to": [{"podSelector": {"matchLabels": CHAT}}], "ports": [{"port": 8000}]}],
        ),
    ]


def _but(document: dict[str, Any], path: str, value: Any = None) -> dict[str, Any]:
    """A document with one value put in; without a value it is taken out."""
    made = copy.deepcopy(document)
    *above, last = [int(one) if one.isdigit() else one for one in path.split("/")]
    place: Any = made
    for key in above:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return made


def _tripped(judge: Callable[..., Results], resources: list[Given]) -> set[str]:
    found = judge(resources)
    assert not found.broken
    assert not RULES & found.unevaluated
    return RULES & found.tripped


def test_documents_that_agree(judge: Callable[..., Results]) -> None:
    assert _tripped(judge, _world()) == set()


@pytest.mark.parametrize(
    ("rule", "document", "path", "value"),
    [
        ("routers-residency", "router", "routes/0", None),
        ("routers-residency", "router", "routes/0/name", "other"),
        ("routers-residency", "router", "variants/bank-home/backends", ["home", "aws"]),
        ("routers-residency", "router", "routes/0/weights", {"aws": 100}),
        ("routers-residency", "router", "routes/0/match/headers/x-bank", "*"),
        ("routers-residency", "hybrid", "routes/bank", None),
        ("routers-residency", "hybrid", "router", "another"),
        ("routers-tls", "router", "backends/aws/tls", None),
        ("routers-tls", "router", "backends/aws/tls/caFile", None),
        ("routers-tls", "router", "backends/aws/tls/serverName", ""),
        ("routers-tls", "hybrid", "sites/1/url", "http://report-aws.example.org:8080"),
        ("routers-tls", "hybrid", "sites/1/caFile", None),
        ("routers-tls", "hybrid", "sites/1/serverName", None),
        ("routers-cost-caps", "hybrid", "policy", {}),
        ("routers-cost-caps", "hybrid", "policy/costCapPerHour", None),
        ("routers-cost-caps", "hybrid", "policy/costCapPerHour", "20"),
        ("routers-cost-caps", "hybrid", "sites/0/mostReplicas", 1),
        ("routers-reported-pods", "site", "models/chat/selector", {INSTANCE: "chat"}),
        ("routers-reported-pods", "site", f"models/chat/selector/{INSTANCE.replace('/', '~')}", None),
        ("routers-reported-pods", "site", "models/chat/selector/more", "labels"),
        ("routers-reported-pods", "site", "models/chat/service", "another"),
        ("routers-trusted-hops", "router", "listener/trustedHops", 1),
    ],
)
def test_documents_that_do_not(
    judge: Callable[..., Results], rule: str, document: str, path: str, value: Any
) -> None:
    if "~" in path:
        selector = {NAME: CHAT[NAME], INSTANCE: "*"}
        changed = _but(SITE, "models/chat/selector", selector)
    else:
        changed = _but({"router": ROUTER, "hybrid": HYBRID, "site": SITE}[document], path, value)
    assert _tripped(judge, _world(**{document: changed})) == {rule}


def test_sites_that_all_cost_nothing_need_no_cap(judge: Callable[..., Results]) -> None:
    free = _but(HYBRID, "sites/1/costPerReplicaHour", 0)
    free["policy"]["costCapPerHour"] = None
    assert _tripped(judge, _world(hybrid=free)) == set()
    # A cap that nobody names is no answer.
    assert _tripped(judge, _world(hybrid=_but(free, "policy", {}))) == {"routers-cost-caps"}


def test_what_is_behind_a_proxy_trusts_it(judge: Callable[..., Results]) -> None:
    trusting = _but(ROUTER, "listener/trustedHops", 1)
    rule = {"backendRefs": [{"name": "front", "port": 80}]}
    route = given(
        "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute",
        "front",
        {"metadata": _metadata("front"), "spec": {"rules": [rule]}},
    )
    assert _tripped(judge, [*_world(router=trusting), route]) == set()
    backend = {"service": {"name": "other", "port": {"number": 80}}}
    ingress = given(
        "kubernetes:networking.k8s.io/v1:Ingress",
        "front",
        {"metadata": _metadata("a"), "spec": {"tls": [{}], "defaultBackend": backend}},
    )
    assert _tripped(judge, [*_world(router=trusting), ingress]) == {"routers-trusted-hops"}


def test_only_production_needs_tls_between_sites(judge: Callable[..., Results]) -> None:
    plain = _but(ROUTER, "backends/aws/tls")
    here = given("berth:stacks:Environment", "e", {"environment": "development", "findings": []})
    assert _tripped(judge, [here, *_world(router=plain)]) == set()


def test_an_agent_mounts_its_document(judge: Callable[..., Results]) -> None:
    for place, one in enumerate(_world()):
        if one.type.endswith("Deployment") and one.name.startswith("front"):
            resources = _world()
            spec = copy.deepcopy(one.inputs["spec"])
            spec["template"]["spec"]["volumes"][0]["configMap"]["name"] = "other"
            resources[place] = one.but(inputs={**one.inputs, "spec": spec})
            assert _tripped(judge, resources) == {"routers-documents"}, one.name


def test_a_peer_names_program_and_instance(judge: Callable[..., Results]) -> None:
    def tripped(**peer: Any) -> set[str]:
        policy = _policy("front", egress=[{"to": [peer], "ports": [{"port": 8000}]}])
        return _tripped(judge, [*_world()[:-1], policy])

    space = {"matchLabels": {"kubernetes.io/metadata.name": SPACE}}
    assert tripped(podSelector={"matchLabels": CHAT}) == set()
    assert tripped(namespaceSelector=space, podSelector={"matchLabels": {NAME: "model-server"}}) == set()
    for labels in ({NAME: "model-server"}, {INSTANCE: "front"}, {}):
        assert tripped(podSelector={"matchLabels": labels}) == {"network-peers-programs"}
    assert tripped(namespaceSelector=space) == {"network-peers-programs"}
    # Whose pods are another's, whole namespaces may be meant.
    for name in ("elsewhere", "kube-system"):
        there = {"matchLabels": {"kubernetes.io/metadata.name": name}}
        assert tripped(namespaceSelector=there) == set()


def test_documents_that_nobody_knows_are_no_pass(judge: Callable[..., Results]) -> None:
    found = judge(_world(hybrid=UNKNOWN))
    assert {"routers-residency", "routers-tls", "routers-cost-caps"} <= found.unevaluated
    assert not RULES & found.tripped - {"routers-documents"}


def test_other_files_of_that_name_are_none_of_ours(judge: Callable[..., Results]) -> None:
    for entry in ("router.json", "hybrid.json", "site.json"):
        for text in ("", "no JSON", "[]", "{}", json.dumps({"routes": 3, "backends": [], "sites": "x"})):
            inputs = {"metadata": _metadata("other"), "data": {entry: text}}
            other = given("kubernetes:core/v1:ConfigMap", "other", inputs)
            assert _tripped(judge, [*_world(), other]) == set()


@pytest.mark.parametrize(
    ("cluster", "annotations", "trips"),
    [
        ("aws:eks/cluster:Cluster", {}, True),
        ("aws:eks/cluster:Cluster", {"networking.gke.io/load-balancer-type": "Internal"}, True),
        (
            "aws:eks/cluster:Cluster",
            {"service.beta.kubernetes.io/aws-load-balancer-internal": "true"},
            False,
        ),
        ("gcp:container/cluster:Cluster", {"networking.gke.io/load-balancer-type": "*"}, True),
        ("gcp:container/cluster:Cluster", {"networking.gke.io/load-balancer-type": "Internal"}, False),
        # Whose own cluster it is, nobody knows what its load balancers are.
        ("other:cluster:Cluster", {}, False),
    ],
)
def test_a_load_balancer_for_private_ranges_is_internal(
    judge: Callable[..., Results], cluster: str, annotations: dict[str, str], *, trips: bool
) -> None:
    made = given(cluster, "cluster", {})
    provider = given(
        "pulumi:providers:kubernetes",
        "site",
        {"kubeconfig": "made"},
        references={"kubeconfig": [made.urn_in("stack", "berth")]},
    )
    service = given(
        "kubernetes:core/v1:Service",
        "service",
        {
            "metadata": {**_metadata("a"), "annotations": annotations},
            "spec": {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local",
                "loadBalancerSourceRanges": ["10.0.0.0/8"],
            },
        },
        provider=provider,
    )
    found = judge([made, provider, service])
    assert ("services-internal" in found.tripped) is trips
