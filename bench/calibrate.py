"""What the planner predicts of `local`, beside what a load shows: `python bench/calibrate.py [--fresh]`.

Wants `./berth up local`. With --fresh it calibrates first, else it takes stacks/measurements. Then loads of
half, 1.2 and 1.8 times of what one replica carries by the plan, each of which starts from one replica:
predicted replicas (from those that carry it without reserve to those that are needed with it) and tokens per
second, and what the autoscaler and the clients saw in the second half. Exit code 1 where something lies
outside of what was predicted. Last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from berth.cli.plan import read_stack
from berth.cli.stackfile import STACKS, find_stack
from berth_planner.asked import Asked, Load
from berth_planner.measurements import FOLDER, Measurement, at_concurrency, read_measurement
from berth_planner.service import service
from berth_stacks.planned import asked

ROOT = Path(__file__).resolve().parents[1]
FACTORS = (0.5, 1.2, 1.8)
UTILISATION = 0.8


def berth(*words: str) -> Any:
    """Run a command and read its JSON."""
    done = subprocess.run([ROOT / "berth", *words, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        sys.exit(f"berth {' '.join(words)}: exit code {done.returncode}")
    return json.loads(done.stdout)


def compared(about: Asked, measured: Measurement, factor: float, seconds: int) -> dict[str, Any]:
    """One load: what is predicted, and what was seen."""
    point = at_concurrency(measured, about.slots)
    if point is None:
        sys.exit(f"not measured at {about.slots} requests at once")
    tokens = round(measured.output_tokens)
    rate = factor * point.tokens_per_second.expected / tokens * UTILISATION
    load = Load(
        requests_per_second=rate,
        input_tokens=round(measured.input_tokens),
        output_tokens=tokens,
        first_token_seconds=None,
        utilisation=UTILISATION,
    )
    found = service(replace(about, load=load), [measured])
    predicted, fewest = found.replicas, found.fewest
    if predicted is None or fewest is None:
        sys.exit("nothing is predicted: is it measured for this engine and these cores?")
    words = ("--route", "/v1/chat/completions", "--max-new-tokens", str(tokens), "--arrivals", "constant")
    seen = berth("load", "local", "--rate", f"{rate:.4f}", "--duration", str(seconds), *words)
    late = [one for one in seen["scaling"]["timeline"] if seconds / 2 < one["at"] < seconds]
    ready = sorted(one["ready"] for one in late)
    return {
        "factor": factor,
        "requests_per_second": round(rate, 3),
        "predicted_replicas": [fewest.low, predicted.expected, predicted.high],
        "ready_replicas": [ready[0], ready[len(ready) // 2], ready[-1]],
        "planned_tokens_per_second": round(rate * tokens, 1),
        "tokens_per_second": round(seen["tokens"]["per_second"], 1),
        "first_token_p95": seen["time_to_first_token_seconds"].get("p95"),
        "refused": seen["requests"]["refused"],
        "failed": seen["requests"]["failed"] - seen["requests"]["refused"],
    }


def main() -> None:
    """Measure, predict, load, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fresh", action="store_true", help="calibrate first")
    parser.add_argument("--seconds", type=int, default=90, help="of each load")
    given = parser.parse_args()
    (about,) = asked(read_stack(find_stack("local")).settings)
    file = STACKS / FOLDER / "local-local-smollm2.yaml"
    if given.fresh:
        file = Path(tempfile.mkdtemp()) / "measured.yaml"
        berth("calibrate", "local", "--out", str(file))
    measured = read_measurement(file)
    rows, outside = [], 0
    for factor in FACTORS:
        row = compared(about, measured, factor, given.seconds)
        rows.append(row)
        low, _, high = row["predicted_replicas"]
        within = low <= row["ready_replicas"][2] and row["ready_replicas"][0] <= max(high, 1)
        carried = row["tokens_per_second"] >= 0.8 * row["planned_tokens_per_second"]
        outside += not (within and carried)
        print(
            f"{factor:g} of a replica, {row['requests_per_second']:g} requests/s: predicted "
            f"{row['predicted_replicas'][1]:g} ({low:g} to {high:g}) replicas, ready "
            f"{row['ready_replicas'][1]} ({row['ready_replicas'][0]} to {row['ready_replicas'][2]}); planned "
            f"{row['planned_tokens_per_second']:g} tokens/s, seen {row['tokens_per_second']:g}; first token "
            f"{row['first_token_p95']:.2f} s; {row['refused']} refused, {row['failed']} failed"
            + ("" if within and carried else "  OUTSIDE"),
            flush=True,
        )
    machine = f"{os.cpu_count()} cores, {platform.release()}, load {os.getloadavg()[0]:.1f}"
    print(json.dumps({"machine": machine, "measured": measured.to_data(), "loads": rows}))
    sys.exit(1 if outside else 0)


if __name__ == "__main__":
    main()
