"""Two sites behind one router, on two clusters of this machine: what who runs `local-hybrid` gets."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth.cli.drilling import Asked, ground_of
from berth.cli.levers import lever
from berth.cli.mending import Breakage
from berth.cli.stackfile import find_stack

from tests.cluster.test_main_job import Berth, copied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.localcluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

STACK = "local-hybrid"
SETTLED_SECONDS = 120
"""On a busy machine home may be slow at the start, and the cloud has everything for as long."""


@pytest.fixture(scope="module")
def berth(cluster: Cluster, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    from berth.localcluster import Cluster  # noqa: PLC0415 - only tests with a cluster pay for it

    command = Berth(copied(root, tmp_path_factory), cluster.name)
    try:
        yield command
    finally:
        command.run("down", STACK)
        Cluster(f"{cluster.name}-cloud").delete()


@pytest.fixture(scope="module")
def deployed(berth: Berth) -> dict[str, Any]:
    report: dict[str, Any] = berth.json("up", STACK, "--yes")
    return report


def test_up_ends_with_completions_of_both_sites(deployed: dict[str, Any]) -> None:
    assert deployed["ok"]
    answered = {one["endpoint"]: one["text"].strip() for one in deployed["completions"]}
    assert answered.keys() >= {"cloud/smollm2"}
    assert all(answered.values())
    front = deployed["outputs"]["routers"]["front"]
    assert front["sites"].keys() == {"home", "cloud"}


def test_the_router_answers_from_the_preferred_site(berth: Berth, deployed: dict[str, Any]) -> None:
    front = deployed["outputs"]["routers"]["front"]
    key = berth.run("key", STACK).stdout.strip()
    body = {"messages": [{"role": "user", "content": "What is a harbour?"}], "max_tokens": 8}
    backend, until = "", time.monotonic() + SETTLED_SECONDS
    with httpx.Client(trust_env=False, timeout=120) as client:
        while backend != "home":
            assert time.monotonic() < until, f"{backend} answers, though nobody waits at home"
            answer = client.post(
                f"{front['endpoint']}/v1/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {key}"},
            )
            assert answer.status_code == 200
            assert answer.json()["choices"][0]["message"]["content"]
            backend = answer.headers["x-berth-backend"]
            assert backend in {"home", "cloud"}


def test_a_lost_site_is_replaced_and_comes_back(
    berth: Berth, deployed: dict[str, Any], tmp_path: Path
) -> None:
    assert deployed["ok"]
    done = berth.run("drill", STACK, "lose-site", "--seconds", "12", "--json", "--out", str(tmp_path))
    assert done.stdout.startswith("{"), done.stderr[-4000:]
    found = json.loads(done.stdout)
    seen = {one["name"]: one for one in found["checks"]}
    said = json.dumps(found["checks"], indent=1) + done.stderr[-3000:]
    # How long it took is this machine's; that it happened is not.
    assert seen["overflow"]["verdict"] == "passed", said
    assert seen["failover"]["value"] is not None, said
    assert seen["residency-resident"]["verdict"] == "passed", said
    assert seen["cost"]["verdict"] == "passed", said
    assert seen["back"]["verdict"] == "passed", said
    bank = found["residency"]["resident"]["backends"]
    assert sum(bank["home"]["results"].values()) > 0
    assert sum(bank["cloud"]["results"].values()) == 0
    phases = {one["name"]: one for one in found["phases"]}
    assert phases["fault"]["backends"]["cloud"]["results"]["ok"] > 0, said
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".svg", ".md"}
    assert "nothing is broken" in berth.run("drill", STACK, "--restore").stdout


def content(file: str) -> str:
    return Path(file).read_text().strip()


async def test_levers_break_a_site_for_real_and_mend_it(
    cluster: Cluster, deployed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTH_CLUSTER", cluster.name)
    given = find_stack(STACK), deployed["outputs"], Asked(None, None)
    ground, places = await asyncio.to_thread(ground_of, *given)
    assert [one.name for one in ground.sites] == ["home", "cloud"]
    assert ground.token
    assert [place.whole for place in (places["home"], places["cloud"])] == [False, True]
    # Under a name of its own: what somebody's drill of the stack has written down is not this test's.
    breakage = Breakage(f"{STACK}-levers")
    slow = lever("slow-site", places["home"], breakage)
    try:
        await slow.pull()
        [entry] = breakage.undo
        for file, said in entry["files"].items():
            assert int(content(file).split()[0]) * 10 == int(said.split()[0])
    finally:
        await slow.release()
    assert all(content(file) == said for file, said in entry["files"].items())
    silent = lever("lose-metrics", places["home"], breakage)
    words = ("-n", places["home"].namespace, "get", "deployment", places["home"].reporter, "-o")
    try:
        await silent.pull()
        assert cluster.kubectl(*words, "jsonpath={.spec.replicas}") == "0"
        assert cluster.kubectl(*words, "jsonpath={.status.replicas}") in {"", "0"}
    finally:
        await silent.release()
    assert cluster.kubectl(*words, "jsonpath={.spec.replicas}") == "1"
    assert not breakage.file.exists()


def test_down_leaves_nothing(berth: Berth, cluster: Cluster, deployed: dict[str, Any]) -> None:
    from berth.localcluster import Cluster  # noqa: PLC0415 - only tests with a cluster pay for it

    assert deployed["ok"]
    down = berth.json("down", STACK)
    assert {step["op"] for step in down["steps"] if step["object"]} == {"delete"}
    for one in (cluster, Cluster(f"{cluster.name}-cloud")):
        namespaces = one.kubectl("get", "namespaces", "-o", "name").split()
        assert not [name for name in namespaces if STACK in name]
