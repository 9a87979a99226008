"""What replicas of hybrid routers' sites cost, and what the plan says of the cap."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from berth_planner.prices import Price, PriceKey
from berth_stacks.gate import PlanError, gate
from berth_stacks.overflow import overflow, replica_costs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from berth_planner.plan import Check

Json = dict[str, Any]
TODAY = datetime.now(UTC).date()
MACHINE = PriceKey("aws", "eu-central-1", "g6.12xlarge", "on-demand")
KEYS = {"berth:apiKeys": json.dumps({"tester": "canary-0123456789abcdef"})}
STACK: Json = {
    "environment": "development",
    "clients": {"cidrs": ["10.0.0.0/8"]},
    "sites": {
        "home": {
            "cluster": {"kubeconfig": "k"},
            "pools": {"main": {"accelerator": "nvidia-l4", "acceleratorsPerNode": 1, "max": 4}},
        },
        "aws": {
            "eks": {
                "region": "eu-central-1",
                "version": "1.35",
                "subnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
            },
            "pools": {
                "main": {
                    "accelerator": "nvidia-l4",
                    "acceleratorsPerNode": 4,
                    "machineType": "g6.12xlarge",
                    "max": 4,
                }
            },
        },
    },
    "models": {
        "chat": {
            "model": "qwen2.5-7b-instruct",
            "sites": ["home", "aws"],
            "pool": "main",
            "engine": {
                "name": "vllm",
                "resources": {"cpuRequest": "4", "memoryRequest": "16Gi", "memoryLimit": "24Gi"},
            },
            "concurrency": {"slots": 2, "maxConcurrentRequests": 8},
            "tokens": {"maxInput": 100, "maxTotal": 200},
            "autoscaling": {"min": 2, "max": 3},
        }
    },
    "routers": {
        "front": {
            "site": "home",
            "hybrid": {
                "model": "chat",
                "sites": ["home", "aws"],
                "costCapPerHour": 4,
                "beyond": {"cidrs": ["10.10.0.0/16"], "service": {"type": "LoadBalancer"}},
            },
        }
    },
}


def text(**hybrid: Any) -> str:
    settings = copy.deepcopy(STACK)
    settings["routers"]["front"]["hybrid"] |= hybrid
    return json.dumps({"config": {f"berth:{key}": value for key, value in settings.items()}})


def checks(stack: Any, *prices: tuple[PriceKey, float]) -> dict[str, Check]:
    known = {key: Price(usd, "an invoice", TODAY) for key, usd in prices}
    return {check.key: check for section in overflow(stack, known, TODAY) for check in section.checks}


def test_a_replica_costs_its_share_of_the_machine_and_nothing_at_home(load: Callable[..., Any]) -> None:
    stack = load(text(), KEYS, "mixed").settings
    prices = {MACHINE: Price(6.0, "an invoice", TODAY)}
    # Four accelerators on a machine, one of each replica.
    assert replica_costs(stack, prices, TODAY) == {"front": {"home": 0, "aws": 1.5}}
    found = checks(stack, (MACHINE, 6.0))
    assert {check.status for check in found.values()} == {"passed"}
    # Two replicas at each site are there whether load goes there or not.
    assert "3.0000 at the fewest replicas" in found["home/front cost cap"].found


def test_what_is_said_goes_before_a_price(load: Callable[..., Any]) -> None:
    stack = load(text(costPerReplicaHour={"aws": 1, "home": 0.25}), KEYS, "mixed").settings
    prices = {MACHINE: Price(6.0, "an invoice", TODAY)}
    assert replica_costs(stack, prices, TODAY) == {"front": {"home": 0.25, "aws": 1}}


def test_a_cap_below_the_fewest_replicas_fails_at_its_setting(load: Callable[..., Any], folder: Path) -> None:
    loaded = load(text(costPerReplicaHour={"aws": 2.5}), KEYS, "mixed")
    with pytest.raises(PlanError) as caught:
        gate(loaded, folder)
    assert "home/front cost cap is failed: 4.0000 USD/h, 5.0000 at the fewest replicas" in str(caught.value)
    assert "raise berth:routers.front.hybrid.costCapPerHour" in str(caught.value)


def test_a_price_that_is_unknown_blocks_everywhere(load: Callable[..., Any], folder: Path) -> None:
    loaded = load(text(), KEYS, "mixed")
    found = {str(one.path[-1]): one for one in gate(loaded, folder).findings if one.path[0] == "routers"}
    assert found["costPerReplicaHour"].blocks == "everywhere"
    assert "aws/front replica price is unknown" in found["costPerReplicaHour"].text
    assert found["costCapPerHour"].blocks == "production"


def test_a_stale_price_is_unknown(load: Callable[..., Any]) -> None:
    stack = load(text(), KEYS, "mixed").settings
    old = {MACHINE: Price(6.0, "an invoice", TODAY - timedelta(days=400))}
    assert replica_costs(stack, old, TODAY) == {"front": {"home": 0}}


def test_a_cluster_of_another_stack_is_no_own_hardware(load: Callable[..., Any]) -> None:
    settings = json.loads(text())
    settings["config"]["berth:sites"]["aws"] = {
        "cluster": {"stack": "acme/berth/clusters"},
        "pools": STACK["sites"]["home"]["pools"],
    }
    stack = load(json.dumps(settings), KEYS, "mixed").settings
    assert checks(stack)["aws/front replica price"].status == "unknown"
