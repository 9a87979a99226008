"""Predicted memory against figures that others published; the cases were committed before the formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from berth_catalogue.models import models
from berth_catalogue.planning import Range, planning
from berth_planner.configs import from_config
from berth_planner.memory import Workload, cache_bytes_per_token, on_devices

CASES = sorted(Path(__file__).parent.glob("cases/*.yaml"))
EXACT = Range(1, 1, 1)


def predicted(case: dict[str, Any]) -> dict[str, float]:
    if "config" in case:
        configured = from_config(case["config"], "config.json")
        architecture, quantisation = configured.architecture, configured.quantisation
    else:
        architecture = models()[case["model"]].architecture
        quantisation = planning().quantisation(case["weights"])
    load = Workload(
        architecture=architecture,
        quantisation=quantisation,
        cache_bytes=planning().cache_bytes[case.get("cache", "auto")],
        device_gib=case["device"]["memory_gib"],
        visible=EXACT,
        tensor_parallel=case["tensor_parallel"],
        pipeline_parallel=case.get("pipeline_parallel", 1),
        fraction=case["memory_fraction"],
        sequences=case["sequences"],
        context_tokens=8192,
        batched_tokens=case["batched_tokens"],
    )
    profile = planning().profile(case["engine"], case["version"])
    assert profile is not None
    memory = on_devices(load, profile)
    published = case["published"]
    pool = published.get("cache_gib", memory.cache_pool.value)
    held = memory.activations.value if profile.covers_activations else 0
    return {
        "weights_gib": memory.weights.value,
        "activations_gib": memory.activations.value,
        "overhead_gib": memory.overhead.value,
        "cache_gib": memory.cache_pool.value,
        "cache_tokens": pool * 2**30 / cache_bytes_per_token(load),
        # What it takes with as large a cache as they had, against the share that they gave it.
        "total_gib": memory.weights.value + held + memory.overhead.value + pool,
    }


def published(case: dict[str, Any], figure: str) -> float:
    if figure == "total_gib":
        return float(case["device"]["memory_gib"] * case["memory_fraction"])
    return float(case["published"][figure])


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_within_a_tenth_of_what_was_published(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    found = predicted(case)
    assert case["compared"]
    for figure in case["compared"]:
        wanted = published(case, figure)
        assert found[figure] == pytest.approx(wanted, rel=0.1), f"{figure}: {found} against {wanted}"


def test_there_are_cases_enough_and_each_says_where_it_is_from() -> None:
    cases = [yaml.safe_load(path.read_text()) for path in CASES]
    assert len(cases) >= 8
    assert all(
        case["source"]["from"] and case["source"]["dated"] and case["source"]["read"] for case in cases
    )
    assert {case["engine"] for case in cases} == {"vllm", "sglang"}
    assert len({case["source"]["from"] for case in cases}) >= 8
