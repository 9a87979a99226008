"""How long reviews take: `python bench/review.py [--runs 3] [--quick]`.

Two parts. The shipped stacks, as a person starts it, each run a process of its own: a preview of all with the
policy pack, and a review of all against the last commit, which plans everything twice. Then programs of 500
to 3,000 Deployments of which every one changes: the processor time of the deployer and of the review, which
are ours, beside that of the program's process, which is Pulumi's SDK. At the end one line of JSON.
`bench/policy.py` says what a pack costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from berth.deployer import Interpreter, Report, RunRequest, preview
from berth.review import Review, as_json, as_junit, as_sarif, comment, page, plan_against_plan, to_text

ROOT = Path(__file__).resolve().parents[1]
SIZES = (500, 1_000, 2_000, 3_000)
PROGRAM = """
import pulumi
import pulumi_kubernetes as k8s

for number in range(int(pulumi.Config().require("size"))):
    labels = {"app": f"a-{number}"}
    k8s.apps.v1.Deployment(
        f"a-{number}",
        metadata={"name": f"a-{number}", "namespace": "default", "labels": labels},
        spec={
            "replicas": 1,
            "selector": {"match_labels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "a", "image": pulumi.Config().require("image")}]},
            },
        },
    )
"""


def children() -> float:
    """The processor seconds of all processes that ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def started(*words: str, allowed: tuple[int, ...] = (0, 1, 3)) -> tuple[float, float]:
    """Run `./berth` with words; the seconds, and the processor seconds of all its processes."""
    began, before = time.monotonic(), children()
    done = subprocess.run([ROOT / "berth", *words], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode not in allowed:
        sys.exit(f"berth {' '.join(words)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return round(seconds, 2), round(children() - before, 2)


def shipped(runs: int, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """The shipped stacks: each run's seconds, and its processor seconds, which other work hardly moves."""
    commands = {
        "preview --all, with policies": (
            "preview",
            "--all",
            "--summary",
            "--policy-pack",
            str(ROOT / "policy"),
        ),
        "preview --all --base HEAD": ("preview", "--all", "--base", "HEAD", "--report", str(folder)),
    }
    found: dict[str, list[tuple[float, float]]] = {}
    for name, words in commands.items():
        started(*words)  # fills the file system's cache
        found[name] = [started(*words) for _ in range(runs)]
        wall, processor = (statistics.median(column) for column in zip(*found[name], strict=True))
        print(f"{name:<32} {wall:6.2f} s, {processor:.1f} processor seconds   {found[name]}", flush=True)
    return found


def planned(program: Path, size: int, image: str) -> tuple[Report, dict[str, float]]:
    """Plan a program; its report, the wall time, our processor time, and that of the program's process."""
    interpreter = Interpreter(preload=("pulumi_kubernetes.apps.v1", "pulumi_kubernetes.core.v1"))
    config = {"demo:size": str(size), "demo:image": image}
    request = RunRequest(program, "demo", "dev", config, offline=True, idle_seconds=600)
    ours, theirs = time.process_time(), children()
    began = time.monotonic()
    report = asyncio.run(preview(request, interpreter=interpreter))
    wall = time.monotonic() - began
    interpreter.close()
    if report.errors:
        sys.exit(str(report.errors[:3]))
    return report, {"wall": wall, "deployer": time.process_time() - ours, "sdk": children() - theirs}


def reviewed(after: Report, before: Report) -> float:
    """The processor time of a review in which everything changes, all five files included."""
    began = time.process_time()
    review = Review("a", "b", (plan_against_plan(after, before),))
    for text in (comment(review), page(review), as_junit(review)):
        assert text  # noqa: S101 - nothing is optimised away
    to_text(as_json(review))
    to_text(as_sarif(review))
    return time.process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each command on the shipped stacks")
    parser.add_argument("--quick", action="store_true", help="leave out the shipped stacks")
    given = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {platform.release()}, load {os.getloadavg()[0]:.1f}"
    print(machine)
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {"machine": machine}
        if not given.quick:
            found["shipped"] = shipped(given.runs, Path(folder) / "report")
        program = Path(folder) / "program"
        program.mkdir()
        (program / "__main__.py").write_text(PROGRAM)
        print("resources   wall s   deployer   review   ours/1,000   SDK   (processor seconds)")
        found["sizes"] = {}
        for size in SIZES:
            before, spent = planned(program, size, "example.invalid/a:1")
            after, _ = planned(program, size, "example.invalid/a:2")
            spent["review"] = reviewed(after, before)
            ours = (spent["deployer"] + spent["review"]) / size * 1_000
            print(
                f"{size:>9} {spent['wall']:>8.2f} {spent['deployer']:>10.2f} {spent['review']:>8.2f}"
                f" {ours:>12.2f} {spent['sdk']:>5.1f}",
                flush=True,
            )
            found["sizes"][size] = {key: round(value, 2) for key, value in spent.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
