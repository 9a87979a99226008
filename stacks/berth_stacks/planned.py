"""The plan of a stack, from its settings, files and what clouds answered before; nothing is asked here."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from berth_catalogue.accelerators import accelerators
from berth_catalogue.models import Weights, models
from berth_components.checks import amount
from berth_planner.answers import ANSWERS, PRICES, folder, read_answers
from berth_planner.asked import Asked, Load, quantised
from berth_planner.capacity import capacity
from berth_planner.cost import cost
from berth_planner.fit import fit
from berth_planner.measurements import FOLDER, Measurement, read_measurements
from berth_planner.plan import Plan, Section
from berth_planner.prices import Price, PriceKey, read_asked, read_prices
from berth_planner.service import service

from berth_stacks import pools
from berth_stacks.build import Placed, placed
from berth_stacks.fleets import ON_DEMAND, fleets
from berth_stacks.overflow import overflow
from berth_stacks.settings import Stack

PRICES_FILE = "prices.yaml"
"""The user's own prices, beside the stacks' files."""


def plan(name: str, stack: Stack, directory: Path, today: date | None = None) -> Plan:
    """What is known of a stack before it is deployed.

    Args:
        name: the stack's.
        stack: its settings, which are right.
        directory: where its file is, `prices.yaml` and the folder `measurements`.
        today: prices and answers that are too old by then are unknown. Default: today.

    Raises:
        PlannerError: one of the files is wrong.
    """
    day = today or datetime.now(UTC).date()
    prices = known_prices(directory)
    measured = read_measurements(directory / FOLDER)
    questions = asked(stack)
    sections = [fit(one, prices) for one in questions]
    services, needed, tokens = _services(questions, measured)
    sections += services
    if machines := fleets(stack, needed):
        rented = capacity(machines, read_answers(folder(directory) / ANSWERS), day)
        sections += [rented] if rented else []
        sections.append(cost(machines, prices, day, tokens))
    sections += overflow(stack, prices, day)
    return Plan(stack=name, environment=stack.environment, sections=tuple(sections))


def known_prices(directory: Path) -> dict[PriceKey, Price]:
    """What is known of prices: the user's file before what a cloud said.

    Raises:
        PlannerError: the file is wrong.
    """
    return {**read_asked(folder(directory) / PRICES), **read_prices(directory / PRICES_FILE)}


def _services(
    questions: list[Asked], measured: tuple[Measurement, ...]
) -> tuple[list[Section], Mapping[str, int], float | None]:
    """Sections, replicas needed by `<site>/<model>`, and tokens per second of all where all are known."""
    found = {one.subject: service(one, measured) for one in questions}
    needed = {
        subject: int(one.replicas.expected) for subject, one in found.items() if one.replicas is not None
    }
    tokens = [one.tokens_per_second for one in found.values()]
    complete = bool(tokens) and len(needed) == len(found)
    total = sum(one or 0 for one in tokens) if complete else None
    return [one.section for one in found.values()], needed, total


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
        cpus=float(amount(resources.cpu_limit or resources.cpu_request)) if resources and not key else 0,
        most_replicas=at.site.sagemaker.scaling.max_instances if at.site.sagemaker else at.most,
        load=_load(stack, at),
    )


def _load(stack: Stack, at: Placed) -> Load | None:
    given = at.model.load
    if given is None:
        return None
    objectives = stack.monitoring.objectives.get(at.model_key)
    return Load(
        requests_per_second=given.requests_per_second,
        input_tokens=given.input_tokens,
        output_tokens=given.output_tokens,
        first_token_seconds=objectives.first_token_p95_seconds if objectives else None,
        utilisation=given.utilisation,
    )
