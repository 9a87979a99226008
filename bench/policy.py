"""How long the policy pack takes over 1,000 resources: `python bench/policy.py [--pack policy] [--runs 3]`.

The resources are those of all shipped stacks, repeated under other names. What is measured is the pack's
share of a preview: sending each resource, as many at a time as a program registers, and the whole stack at
the end. `ours` and `theirs` are the processor times of the deployer and of the pack's process, which together
are what it takes on a machine with nothing else to do. To boot the pack, which goes on while the program
starts, is shown apart. Last, one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

from berth.cli.console import Console
from berth.cli.previews import plan_offline
from berth.cli.stackfile import stack_names
from berth.deployer import Interpreter, PolicyPack, Report, RunRequest
from berth.deployer.cluster import Clusters
from berth.deployer.desired import Resource
from berth.deployer.policy import Policies
from berth.deployer.policyvalues import Subject
from berth.deployer.request import Context
from berth.deployer.values import Redactor

ROOT = Path(__file__).resolve().parents[1]
AT_ONCE = 16
SIZES = (250, 500, 1000)


def resources(reports: list[Report], count: int) -> list[Resource]:
    """The stacks' resources under one stack's name, again and again until there are enough."""
    found: list[Resource] = []
    number = 0
    while len(found) < count:
        number += 1
        for report in reports:
            for step in report.steps:
                end = f"-{report.stack}-{number}"
                made = Resource(
                    f"{step.urn.replace(f':{report.stack}::', ':bench::', 1)}{end}",
                    step.type,
                    f"{step.name}{end}",
                    custom=step.custom,
                    inputs=step.inputs,
                    provider_ref=step.provider,
                    protect=step.protect,
                )
                found.append(made)
    return found[:count]


def processor_seconds(pid: int) -> float:
    """What a process has used of the processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def once(pack: Path, interpreter: Interpreter, some: list[Resource]) -> dict[str, float | int]:
    """Judge them; the seconds it took to boot, for each resource, and for the whole."""
    request = RunRequest(ROOT / "stacks", "berth", "bench", policy_packs=(PolicyPack(pack),))
    redactor = Redactor()
    clusters = Clusters(lambda _: None, lambda _: None, redactor.add)  # type: ignore[arg-type, return-value]
    context = Context(request, redactor, clusters, lambda _: None)
    began, used = time.monotonic(), time.process_time()
    policies = Policies(context, interpreter, dry_run=True)
    await policies.require()
    booted = time.monotonic()
    (child,) = (one._process._child for one in policies._packs if one._process)  # noqa: SLF001 - nobody else asks
    before = processor_seconds(child.pid.result()) if child else 0.0
    theirs = [before]
    finish = policies.stop

    async def stop() -> None:
        theirs.append(processor_seconds(child.pid.result()) if child else 0.0)
        await finish()

    policies.stop = stop  # type: ignore[method-assign] # the last moment at which its process is there
    subjects = [Subject(one, one.inputs, outputs=one.inputs) for one in some]
    free = asyncio.Semaphore(AT_ONCE)

    async def judge(subject: Subject) -> None:
        async with free:
            await policies.check(replace(subject))

    await asyncio.gather(*(judge(subject) for subject in subjects))
    analyzed = time.monotonic()
    await policies.finish(subjects)
    ended = time.monotonic()
    (run,) = policies.runs
    return {
        "resources": run.analyzed,
        "policies": len(run.policies),
        "results": len(policies.results),
        "boot": round(booted - began, 2),
        "analyze": round(analyzed - booted, 2),
        "stack": round(ended - analyzed, 2),
        "theirs": round(theirs[-1] - theirs[0], 2),
        "ours": round(time.process_time() - used, 2),
        "pack": round(ended - booted, 2),
    }


async def measure(pack: Path, runs: int) -> list[dict[str, float | int]]:
    """Every size, every run."""
    reports = await plan_offline(stack_names(), Console(quiet=True))
    interpreter = Interpreter(preload=("pulumi_policy",))
    found = []
    try:
        for count in SIZES:
            some = resources(reports, count)
            for _ in range(runs):
                found.append(await once(pack, interpreter, some))
                print("  ".join(f"{key} {value}" for key, value in found[-1].items()), flush=True)
    finally:
        interpreter.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", type=Path, default=ROOT / "policy")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    found = asyncio.run(measure(options.pack, options.runs))
    machine = f"{os.cpu_count()} cores, {platform.release()}, load {os.getloadavg()[0]:.1f}"
    best = min(one["pack"] for one in found if one["resources"] == SIZES[-1])
    print(json.dumps({"machine": machine, "runs": found, "best of 1,000": best}))


if __name__ == "__main__":
    main()
