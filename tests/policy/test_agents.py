"""Node agents choose their nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berth_policy.testing import UNKNOWN, Results, given

if TYPE_CHECKING:
    from collections.abc import Callable


def test_an_agent_of_every_node(judge: Callable[..., Results]) -> None:
    space = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "agents",
            "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
            "annotations": {"berth.dev/pod-security-reason": "devices"},
        },
    }
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
                given("kubernetes:core/v1:Namespace", "agents", space),
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
