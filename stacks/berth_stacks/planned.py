"""From settings to what the planner asks."""

from berth_catalogue.accelerators import accelerators
from berth_catalogue.models import Weights, models
from berth_components.checks import amount
from berth_planner.asked import Asked, quantised

from berth_stacks import pools
from berth_stacks.build import Placed, placed
from berth_stacks.fleets import ON_DEMAND
from berth_stacks.settings import Stack


def asked(stack: Stack) -> list[Asked]:
    """Every model of a stack at every site, as the planner asks it. The settings are right."""
    return [_asked(stack, at) for at in placed(stack)]


def _asked(stack: Stack, at: Placed) -> Asked:
    engine = at.model.engine
    key = at.accelerator if at.accelerator in accelerators() else ""
    devices = at.gpus * at.build.cores_per_accelerator if key else 0
    degree = engine.tensor_parallel or devices
    resources = engine.resources
    model = models()[at.model.model]
    as_said = engine.quantisation or model.quantisation
    return Asked(
        subject=at.title,
        name=model.key,
        architecture=model.architecture,
        quantised_as=as_said,
        quantisation=quantised(as_said),
        file_bytes=model.weights.bytes if isinstance(model.weights, Weights) else 0,
        engine=engine.name,
        version=at.build.version,
        device=at.build.device if key else "cpu",
        ground=pools.catalogue_ground(at.site),
        region=pools.region_of(at.site) or at.site_key,
        capacity=pools.capacity_of(at.pool) if at.pool else ON_DEMAND,
        prefix="ml." if at.site.sagemaker else "",
        accelerator=key,
        accelerators=at.gpus if key else 0,
        simulated=stack.environment == "local" and bool(at.gpus),
        tensor_parallel=degree or 1,
        pipeline_parallel=devices // degree if degree else 1,
        fraction=engine.memory_fraction,
        cache_type=engine.kv_cache_dtype or "",
        slots=at.model.concurrency.slots,
        max_total=at.model.tokens.max_total,
        memory_limit=int(amount(resources.memory_limit)) if resources and not at.site.sagemaker else 0,
    )
