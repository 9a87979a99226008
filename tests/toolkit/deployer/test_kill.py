"""`kill -9` of a deployment at random moments: the next run ends in the wanted state."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from berth.deployer import render

if TYPE_CHECKING:
    from .conftest import Stack

pytestmark = pytest.mark.cluster
KILLS = int(os.environ.get("BERTH_KILLS", "20"))
PROGRAM = Path(__file__).with_name("kill_program.py")


def wanted(generation: int) -> set[str]:
    """Name the objects that the program declares."""
    configmaps = {f"configmap/c{i}" for i in range(40) if (i + generation) % 5}
    bindings = {f"rolebinding.rbac.authorization.k8s.io/r{i}" for i in range(8)}
    return configmaps | bindings | {f"secret/s{i}-{generation % 2}" for i in range(10)}


async def killed_run(stack: Stack, generation: int, after: float) -> bool:
    """Start a deployment in a process of its own and kill it; false where it had ended before."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "berth.deployer", "up",
        "--program", str(stack.folder), "--project", "demo", "--stack", stack.name,
        "--config", f"demo:kubeconfig={stack.kubeconfig}", "--config", f"demo:namespace={stack.name}",
        "--config", f"demo:generation={generation}",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    line = b""
    while b"deploying" not in line:  # from here on it changes things
        line = await process.stderr.readline()
        if not line:
            raise AssertionError("the deployment ended before it began")
    await asyncio.sleep(after)
    early = process.returncode is None
    if early:
        process.kill()
    await process.communicate()
    return early


async def test_random_kills_leave_no_orphan_and_no_duplicate(stack: Stack) -> None:
    stack.folder.mkdir()
    shutil.copy(PROGRAM, stack.folder / "__main__.py")
    seed = secrets.randbelow(10**6)
    dice = random.Random(seed)  # noqa: S311 - a seed that can be repeated is the point
    stack.extra = {"demo:generation": "0"}
    began = time.monotonic()
    first = await stack.up()
    assert first.ok, render(first)
    whole = max((time.monotonic() - began) / 2, 0.5)  # the plan takes about half
    hits = 0
    for generation in range(1, KILLS + 1):
        hits += await killed_run(stack, generation, dice.uniform(0.0, whole))
        if generation % 3 and generation != KILLS:
            continue  # a killed run after a killed run
        stack.extra = {"demo:generation": str(generation)}
        report = await stack.up()
        assert report.ok, f"seed {seed}, generation {generation}:\n{render(report)}"
        kinds = "configmaps,secrets,rolebindings.rbac.authorization.k8s.io"
        assert stack.objects(kinds) == wanted(generation), f"seed {seed}, generation {generation}"
        found = json.loads(stack.cluster.kubectl("get", "configmaps", "-n", stack.name, "-o", "json"))
        said = {item["data"]["generation"] for item in found["items"] if "generation" in item.get("data", {})}
        assert said == {str(generation)}
        role = stack.get("rolebinding/r0", ".roleRef.name")
        assert role == f"x{generation % 2}"
    again = await stack.up()
    assert again.ok
    assert again.changes == []
    assert hits >= KILLS // 2, "most kills must hit a run that is under way"
