"""What the shipped stacks plan, for policies to judge."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from berth import deployer
from berth.deployer import RunRequest, load_config
from berth_policy.testing import Given, load_preview

if TYPE_CHECKING:
    from pathlib import Path

STACKS = ("local", "onprem", "aws-dev", "aws-prod", "gcp-dev", "gcp-prod")
_PRELOAD = (
    *("pydantic", "pulumi_kubernetes.apps.v1", "pulumi_kubernetes.core.v1", "pulumi_kubernetes.rbac.v1"),
    *("pulumi_aws.ec2", "pulumi_aws.eks", "pulumi_aws.iam", "pulumi_gcp.compute", "pulumi_gcp.container"),
)


@pytest.fixture(scope="session")
def plans(root: Path) -> dict[str, list[Given]]:
    """The resources that each shipped stack plans, from one warm process."""

    def request(stack: str) -> RunRequest:
        config, secret = load_config(root, stack)
        if stack == "local":  # what the command lays over it, as fixtures
            connections = {"local": {"kubeconfig": "fixture.kubeconfig", "nodeAddress": "198.18.0.2"}}
            config = {**config, "berth:connections": json.dumps(connections)}
        return RunRequest(
            program=root / "stacks",
            project="berth",
            stack=stack,
            root=root,
            config=config,
            secret_keys=secret,
            offline=True,
        )

    async def all_of_them() -> list[Any]:
        interpreter = deployer.Interpreter(preload=_PRELOAD)
        try:
            return await deployer.previews([request(one) for one in STACKS], interpreter=interpreter)
        finally:
            interpreter.close()

    reports = asyncio.run(all_of_them())
    return {stack: load_preview(report.to_json()) for stack, report in zip(STACKS, reports, strict=True)}
