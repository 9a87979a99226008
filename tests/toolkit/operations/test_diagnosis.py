"""A recorded healthy stack, broken in one way after another: each is found first, with what shows it.

Real faults are in tests/cluster/test_doctor_faults.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from berth.operations.diagnosis import Snapshot, as_json, diagnose, exit_code, page
from berth.operations.diagnosis.logs import harmless
from berth.operations.diagnosis.probes import samples
from berth.operations.diagnosis.read import _trimmed
from berth.operations.status import Machines, status
from berth.operations.status import page as status_page

from tests.toolkit.operations.broken import (
    CASES,
    alert_fires,
    api_away,
    certificate_soon,
    crash_with_log,
    nodes_forbidden,
)
from tests.toolkit.operations.world import World

RUNBOOKS = frozenset(file.stem for file in (Path(__file__).parents[3] / "docs" / "runbooks").glob("*.md"))


def test_the_recorded_stack_is_healthy() -> None:
    findings = diagnose(World().snapshot)
    assert exit_code(findings) == 0
    assert {one.state for one in findings} <= {"ok", "note"}, findings


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_found_first(name: str) -> None:
    breaks, check, state, words = CASES[name]
    world = World()
    breaks(world)
    findings = diagnose(world.snapshot, RUNBOOKS)
    first = findings[0]
    said = " ".join([first.subject, first.found, *first.evidence, *first.remedy, first.runbook])
    assert (first.check, first.state) == (check, state), said
    for word in words:
        assert word in said
    assert first.remedy
    assert exit_code(findings) == (3 if state == "unknown" else 1)
    text = page(world.snapshot, findings)
    assert max(map(len, text.splitlines())) <= 80
    assert "my secret" not in text
    json.dumps(as_json(world.snapshot, findings))
    # Its own server's other troubles follow from it, so that nobody mends a symptom.
    for one in findings[1:]:
        if one.state == "trouble" and one.about & first.about and one.layer > first.layer:
            assert one.follows == first.subject


def test_what_a_healthy_part_shows_is_not_called_broken() -> None:
    """Each fault is the only trouble that does not follow from another, but where two are put in."""
    for name, (breaks, _, state, _) in CASES.items():
        world = World()
        breaks(world)
        causes = [one for one in diagnose(world.snapshot) if one.state == "trouble" and not one.follows]
        assert len(causes) == (1 if state == "trouble" else 0), (name, causes)


def test_a_gateway_waits_while_its_engine_loads() -> None:
    for seconds, expected in ((20, ("starting", "note")), (500, ("not-ready", "trouble"))):
        world = World()
        world.unready()
        for container in ("engine", "gateway"):
            world.container(container)["state"] = {"running": {"startedAt": world.ago(seconds)}}
        world.event(
            world.pod, "Unhealthy", "Readiness probe failed: 503", fieldPath="spec.containers{gateway}"
        )
        world.values.update(berth_engine_ready=0, berth_engine_loading=1, berth_engine_losses_total=0)
        found = {(one.check, one.state): one for one in diagnose(world.snapshot)}
        assert expected in found, found
        if seconds < 60:
            assert ("not-ready", "trouble") not in found
            assert "20 s of the 60 s it may take" in found[expected].found


def test_every_alert_that_a_finding_names_has_a_runbook() -> None:
    named = set()
    for breaks, _, _, _ in CASES.values():
        world = World()
        breaks(world)
        named |= {one.alert for one in diagnose(world.snapshot)}
    assert len(named) > 10
    assert named - {""} <= RUNBOOKS


def test_a_stack_that_is_not_deployed_is_neither_broken_nor_healthy() -> None:
    world = World()
    for plural in world.objects.keys() - {"nodes", "apiservices", "storageclasses"}:
        world.objects[plural].clear()
    world.seen |= {"record": None, "outputs": {}, "answers": [], "readings": [], "secrets": []}
    findings = diagnose(world.snapshot)
    assert [one.found for one in findings if one.state != "ok"] == ["nothing of it is deployed here"]
    assert exit_code(findings) == 0
    assert page(world.snapshot, findings).startswith("site local: nothing deployed (")


def test_what_is_kept_of_objects_holds_no_value_that_may_be_a_secret() -> None:
    container = {
        "name": "main",
        "image": "x",
        "args": ["--token=canary"],
        "command": ["canary"],
        "env": [
            {"name": "A", "value": "canary"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s"}}},
        ],
    }
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [container]}}
    deployment = {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"initContainers": [container]}}}}
    settings = {
        "metadata": {"name": "c", "annotations": {"x/last-applied": "canary"}},
        "data": {"a": "canary"},
    }
    ours = {
        "metadata": {"name": "c", "labels": {"app.kubernetes.io/name": "model-server"}},
        "data": {"a": "b"},
    }
    kept = [_trimmed(one) for one in (pod, deployment, settings, ours)]
    assert "canary" not in json.dumps(kept)
    assert kept[0]["spec"]["containers"][0]["env"][1]["valueFrom"]
    assert kept[3]["data"] == {"a": "b"}


def test_a_snapshot_survives_a_file() -> None:
    world = World()
    alert_fires(world)
    certificate_soon(world)
    crash_with_log(world)
    kept = json.loads(json.dumps(world.snapshot.to_json()))
    assert Snapshot.from_json(kept) == world.snapshot
    for wrong, said in (
        ({}, "snapshot: None"),
        ({**kept, "more": 1}, "more"),
        ({**kept, "asked": 3}, "no snapshot"),
    ):
        with pytest.raises(ValueError, match=said):
            Snapshot.from_json(wrong)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"level": "error", "message": "engine lost", "reason": "timeout", "prompt": "private"}',
         "error: engine lost reason=timeout"),
        ("INFO Received request cmpl-1: prompt: 'private', params", None),
        ("ERROR request failed: prompt='private'", "ERROR request failed:"),
        ('127.0.0.1 "POST /v1/completions HTTP/1.1" 500 error', '127.0.0.1 "POST'),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
         "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"),
        ("the answer to your private question", None),
    ],
)  # fmt: skip
def test_no_text_of_anybody_is_shown(line: str, shown: str | None) -> None:
    lines, withheld = harmless([line])
    assert lines == (() if shown is None else (shown,))
    assert withheld == (shown is None)
    assert "private" not in " ".join(lines)


def test_metrics_are_read_without_buckets() -> None:
    text = '# TYPE a histogram\na_bucket{le="+Inf"} 2\na_count 2\na_sum 3\nb{y="1",x="2"} 4\n'
    assert samples(text) == {"a_count": 2.0, "a_sum": 3.0, 'b{x="2",y="1"}': 4.0}
    assert samples("what is this {") == {}


def test_status_of_the_recorded_stack() -> None:
    world = World()
    world.values.update(
        {"berth_queue_depth": 3, "berth_running_requests": 2, "tgi_request_success_total": 40,
         'berth_time_to_first_token_seconds_sum{route="a"}': 8,
         'berth_time_to_first_token_seconds_count{route="a"}': 40}
    )  # fmt: skip
    found = status(world.snapshot, (), {"berth-local/smollm2": {"tokens": 12.5, "requests": 0.5}})
    (server,) = found.servers
    assert (server.ready, server.desired, server.complete) == (1, 1, True)
    assert server.revision.startswith("sha256:b179c9523d0e")
    assert server.variant == "main"
    assert all("@sha256:" in image for image in server.images.values())
    assert server.autoscaling is not None
    assert (server.autoscaling.minimum, server.autoscaling.maximum) == (1, 3)
    assert ("berth_queue_depth", "0", "4") in server.autoscaling.metrics
    assert server.load is not None
    assert (server.load.waiting, server.load.running, server.load.slots) == (3, 2, 2)
    assert server.load.first_token_seconds == pytest.approx(0.2)
    text = status_page(found)
    assert "12.5 tokens/s" in " ".join(text.split())
    assert "no monitoring" in text
    assert max(map(len, text.splitlines())) <= 80


def test_status_counts_what_is_there_and_says_what_it_does_not_know() -> None:
    world = World()
    node = world.one("nodes", "")
    node["metadata"]["labels"]["berth.dev/pool"] = "l4"
    node["status"]["allocatable"]["nvidia.com/gpu"] = "4"
    known = Machines("local/l4", "g6.xlarge in eu-central-1, on-demand", {"berth.dev/pool": "l4"}, "", 0.8)
    replica = Machines(
        "local/smollm2", "replica in local, on-demand", None, "smollm2", None, "no price of replica"
    )
    found = status(world.snapshot, [known])
    assert found.cost is not None
    assert found.cost.usd_per_hour == pytest.approx(0.8)
    assert found.groups is not None
    assert (found.groups[0].name, found.groups[0].accelerators) == ("l4", {"nvidia.com/gpu": 4})
    # A sum with a gap would be too low.
    gap = status(world.snapshot, [known, replica])
    assert gap.cost is not None
    assert gap.cost.usd_per_hour is None
    assert "unknown: no price of replica" in status_page(gap)
    nodes_forbidden(world)
    blind = status(world.snapshot, [known])
    assert blind.groups is None
    assert "nodes may not be listed" in " ".join(status_page(blind).split())


def test_status_of_a_site_out_of_reach_says_what_is_missing() -> None:
    world = World()
    api_away(world)
    found = status(world.snapshot)
    assert not found.reached
    assert "unknown    ConnectError: refused" in status_page(found)
