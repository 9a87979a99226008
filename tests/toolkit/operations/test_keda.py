"""A stack whose replicas KEDA sets: `status` and `doctor` see its autoscaler, whatever KEDA calls it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from berth.operations.diagnosis import Finding, diagnose
from berth.operations.diagnosis.facts import NotRead
from berth.operations.status import page as status_page
from berth.operations.status import status

from tests.toolkit.operations.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth.operations.status import Autoscaling


def by_keda(least: int = 1) -> World:
    """The recorded stack as KEDA 2.21 leaves it: ScaledObject, and an autoscaler that it owns and names."""
    world = World()
    (asked,) = world.seen["asked"]
    asked["keda"] = True
    hpa = world.one("horizontalpodautoscalers")
    world.objects["scaledobjects"] = [
        {
            "metadata": {"name": "smollm2", "namespace": hpa["metadata"]["namespace"], "uid": "s"},
            "spec": {"minReplicaCount": least, "maxReplicaCount": 3},
            "status": {
                "conditions": [
                    {"type": "Ready", "status": "True", "reason": "ScaledObjectReady"},
                    {"type": "Paused", "status": "False"},
                ]
            },
        }
    ]
    hpa["metadata"] |= {
        "name": "keda-hpa-smollm2",
        "ownerReferences": [{"kind": "ScaledObject", "name": "smollm2", "uid": "s"}],
    }
    hpa["spec"]["minReplicas"] = max(1, least)
    return world


def scaling(world: World) -> Autoscaling | None:
    (server,) = status(world.snapshot).servers
    return server.autoscaling


def found(world: World) -> list[Finding]:
    return [one for one in diagnose(world.snapshot) if one.check == "scaling" and one.state != "ok"]


def test_its_autoscaler_is_seen() -> None:
    world = by_keda()
    seen, ours = scaling(world), scaling(World())
    assert seen is not None
    assert seen == ours
    assert not found(world)
    said = [one.subject for one in diagnose(world.snapshot) if one.check == "scaling"]
    assert said == ["HorizontalPodAutoscaler berth-local/keda-hpa-smollm2"]


def test_a_model_that_keda_put_to_sleep_is_asleep_and_nobody_is_blind() -> None:
    world = by_keda(least=0)
    deployment, hpa = world.one("deployments"), world.one("horizontalpodautoscalers", "keda")
    deployment["spec"]["replicas"] = 0
    world.objects["pods"].remove(world.pod)
    world.condition(hpa, "ScalingActive", "False", "ScalingDisabled", "the replica count is zero")
    # As KEDA leaves it: the autoscaler is off, and its status what it last was.
    hpa["status"] |= {"currentReplicas": 1, "desiredReplicas": 1}
    seen = scaling(world)
    assert seen is not None
    assert (seen.minimum, seen.current, seen.desired, seen.blind) == (0, 0, 0, "")
    text = status_page(status(world.snapshot))
    assert "asleep" in text
    assert "BLIND" not in text
    assert not found(world)


def gone(world: World) -> None:
    world.objects["scaledobjects"].clear()
    world.objects["horizontalpodautoscalers"].clear()


def never_installed(world: World) -> None:
    del world.objects["scaledobjects"]
    world.objects["horizontalpodautoscalers"].clear()


def untaken(world: World) -> None:
    world.one("scaledobjects")["status"] = {}
    world.objects["horizontalpodautoscalers"].clear()


def refused(world: World) -> None:
    world.condition(
        world.one("scaledobjects"), "Ready", "False", "ScaledObjectCheckFailed", "no such Deployment"
    )


def paused(world: World) -> None:
    world.condition(world.one("scaledobjects"), "Paused", "True", "ScaledObjectPaused", "by a person")


def not_made(world: World) -> None:
    world.objects["horizontalpodautoscalers"].clear()


@pytest.mark.parametrize(
    ("breaks", "state", "words"),
    [
        (gone, "trouble", "it is not there"),
        (never_installed, "trouble", "KEDA is not installed"),
        (untaken, "trouble", "does its operator run?"),
        (refused, "trouble", "ScaledObjectCheckFailed: no such Deployment"),
        (paused, "warning", "it is paused"),
        (not_made, "trouble", "no HorizontalPodAutoscaler of it"),
    ],
)
def test_what_is_wrong_with_it_is_said(breaks: Callable[[World], Any], state: str, words: str) -> None:
    world = by_keda()
    breaks(world)
    (one,) = found(world)
    assert (one.subject, one.state) == ("ScaledObject berth-local/smollm2", state)
    assert words in " ".join([one.found, *one.evidence])
    assert one.remedy


def test_what_may_not_be_read_is_not_called_missing() -> None:
    world = by_keda()
    del world.objects["scaledobjects"]
    no = NotRead("scaledobjects (/apis/keda.sh/v1alpha1/…)", "403", forbidden=True)
    said = diagnose(replace(world.snapshot, not_read=(no,)))
    assert not [one for one in said if one.subject.startswith("ScaledObject")]
