"""Each rule of Kubernetes: what is good, what is bad, what controllers make, what a preview does not know.

The good program is programs/raw.py; each case changes one thing of it, and exactly the named rules trip.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth_policy import pack
from berth_policy.testing import UNKNOWN, Given, Results, given
from berth_policy.testing.trial import Trial
from berth_policy.workloads import POD_SECURITY

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "programs"))
import bad  # type: ignore[import-not-found]
import raw  # type: ignore[import-not-found]
from rule_cases import (  # type: ignore[import-not-found]
    BAD,
    BESIDE,
    CONTEXT,
    FIRST,
    GONE,
    POD,
    Path_,
    binding,
    role,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def changed(objects: raw.Objects, path: Path_, value: Any) -> raw.Objects:
    """The program with one value put in or taken out."""
    result = copy.deepcopy(objects)
    if len(path) == 1:
        if value is GONE:
            del result[str(path[0])]
        else:
            result[str(path[0])] = value
        return result
    holder: Any = result[str(path[0])][1]
    for key in path[1:-1]:
        holder = holder.setdefault(key, {}) if isinstance(holder, dict) else holder[key]
    if value is GONE:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return result


def given_of(objects: raw.Objects) -> list[Given]:
    """The program's resources, as the runtime gets them."""
    return [given(token, name, inputs) for name, (token, inputs) in objects.items()]


def _id(case: tuple[str, Path_, Any]) -> str:
    return f"{case[0]} {'.'.join(map(str, case[1][-3:]))}"


@pytest.mark.parametrize("case", BAD, ids=_id)
def test_one_change_trips_its_rule(case: tuple[str, Path_, Any], judge: Callable[..., Results]) -> None:
    rule, path, value = case
    results = judge(given_of(changed(raw.good(), path, value)))
    assert not results.broken
    assert rule in results.tripped, results
    said = [one.message for one in results if one.policy == rule]
    assert all(
        words in said[0] for words in ("; wanted: ", "\nWhy: ", "\nFix: ", "\nMore: docs/policies.md#")
    )
    beside = results.tripped - {rule}
    assert beside <= {"disruption-budgets", "gateways-need-keys"} | BESIDE.get(rule, set()), results


@pytest.mark.parametrize("seconds", [30, 60])
def test_a_short_start_needs_no_probe_of_its_own(seconds: int, judge: Callable[..., Results]) -> None:
    one = raw.container()
    del one["startupProbe"]
    one["livenessProbe"]["initialDelaySeconds"] = seconds
    assert "pods-liveness" not in judge(given_of(changed(raw.good(), FIRST, one))).tripped


def test_an_engine_may_wait_for_its_gateways_drain(judge: Callable[..., Results]) -> None:
    gateway = raw.container() | {"env": [{"name": "BERTH_DRAIN_SECONDS", "value": "10"}]}
    engine = raw.container("engine") | {"lifecycle": {"preStop": {"exec": {"command": ["drained"]}}}}
    found = judge(given_of(changed(raw.good(), (*POD, "containers"), [engine, gateway])))
    assert not found.tripped & {"pods-drain", "pods-termination"}


def test_every_rule_of_kubernetes_has_a_case() -> None:
    tried = {case[0] for case in BAD} | {name for one in bad.BAD.values() for name in one.breaks}
    # test_agents.py and test_routers.py
    tried |= {"agents-nodes", "agents-probes", "agents-read-only-root", "agents-rollout", "agents-root"}
    tried.add("services-internal")
    groups = {"workloads", "network", "accelerators", "supply_chain"}
    wanted = {rule.name for rule in pack.rules() if rule.group in groups}
    wanted |= {rule.name for rule in pack.rules() if rule.name.startswith(("rbac-", "service-", "secrets-"))}
    assert wanted - tried == set()


TEMPLATES: dict[str, Path_] = {
    "kubernetes:core/v1:Pod": (),
    "kubernetes:core/v1:PodTemplate": ("template",),
    "kubernetes:core/v1:ReplicationController": ("spec", "template"),
    "kubernetes:apps/v1:Deployment": ("spec", "template"),
    "kubernetes:apps/v1:DeploymentPatch": ("spec", "template"),
    "kubernetes:apps/v1:ReplicaSet": ("spec", "template"),
    "kubernetes:apps/v1:StatefulSet": ("spec", "template"),
    "kubernetes:apps/v1:DaemonSet": ("spec", "template"),
    "kubernetes:batch/v1:Job": ("spec", "template"),
    "kubernetes:batch/v1:CronJob": ("spec", "jobTemplate", "spec", "template"),
    "kubernetes:argoproj.io/v1alpha1:Rollout": ("spec", "template"),
    "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet": (
        "spec",
        "leaderWorkerTemplate",
        "workerTemplate",
    ),
    "kubernetes:serving.kserve.io/v1beta1:InferenceService": ("spec", "predictor"),
}


def _in(kind: str, spec: dict[str, Any]) -> Given:
    body: dict[str, Any] = {"metadata": {"labels": raw.SELECTOR}, "spec": spec}
    if kind.endswith("InferenceService"):
        body = spec
    for key in reversed(TEMPLATES[kind]):
        body = {str(key): body}
    return given(kind, "it", {**body, "metadata": {**raw.metadata("it"), **body.get("metadata", {})}})


@pytest.mark.parametrize("place", ["containers", "initContainers", "ephemeralContainers"])
@pytest.mark.parametrize("kind", TEMPLATES)
def test_pods_are_found_in_whatever_makes_them(kind: str, place: str, judge: Callable[..., Results]) -> None:
    spec = raw.pod_spec()
    spec.setdefault(place, []).append({**raw.container("second"), "securityContext": {"privileged": True}})
    results = judge([_in(kind, spec)])
    assert not results.broken
    found = {one.policy: one.message for one in results if one.status == "violated"}
    assert {"pods-privileged", "pods-capabilities", "pods-privilege-escalation"} <= set(found)
    assert f"{place}[" in found["pods-privileged"]


def test_lists_hold_what_they_hold(judge: Callable[..., Results]) -> None:
    spec = raw.pod_spec()
    spec["hostNetwork"] = True
    items = [{"metadata": raw.metadata("it"), "spec": {"template": {"spec": spec}}}]
    results = judge([given("kubernetes:apps/v1:DeploymentList", "list", {"items": items})])
    found = [one.message for one in results if one.policy == "pods-host-namespaces"]
    assert len(found) == 1
    assert "items[0].spec.template.spec.hostNetwork" in found[0]


def test_a_node_agent_may_what_its_namespace_says_why(judge: Callable[..., Results]) -> None:
    spec = raw.pod_spec()
    spec |= {"hostPID": True, "serviceAccountName": "agent"}
    body = {"metadata": raw.metadata("a"), "spec": {"template": {"spec": spec}}}
    agent = given("kubernetes:apps/v1:DaemonSet", "agent", body)
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    reason = {"berth.dev/pod-security-reason": "it reads the processes of its node"}
    for said, trips in (({}, True), (reason, False)):
        space = given(
            "kubernetes:core/v1:Namespace",
            "space",
            {"metadata": {"name": raw.SPACE, "labels": labels, "annotations": said}},
        )
        tripped = judge([space, agent]).tripped
        assert ("pods-host-namespaces" in tripped) is trips
        assert ("namespaces-restricted" in tripped) is trips
    # Only a DaemonSet is an agent.
    pod = given("kubernetes:core/v1:Pod", "pod", {"metadata": raw.metadata("a"), "spec": spec})
    assert "pods-host-namespaces" in judge([space, pod]).tripped


UNKNOWN_AT: list[tuple[str, Path_]] = [
    ("pods-privileged", (*CONTEXT, "privileged")),
    ("pods-host-namespaces", (*POD, "hostNetwork")),
    ("pods-capabilities", (*CONTEXT, "capabilities", "drop")),
    ("pods-resources", (*FIRST, "resources", "limits", "memory")),
    ("images-digest", (*FIRST, "image")),
    ("network-metadata", ("allow", "spec", "egress", 0, "to", 0, "ipBlock", "cidr")),
    ("services-not-public", ("service", "spec", "type")),
    ("service-accounts-own", (*POD, "serviceAccountName")),
    ("disruption-budgets", ("budget", "spec", "maxUnavailable")),
    ("production-replicas", ("scaler", "spec", "minReplicas")),
    ("namespaces-restricted", ("space", "metadata", "labels")),
]


@pytest.mark.parametrize(("rule", "path"), UNKNOWN_AT, ids=[rule for rule, _ in UNKNOWN_AT])
def test_a_value_that_it_needs_and_nobody_knows_is_no_pass(
    rule: str, path: Path_, judge: Callable[..., Results]
) -> None:
    results = judge(given_of(changed(raw.good(), path, UNKNOWN)))
    assert rule in results.unevaluated
    assert rule not in results.tripped
    assert not results.broken


@pytest.mark.parametrize(
    "path",
    [
        (*FIRST, "env"),
        (*POD[:-1], "metadata", "annotations", "checksum"),
        ("web", "metadata", "annotations", "any"),
        ("web", "spec", "revisionHistoryLimit"),
        ("service", "spec", "clusterIP"),
        ("allow", "metadata", "labels", "any"),
    ],
    ids=lambda path: ".".join(map(str, path[-2:])),
)
def test_a_value_that_no_rule_needs_stops_none(path: Path_, judge: Callable[..., Results]) -> None:
    value: Any = [{"name": "ADDRESS", "value": UNKNOWN}] if path[-1] == "env" else UNKNOWN
    assert judge(given_of(changed(raw.good(), path, value))) == ()


def test_what_is_found_before_an_unknown_value_still_counts(judge: Callable[..., Results]) -> None:
    objects = changed(raw.good(), (*CONTEXT, "privileged"), UNKNOWN)
    second = copy.deepcopy(objects["web"])
    second[1]["metadata"]["name"] = "second"
    second[1]["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privileged"] = True
    objects["second"] = second
    results = judge(given_of(objects))
    assert "pods-privileged" in results.tripped
    assert "pods-privileged" in results.unevaluated
    unsure = next(one for one in results if one.status == "unevaluated")
    assert "Deployment shop/web" in unsure.message


def test_levels_follow_the_environment(judge: Callable[..., Results]) -> None:
    objects = changed(raw.good(), (*FIRST, "image"), "registry.example/web:1")
    here = given("berth:stacks:Environment", "environment", {"environment": "development", "findings": []})
    assert judge(given_of(objects)).tripped == {"images-digest"}
    assert judge([here, *given_of(objects)]) == ()
    assert judge(given_of(objects), config={"environment": {"environment": "local"}}) == ()
    odd = judge(given_of(objects), config={"environment": {"environment": "prod"}})
    assert odd.tripped == {"environment", "images-digest"}


def test_pod_security_is_made_of_rules_that_are_there() -> None:
    assert set(POD_SECURITY) <= {rule.name for rule in pack.rules()}


WRONG: list[Any] = [None, "x", 3, [], {}, True, [1], {"a": 1}, [None], "", [{"name": None}]]


def _places(value: Any, path: Path_ = ()) -> list[Path_]:
    found = [path] if path else []
    if isinstance(value, dict):
        found += [one for key, item in value.items() for one in _places(item, (*path, key))]
    if isinstance(value, list):
        found += [one for number, item in enumerate(value) for one in _places(item, (*path, number))]
    return found


def rich() -> raw.Objects:
    """The good program with more in it than is good, so that every rule has something to read."""
    objects = raw.good()
    for path, value in {
        (*POD, "tolerations"): [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        (*POD, "nodeSelector"): {"pool": "gpu"},
        (*POD, "affinity", "podAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution"): [
            {
                "podAffinityTerm": {
                    "topologyKey": "zone",
                    "labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
                }
            }
        ],
        (*POD, "securityContext", "sysctls"): [{"name": "a", "value": "b"}],
        (*POD, "securityContext", "seLinuxOptions"): {"type": "a"},
        (*FIRST, "env"): [
            {"name": "BERTH_WEIGHTS_SOURCE", "value": "hub"},
            {"name": "BERTH_WEIGHTS_MANIFEST", "value": "/weights/manifest.json"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "a"}}},
        ],
        (*FIRST, "envFrom"): [{"configMapRef": {"name": "web"}}],
        (*FIRST, "args"): ["--model", "a/b", "--revision=x", "--tensor-parallel-size", "2"],
        (*FIRST, "image"): "docker.io/vllm/vllm-openai:v1",
        (*FIRST, "resources", "limits", "nvidia.com/gpu"): "1",
        (*FIRST, "volumeMounts"): [{"name": "weights", "mountPath": "/weights"}],
        (*POD, "volumes"): [{"name": "weights", "configMap": {"name": "web"}}],
        ("role",): role(resources=["pods"], verbs=["get"], resourceNames=["a"]),
        ("binding",): binding("view", kind="ServiceAccount", name="web", namespace="shop"),
    }.items():
        objects = changed(objects, path, value)
    objects["ingress"] = (
        "kubernetes:networking.k8s.io/v1:Ingress",
        {"metadata": {"name": "a", "annotations": {"a": "b"}}, "spec": {"tls": [{"hosts": ["a"]}]}},
    )
    objects["config"] = (
        "kubernetes:core/v1:ConfigMap",
        {"metadata": raw.metadata("web"), "data": {"BERTH_DRAIN_SECONDS": "5", "manifest.json": "{}"}},
    )
    objects["pool"] = (
        "kubernetes:karpenter.sh/v1:NodePool",
        {
            "metadata": {"name": "gpu"},
            "spec": {
                "limits": {"cpu": "1"},
                "template": {
                    "metadata": {"labels": {"pool": "gpu"}},
                    "spec": {
                        "taints": [{"key": "a"}],
                        "requirements": [{"key": "a", "operator": "In", "values": ["x"]}],
                    },
                },
            },
        },
    )
    return objects


def test_no_rule_raises_whatever_a_program_writes() -> None:
    """Every value of the good program, one after the other, as something of another type."""
    objects = rich()
    raised = {}
    tried = 0
    for name, (_, inputs) in objects.items():
        for path in _places(inputs):
            for value in WRONG:
                spoiled = changed(objects, (name, *path), value)
                try:
                    Trial(pack.rules(), given_of(spoiled))  # judges all of it
                except Exception as error:  # noqa: BLE001 - all of them are to be told
                    raised[name, path, repr(value)] = error
                tried += 1
    assert not raised
    assert tried > 1000
