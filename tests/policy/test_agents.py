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
