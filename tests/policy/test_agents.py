"""Node agents choose their nodes, and write to none of what these are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from berth_policy.testing import UNKNOWN, Results, given

if TYPE_CHECKING:
    from collections.abc import Callable

SPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": "agents",
        "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
        "annotations": {"berth.dev/pod-security-reason": "devices"},
    },
}


def test_an_agent_of_every_node(judge: Callable[..., Results]) -> None:
    term = {"matchExpressions": [{"key": "berth.dev/pool", "operator": "In", "values": ["chat"]}]}
    required = "requiredDuringSchedulingIgnoredDuringExecution"

    def judged(**spec: Any) -> bool:
        agent = {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "agent", "namespace": "agents"},
            "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a"}], **spec}}},
        }
        found = judge(
            [
                given("kubernetes:core/v1:Namespace", "agents", SPACE),
                given("kubernetes:apps/v1:DaemonSet", "agent", agent),
            ]
        )
        return "agents-nodes" in found.tripped

    assert judged()
    assert not judged(nodeSelector={"pool": "chat"})
    assert not judged(affinity={"nodeAffinity": {required: {"nodeSelectorTerms": [term]}}})
    # Terms are alternatives: an empty one is every node.
    assert judged(affinity={"nodeAffinity": {required: {"nodeSelectorTerms": [term, {}]}}})
    assert judged(nodeSelector=UNKNOWN) is False


@pytest.mark.parametrize(
    ("path", "mount", "trips"),
    [
        ("/", {}, True),
        ("/etc/../etc/", {"readOnly": False}, True),
        ("/var/log/pods", {}, True),
        ("/", {"readOnly": True}, False),
        ("/var/lib/kubelet/device-plugins", {}, False),
        ("/etcetera", {}, False),
    ],
)
def test_what_a_node_is_made_of_is_not_for_its_agents_to_write(
    judge: Callable[..., Results], path: str, mount: dict[str, Any], *, trips: bool
) -> None:
    agent = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "agents"},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "a",
                            "image": "a",
                            "volumeMounts": [{"name": "h", "mountPath": "/h", **mount}],
                        }
                    ],
                    "volumes": [{"name": "h", "hostPath": {"path": path}}],
                }
            }
        },
    }
    found = judge(
        [
            given("kubernetes:core/v1:Namespace", "agents", SPACE),
            given("kubernetes:apps/v1:DaemonSet", "agent", agent),
        ]
    )
    assert ("pods-mounts-read-only" in found.tripped) is trips


def _agent(container: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any) -> list[Any]:
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "agents", "annotations": annotations or {}},
        "spec": {
            "template": {"spec": {"containers": [{"name": "a", "image": "a", **container}]}},
            **spec,
        },
    }
    return [
        given("kubernetes:core/v1:Namespace", "agents", SPACE),
        given("kubernetes:apps/v1:DaemonSet", "agent", body),
    ]


def test_an_agent_is_root_or_writes_to_its_image_only_with_a_reason(judge: Callable[..., Results]) -> None:
    rules = {"agents-root", "agents-read-only-root"}

    def tripped(context: dict[str, Any], annotations: dict[str, str] | None = None) -> set[str]:
        return rules & judge(_agent({"securityContext": context}, annotations)).tripped

    assert tripped({}) == rules
    assert tripped({"runAsNonRoot": False, "readOnlyRootFilesystem": False}) == rules
    assert tripped({"runAsNonRoot": True, "readOnlyRootFilesystem": True}) == set()
    root = {"berth.dev/root-reason": "the kubelet's socket is root's"}
    assert tripped({"readOnlyRootFilesystem": True}, root) == set()
    assert tripped({"readOnlyRootFilesystem": True}, {"berth.dev/root-reason": " "}) == {"agents-root"}
    writes = {"berth.dev/writable-root-reason": "nobody knows where it writes"}
    assert tripped({"runAsNonRoot": True}, writes) == set()
    unknown = judge(_agent({"securityContext": {"runAsNonRoot": UNKNOWN, "readOnlyRootFilesystem": UNKNOWN}}))
    assert rules <= unknown.unevaluated


def test_an_agent_that_listens_is_asked(judge: Callable[..., Results]) -> None:
    probe = {"httpGet": {"path": "/", "port": 9100}}
    probes = {"startupProbe": probe, "readinessProbe": probe, "livenessProbe": probe}
    port = {"ports": [{"containerPort": 9100}]}

    def tripped(container: dict[str, Any]) -> bool:
        return "agents-probes" in judge(_agent(container)).tripped

    assert not tripped({**port, **probes})
    # Nobody can ask what does not listen: a device plugin.
    assert not tripped({})
    for name in probes:
        assert tripped({**port, **{key: value for key, value in probes.items() if key != name}}), name
    assert tripped({**port, **probes, "readinessProbe": {**probe, "periodSeconds": 60}})
    assert tripped({**port, **probes, "livenessProbe": {**probe, "failureThreshold": 60}})


@pytest.mark.parametrize(
    ("strategy", "trips"),
    [
        ({}, False),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}, False),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}, False),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 10}}, True),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}, True),
        ({"type": "OnDelete"}, True),
    ],
)
def test_an_update_of_agents_takes_a_few_nodes_at_a_time(
    judge: Callable[..., Results], strategy: dict[str, Any], *, trips: bool
) -> None:
    found = judge(_agent({}, updateStrategy=strategy))
    assert ("agents-rollout" in found.tripped) is trips


def test_an_agent_tolerates_what_it_likes(judge: Callable[..., Results]) -> None:
    agent = _agent({})
    agent[1].inputs["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]
    assert "pods-tolerations" not in judge(agent).tripped
