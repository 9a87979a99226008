"""What the shipped stacks plan, for policies to judge."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from berth import deployer
from berth.deployer import RunRequest, load_config
from berth_policy import exceptions, pack
from berth_policy.once import Sieve, convert_once
from berth_policy.run import Run
from berth_policy.testing import Given, Results, check, load_preview

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from berth_policy.rule import Rule

STACKS = (
    *("local", "local-hybrid", "onprem", "aws-dev", "aws-prod", "gcp-dev", "gcp-prod"),
    *("hybrid-dev", "hybrid-prod"),
)
_LOCAL = {"local": ("local",), "local-hybrid": ("home", "cloud")}
_ROLES = ("model-server", "engine-llama-cpp", "weights-smollm2", "metrics-adapter", "router", "envoy")
_PRELOAD = (
    *("pydantic", "pulumi_kubernetes.apps.v1", "pulumi_kubernetes.core.v1", "pulumi_kubernetes.rbac.v1"),
    *("pulumi_aws.ec2", "pulumi_aws.eks", "pulumi_aws.iam", "pulumi_gcp.compute", "pulumi_gcp.container"),
)


def _planned(
    root: Path, stacks: Sequence[str], extra: Mapping[str, Mapping[str, str]], program: Path
) -> dict[str, list[Given]]:
    def request(stack: str) -> RunRequest:
        config, secret = load_config(root, stack)
        if stack in _LOCAL:  # what the command lays over it, as fixtures
            connections = {
                site: {"kubeconfig": f"fixture-{site}.kubeconfig", "nodeAddress": "198.18.0.2"}
                for site in _LOCAL[stack]
            }
            refs = {role: f"berth.local/{role}:fixture" for role in _ROLES}
            given = {"connections": connections, "images": {"refs": refs}, "apiKeys": {"fixture": "0" * 24}}
            config |= {f"berth:{key}": json.dumps(value) for key, value in given.items()}
        return RunRequest(
            program=program,
            project="berth",
            stack=stack,
            root=root,
            config={**config, **extra.get(stack, {})},
            secret_keys=secret,
            offline=True,
        )

    async def all_of_them() -> list[Any]:
        interpreter = deployer.Interpreter(preload=_PRELOAD)
        try:
            return await deployer.previews([request(one) for one in stacks], interpreter=interpreter)
        finally:
            interpreter.close()

    reports = [report.to_json() for report in asyncio.run(all_of_them())]
    assert all(report["ok"] for report in reports), [report["diagnostics"] for report in reports]
    return {stack: load_preview(report) for stack, report in zip(stacks, reports, strict=True)}


@pytest.fixture(scope="session")
def planned(root: Path) -> Callable[..., dict[str, list[Given]]]:
    """Plans stacks offline, with further configuration by stack, from another copy of their folder."""

    def plan(
        stacks: Sequence[str] = STACKS,
        extra: Mapping[str, Mapping[str, str]] | None = None,
        program: Path | None = None,
    ) -> dict[str, list[Given]]:
        return _planned(root, stacks, extra or {}, program or root / "stacks")

    return plan


@pytest.fixture(scope="session")
def plans(planned: Callable[..., dict[str, list[Given]]]) -> dict[str, list[Given]]:
    """The resources that each shipped stack plans, from one warm process."""
    return planned()


@pytest.fixture(scope="session")
def judge(root: Path) -> Callable[..., Results]:
    """Runs the pack, or some of its rules, over resources; as quick as in its own process."""
    convert_once()
    exempt = exceptions.read(root / "policy" / exceptions.FILE)

    def run(
        resources: Sequence[Given], stack: str = "stack", rules: Sequence[Rule] | None = None, **others: Any
    ) -> Results:
        made = Run(exempt if rules is None else ())
        policies = pack.policies(made, None if rules is None else tuple(rules))
        return check(Sieve(policies), resources, stack=stack, project="berth", **others)

    return run
