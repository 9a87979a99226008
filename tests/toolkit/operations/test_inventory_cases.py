"""Looking at clusters: what is judged together, counted, cut and printed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from berth.operations.errors import ClusterRefused
from berth.operations.inventory import as_json, compare, exit_code, page

from tests.toolkit.operations.recorded import (
    ASKED,
    CALICO,
    CHAT,
    H100,
    METALLB,
    OURS,
    POOL,
    asked,
    look,
    node,
    of,
    pod,
)

Json = dict[str, Any]


async def test_the_managed_plugin_is_to_come() -> None:
    parts: Json = {"nodes": [node("gpu-1", gpus=None)], "daemon_sets": [CALICO, METALLB]}
    findings = compare(await look(**parts), asked({"device_plugins": {"nvidia": "managed"}}))
    assert exit_code(findings) == 0
    assert "offers no nvidia.com/gpu yet: the device plugin comes with `up`" in " ".join(of(findings, "note"))
    after = compare(
        await look(daemon_sets=[OURS, CALICO, METALLB]), asked({"device_plugins": {"nvidia": "managed"}})
    )
    assert {one.state for one in after} == {"ok"}


async def test_ones_own_pods_are_not_in_ones_way() -> None:
    own = pod("gpu-1", 1, "chat-1", "berth-onprem")
    assert exit_code(compare(await look(pods=[own]), ASKED)) == 0
    assert (
        exit_code(compare(await look(pods=[{**own, "metadata": {"name": "x", "namespace": "y"}}]), ASKED))
        == 1
    )


async def test_an_update_at_most_replicas_needs_a_spare() -> None:
    findings = compare(await look(), asked({"model": {"surge": 1}}))
    (note,) = of(findings, "note")
    assert "an update finds no accelerator for its surge" in note
    assert "maxSurge: 0" in note
    assert exit_code(findings) == 0


async def test_a_model_on_no_pool_takes_any_node() -> None:
    site = asked({"pools": (), "model": {"pool": None, "accelerators": 2}, "device_plugins": {}})
    fits = compare(await look(nodes=[node("gpu-1", gpus=2)]), site)
    assert {one.subject: one.state for one in fits}["model chat"] == "ok"
    hidden = compare(await look(nodes=ClusterRefused("403")), site)
    assert {one.subject: one.state for one in hidden}["model chat"] == "unknown"


@pytest.mark.parametrize("kubelet", ["v1.34.2+k3s1", "v1.34.2+rke2r1", "v1.34.2"])
async def test_a_runtime_class_that_nobody_names(kubelet: str) -> None:
    parts: Json = {"nodes": [node("gpu-1", kubelet=kubelet)], "daemon_sets": [OURS, CALICO, METALLB]}
    parts["runtimes"] = [{"metadata": {"name": "nvidia"}}]
    keys = {"models.chat.placement.runtimeClass", "sites.onprem.devicePlugins.nvidia.runtimeClass"}
    mute = compare(await look(**parts), asked({"device_plugins": {"nvidia": "managed"}}))
    assert {one.subject for one in mute if one.state == "note"} == (keys if "+" in kubelet else set())
    named = {"device_plugins": {"nvidia": "managed"}, "plugin_runtime_class": "nvidia"}
    told = compare(await look(**parts), asked({**named, "model": {"runtime_class": "nvidia"}}))
    assert {one.state for one in told} == {"ok"}


async def test_more_nodes_than_the_pool_says_are_a_note() -> None:
    findings = compare(await look(nodes=[node("gpu-1"), node("gpu-2"), node("gpu-3")]), ASKED)
    (note,) = of(findings, "note")
    assert "3 nodes with nvidia.com/gpu.product=NVIDIA-L4: gpu-1, gpu-2, gpu-3" in note
    assert exit_code(findings) == 0


async def test_init_containers_count_as_the_scheduler_counts_them() -> None:
    def asks(count: int, **more: str) -> Json:
        return {"name": "x", "resources": {"limits": {"nvidia.com/gpu": str(count)}}, **more}

    both = pod("gpu-1", 1)
    both["spec"]["initContainers"] = [asks(2)]
    sidecar = pod("gpu-1", 1, "beside")
    sidecar["spec"]["initContainers"] = [asks(2, restartPolicy="Always"), asks(1)]
    found = await look(pods=[both, sidecar, pod("gpu-1", 0, "none")])
    assert [one.requested["nvidia.com/gpu"] for one in found.holders] == [2, 3]


async def test_the_page_fits_a_terminal_and_the_json_has_everything() -> None:
    nodes = [
        node(f"gpu-{number}", product="NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition") for number in range(20)
    ]
    found = await look(nodes=nodes)
    findings = compare(found, ASKED)
    text = page("onprem", found, findings)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "and 8 more (--json has all)" in text
    answer = json.loads(json.dumps(as_json("onprem", found, findings)))
    assert len(answer["inventory"]["nodes"]) == 20
    assert {one["state"] for one in answer["findings"]} >= {"mismatch", "ok"}
    assert answer["reached"] is True


async def test_each_pool_is_judged_by_its_own_nodes_and_models() -> None:
    """Two pools: what fits one must not be put down to the other."""
    big = replace(
        POOL,
        name="big",
        accelerator="NVIDIA H100 80 GB",
        products=(H100,),
        per_node=8,
        node_selector={"nvidia.com/gpu.product": H100},
    )
    small, large = CHAT, replace(CHAT, name="large", pool="big", accelerators=8)
    idle = replace(CHAT, name="cpu-only", pool="big", accelerators=0)
    site = replace(ASKED, pools=(POOL, big), models=(small, large, idle))
    nodes = [node("gpu-1"), node("gpu-2", gpus=8, product=H100)]
    findings = compare(await look(nodes=nodes), site)
    assert {one.state for one in findings} == {"ok"}
    said = [one.wanted for one in findings if one.subject in {"pool l4", "pool big"}]
    assert "1 nvidia.com/gpu at most (chat 1 x 1)" in said
    assert "8 nvidia.com/gpu at most (large 1 x 8)" in said
    taken = compare(await look(nodes=nodes, pods=[pod("gpu-2", 1)]), site)
    assert [one.subject for one in taken if one.state == "mismatch"] == ["pool big"]


@pytest.mark.parametrize(
    ("toleration", "accepted"),
    [
        ({"key": "team", "operator": "Exists"}, True),
        ({"key": "team", "operator": "Equal", "value": "ml"}, True),
        ({"key": "team", "value": "ml"}, True),
        ({"key": "team", "value": "other"}, False),
        ({"key": "team"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"operator": "Exists"}, True),
        ({"operator": "Equal"}, False),
        ({"key": "team", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "team", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
async def test_taints_are_tolerated_by_kubernetes_own_rule(
    toleration: dict[str, str], accepted: bool
) -> None:
    taints = [
        {"key": "team", "value": "ml", "effect": "NoSchedule"},
        {"key": "soft", "effect": "PreferNoSchedule"},
        {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
    ]
    site = asked({"pool": {"tolerations": (*POOL.tolerations, toleration)}})
    wrong = of(compare(await look(nodes=[node("gpu-1", taints=taints)]), site), "mismatch")
    assert (not wrong) is accepted
    assert "soft" not in str(wrong)


async def test_our_own_plugin_that_does_not_run_is_still_to_come() -> None:
    waiting = {**OURS, "status": {"desiredNumberScheduled": 1, "numberReady": 0}}
    parts: Json = {"nodes": [node("gpu-1", gpus=None)], "daemon_sets": [CALICO, METALLB]}
    site = asked({"device_plugins": {"nvidia": "managed"}})
    before = compare(await look(**{**parts, "daemon_sets": [waiting, CALICO, METALLB]}), site)
    assert exit_code(before) == 0
    # It runs and offers nothing: now something is wrong with the node.
    running = compare(await look(**{**parts, "daemon_sets": [OURS, CALICO, METALLB]}), site)
    assert any("offers no nvidia.com/gpu; wanted: 1 each" in text for text in of(running, "mismatch"))


async def test_long_lists_are_cut() -> None:
    holders = [pod("gpu-1", 1, f"trainer-{number}") for number in range(6)]
    site = asked({"pool": {"per_node": 6}})
    full = compare(await look(nodes=[node("gpu-1", gpus=6)], pods=holders), site)
    assert any("research/trainer-3 (1) and 2 more" in text for text in of(full, "mismatch"))
    nodes = [node(f"gpu-{number}", gpus=2) for number in range(6)]
    many = compare(await look(nodes=nodes), asked({"pool": {"nodes": 7}}))
    assert any("gpu-3 and 2 more" in text for text in of(many, "mismatch"))


async def test_the_oldest_version_that_is_enough() -> None:
    found = await look(minor="30", nodes=[node("gpu-1", kubelet="v1.30.0")])
    assert {one.state for one in compare(found, ASKED)} == {"ok"}
