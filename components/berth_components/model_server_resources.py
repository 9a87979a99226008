"""CPU, memory and accelerators of one container."""

from collections.abc import Mapping

import pulumi
from pulumi_kubernetes.core import v1 as core

from berth_components import checks
from berth_components import model_server_args as declared
from berth_components.arguments import Arguments, combine


def read_resources(
    args: Arguments,
    default: Mapping[str, str] | None,
    gpu_count: pulumi.Input[int] = 0,
    gpu_resource: pulumi.Input[str] = "",
    disk: pulumi.Input[str] | None = None,
) -> core.ResourceRequirementsArgs:
    """Check the group `resources` of a container, and add its accelerators and what it takes of the disk."""
    group = args.group("resources", declared.ResourcesArgs, default)
    requests = {unit: group.read(f"{unit}_request", checks.quantity) for unit in ("cpu", "memory")}
    limits = {"memory": group.read("memory_limit", checks.quantity)}
    if "cpu_limit" in group:
        limits["cpu"] = group.read("cpu_limit", checks.quantity)
    for unit, limit in limits.items():

        def at_least_request(limit: str, request: str, unit: str = unit) -> str:
            if checks.amount(limit) < checks.amount(request):
                raise group.refuse(f"{unit}_limit", limit, f"at least {unit}_request, which is {request}")
            return limit

        limits[unit] = combine(at_least_request, limit, requests[unit])

    def with_gpus(amounts: Mapping[str, str], count: int, resource: str) -> dict[str, str]:
        return {**amounts, resource: str(int(count))} if count else dict(amounts)

    asked = requests if disk is None else {**requests, "ephemeral-storage": disk}
    return core.ResourceRequirementsArgs(
        requests=combine(with_gpus, asked, gpu_count, gpu_resource),
        limits=combine(with_gpus, limits, gpu_count, gpu_resource),
    )
