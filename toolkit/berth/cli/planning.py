"""Many plans at once, from few warm processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth.cli.stackfile import Stack
    from berth.deployer import Report, RunRequest

Ground = Literal["aws", "google"]
Side = TypeVar("Side")
"""What tells plans apart: a stack's name, and where there are several revisions also which of them."""

# What the program imports, by ground: once for all stacks, before they are forked.
KUBERNETES_MODULES = (
    "pydantic",
    "yaml",
    "pulumi_kubernetes.apiextensions",
    "pulumi_kubernetes.apiregistration.v1",
    "pulumi_kubernetes.apps.v1",
    "pulumi_kubernetes.autoscaling.v2",
    "pulumi_kubernetes.core.v1",
    "pulumi_kubernetes.networking.v1",
    "pulumi_kubernetes.policy.v1",
    "pulumi_kubernetes.rbac.v1",
    "pulumi_kubernetes.storage.v1",
)
# Ours too, since all stacks are of this one checkout. The last imports everything above that it needs.
ROOMS = ("berth_components", "berth_stacks.program")
COMPONENTS = {"aws": "berth_components.aws", "google": "berth_components.gcp"}
AWS_MODULES = (
    "pulumi_aws.appautoscaling",
    "pulumi_aws.autoscaling",
    "pulumi_aws.cloudwatch",
    "pulumi_aws.ec2",
    "pulumi_aws.eks",
    "pulumi_aws.iam",
    "pulumi_aws.kms",
    "pulumi_aws.sagemaker",
)
GOOGLE_MODULES = (
    "pulumi_gcp.compute",
    "pulumi_gcp.container",
    "pulumi_gcp.kms",
    "pulumi_gcp.organizations",
    "pulumi_gcp.projects",
    "pulumi_gcp.serviceaccount",
    "pulumi_gcp.storage",
)


def ground_of(stack: Stack) -> Ground:
    """Which cloud's SDK a stack needs; Google's goes for those that need none."""
    return "aws" if stack.grounds & {"eks", "sagemaker"} else "google"


async def plan_all(
    requests: Mapping[Side, tuple[Ground, RunRequest]], *, one_revision: bool = True
) -> dict[Side, Report]:
    """Plan stacks in two warm processes: importing both clouds' SDKs in one would take the longest.

    Args:
        requests: what to plan, by any key, with the ground that says which SDK is imported beforehand.
        one_revision: whether all are of this checkout, so that its own packages are imported beforehand, too.
    """
    from berth import deployer

    by_ground: dict[Ground, dict[Side, RunRequest]] = {"aws": {}, "google": {}}
    for key, (ground, request) in requests.items():
        by_ground[ground][key] = request
    found: dict[Side, Report] = {}
    with contextlib.ExitStack() as ended:
        warm = {}
        for ground, group in by_ground.items():
            if not group:
                continue
            preload = (*KUBERNETES_MODULES, *(AWS_MODULES if ground == "aws" else GOOGLE_MODULES))
            ours = (COMPONENTS[ground], *ROOMS) if one_revision else ()
            warm[ground] = deployer.Interpreter(preload=(*preload, *ours))
            ended.callback(warm[ground].close)
            warm[ground].start()
        parallel = max(1, (os.cpu_count() or 1) // max(1, len(warm)))
        done = await asyncio.gather(
            *(
                deployer.previews(list(by_ground[ground].values()), interpreter=one, parallel=parallel)
                for ground, one in warm.items()
            ),
            return_exceptions=True,  # so that all have ended, also where this is cancelled
        )
        for ground, reports in zip(warm, done, strict=True):
            if isinstance(reports, BaseException):
                raise reports
            found |= zip(by_ground[ground], reports, strict=True)
    return {key: found[key] for key in requests}
