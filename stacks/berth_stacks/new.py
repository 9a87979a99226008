"""A new stack from a few words: which ground, accelerator, model and environment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from berth_catalogue.accelerators import Accelerator, accelerator, accelerators
from berth_catalogue.engines import engines
from berth_catalogue.machines import Machine, machines, offered
from berth_catalogue.models import HubWeights, Model, models
from berth_catalogue.pairings import CPU, pairings
from berth_planner.asked import Asked, quantised
from berth_planner.fit import fit

from berth_stacks.build import BYTES
from berth_stacks.errors import nearest

Ground = Literal["aws", "gcp", "own", "sagemaker"]
GROUNDS: tuple[Ground, ...] = ("aws", "gcp", "own", "sagemaker")
ENVIRONMENTS = ("development", "production")
REGIONS = {"aws": "eu-central-1", "gcp": "europe-west4", "sagemaker": "eu-central-1", "own": ""}
_GIB = 2**30
_SITES = {"aws": "aws", "gcp": "google", "own": "own", "sagemaker": "sagemaker"}
# On which of them SageMaker hosts models; see berth_components.aws.sagemaker_settings.
_SAGEMAKER = ("g5.", "g6.", "g6e.", "p4d.", "p4de.", "p5.", "p5e.", "p5en.", "inf2.")
_WEIGHTS_SHARE = 0.8
"""How much of an accelerator's memory weights may take, so that requests have some."""
_CONTEXT = 8192
_SLOTS = (16, 8, 4, 2, 1)
_CPU_SLOTS = 4


class CannotError(ValueError):
    """No stack can be made of these words; the message says which, and what is possible."""

    exit_code = 2


@dataclass(frozen=True)
class Wish:
    """What somebody wants.

    Attributes:
        ground: where.
        model: its key in the catalogue.
        accelerator: its key in the catalogue, or cpu.
        environment: development or production.
        region: the cloud's; "" for `REGIONS`'.
    """

    ground: Ground
    model: str
    accelerator: str
    environment: str
    region: str = ""

    @property
    def most(self) -> int:
        """Replicas at the most."""
        return 4 if self.environment == "production" else 2


def choices(ground: Ground) -> list[str]:
    """The accelerators of a ground, and cpu where a model can do without."""
    if ground == "own":
        return [CPU, *(one.key for one in accelerators().values() if one.vendor != "google")]
    known = {one.accelerator for one in machines("gcp" if ground == "gcp" else "aws").values()}
    return sorted(known)


def stack_text(wish: Wish) -> str:
    """The file of a stack that serves one model.

    Raises:
        CannotError: the words do not fit together.
    """
    model, device = _known(wish)
    engine = _engine(wish, model)
    lines = [
        "# yaml-language-server: $schema=schema.json",
        f"# {model.name} on {device.title if device else 'CPUs'}, by ./berth new. Before the first `up`:",
        "#   pulumi config set --secret --path 'berth:apiKeys.<name>' \"$(openssl rand -hex 24)\""
        if wish.ground != "own"
        else "#   ./berth key <stack> --add <name>",
        "# ./berth preview lists what else is open, ./berth explain says where each setting comes from.",
        "config:",
        f"  berth:extends: [{wish.environment}]",
        "  berth:sites:",
        f"    {_SITES[wish.ground]}:",
    ]
    if device is None:
        return "\n".join([*lines, *_own(), *_model(wish, engine, model, 0, None)]) + "\n"
    count = _count(wish, model, device)
    if wish.ground == "own":
        return (
            "\n".join(
                [
                    *lines,
                    *_own(),
                    *_own_pool(wish, device, count),
                    *_model(wish, engine, model, count, None),
                ]
            )
            + "\n"
        )
    machine = _machine(wish, device, count)
    site = {"aws": _eks, "gcp": _gke, "sagemaker": _sagemaker}[wish.ground](wish, device, machine)
    return "\n".join([*lines, *site, *_model(wish, engine, model, count, machine)]) + "\n"


def _known(wish: Wish) -> tuple[Model, Accelerator | None]:
    for word, known, name in (
        (wish.model, sorted(models()), "model"),
        (wish.accelerator, [CPU, *accelerators()], "accelerator"),
        (wish.environment, [*ENVIRONMENTS], "environment"),
    ):
        if word not in known:
            hint = nearest(word, known) or f"there are: {', '.join(known)}"
            raise CannotError(f"there is no {name} '{word}'; {hint}")
    if wish.accelerator == CPU:
        if wish.ground != "own":
            raise CannotError(f"accelerator cpu: only own hardware can do without, not {wish.ground}")
        return models()[wish.model], None
    if wish.accelerator not in choices(wish.ground):
        there = ", ".join(choices(wish.ground))
        raise CannotError(f"{wish.ground} has no {wish.accelerator}; it has: {there}")
    return models()[wish.model], accelerator(wish.accelerator)


def _engine(wish: Wish, model: Model) -> str:
    """The engine that serves the model's format there; vLLM before the others."""
    fitting = [
        name
        for name, where in pairings()
        if where == wish.accelerator and model.weights.format in engines()[name].formats
    ]
    if not fitting:
        serving = ", ".join(
            key
            for key, one in models().items()
            if any(
                where == wish.accelerator and one.weights.format in engines()[name].formats
                for name, where in pairings()
            )
        )
        raise CannotError(
            f"no engine serves {model.weights.format} weights on {wish.accelerator}; "
            f"models that can: {serving or 'none'}"
        )
    return "vllm" if "vllm" in fitting else min(fitting)


def _count(wish: Wish, model: Model, device: Accelerator) -> int:
    """Accelerators of a replica: the fewest that hold the weights, share its heads evenly and are sold so."""
    weights = model.parameters * BYTES.get(model.quantisation, 1) / _GIB
    cores = next(
        build.cores_per_accelerator
        for name, where in pairings()
        for build in engines()[name].builds.values()
        if where == device.key and build.role == pairings()[name, where].image_role
    )
    heads = model.architecture.attention_heads if isinstance(model.weights, HubWeights) else 1
    sold = range(1, 17) if wish.ground == "own" else sorted({one.accelerators for one in _sold(wish, device)})
    for count in sold:
        if device.memory_gib * count * _WEIGHTS_SHARE >= weights and heads % (count * cores) == 0:
            return count
    raise CannotError(
        f"{model.key} has {math.ceil(weights)} GiB of weights, and no machine on {wish.ground} has as many "
        f"{device.key} ({device.memory_gib:g} GiB each) in a number that divides its {heads} heads"
    )


def _sold(wish: Wish, device: Accelerator) -> list[Machine]:
    """The machines with an accelerator that the ground sells as this environment buys them."""
    kind = "on-demand" if wish.environment == "production" or wish.ground == "sagemaker" else "spot"
    found = [
        one
        for one in machines("gcp" if wish.ground == "gcp" else "aws").values()
        if one.accelerator == device.key
        and kind in one.capacity_types
        and offered(one, _region(wish)) != ()
        and (wish.ground != "sagemaker" or one.name.startswith(_SAGEMAKER))
    ]
    if not found:
        raise CannotError(
            f"{wish.ground} has no {device.key} ({kind}) in {_region(wish)}, by the catalogue's dated data; "
            "name another region or accelerator"
        )
    return found


def _machine(wish: Wish, device: Accelerator, count: int) -> Machine:
    """The smallest machine with exactly so many accelerators, and memory that weights can pass through."""
    fitting = [one for one in _sold(wish, device) if one.accelerators == count]
    roomy = [one for one in fitting if one.memory_gib > device.memory_gib * count and one.vcpus >= 8 * count]
    return min(roomy or fitting, key=lambda one: (one.vcpus, one.memory_gib, one.name))


def _region(wish: Wish) -> str:
    return wish.region or REGIONS[wish.ground]


def _own() -> list[str]:
    return ["      cluster: {kubeconfig: ~/.kube/config}"]


def _own_pool(wish: Wish, device: Accelerator, count: int) -> list[str]:
    lines = [
        "      pools:",
        "        main:",
        f"          accelerator: {device.key}",
        f"          acceleratorsPerNode: {count}",
        f"          max: {wish.most + 1}",
    ]
    if len(device.product_labels) == 1:
        return lines
    label = device.product_labels[0] if device.product_labels else "present"
    key = "nvidia.com/gpu.product" if device.product_labels else "node.kubernetes.io/accelerator"
    return [
        *lines,
        "          # By which your nodes are found: compare with `kubectl get nodes --show-labels`.",
        f"          labels: {{{key}: {label}}}",
    ]


def _pool(wish: Wish, device: Accelerator, machine: Machine, own: Sequence[str] = ()) -> list[str]:
    spot = wish.environment == "development"
    return [
        "      pools:",
        "        main:",
        f"          accelerator: {device.key}",
        f"          acceleratorsPerNode: {machine.accelerators}",
        f"          machineType: {machine.name}",
        *(["          capacity: spot"] if spot else []),
        f"          max: {wish.most + 1}",
        *own,
    ]


def _eks(wish: Wish, device: Accelerator, machine: Machine) -> list[str]:
    region, production = _region(wish), wish.environment == "production"
    there = [*(offered(machine, region) or ())]
    likely = [zone for zone in (f"{region}{end}" for end in "abc") if zone not in there]
    zones = sorted((there + likely)[: 3 if production else 2])
    nat = "per-zone" if production else "single"
    return [
        "      eks:",
        f"        region: {region}",
        '        version: "1.35"',
        f"        vpc: {{cidr: 10.20.0.0/16, zones: [{', '.join(zones)}], nat: {nat}}}",
        *([] if production else ["        deletionProtection: false"]),
        *_pool(wish, device, machine),
    ]


def _gke(wish: Wish, device: Accelerator, machine: Machine) -> list[str]:
    zones = offered(machine, _region(wish)) or ()
    own = [f"zones: [{', '.join(zones)}]"] if zones else []
    # Engines are built for CUDA 13, which wants a new driver.
    own += ["driver: latest"] if device.vendor == "nvidia" else []
    own += ["spotGraceSeconds: 120"] if wish.environment == "development" else []
    return [
        "      gke:",
        f"        location: {_region(wish)}",
        '        minVersion: "1.35"',
        *([] if wish.environment == "production" else ["        deletionProtection: false"]),
        *_pool(wish, device, machine, [f"          gke: {{{', '.join(own)}}}"] if own else []),
    ]


def _sagemaker(wish: Wish, device: Accelerator, machine: Machine) -> list[str]:
    fewest = 2 if wish.environment == "production" else 1
    return [
        "      sagemaker:",
        f"        region: {_region(wish)}",
        f"        accelerator: {device.key}",
        f"        acceleratorsPerInstance: {machine.accelerators}",
        f"        instanceType: ml.{machine.name}",
        f"        scaling: {{minInstances: {fewest}, maxInstances: {wish.most}, target: 12}}",
        "        # Nobody is told yet: name an SNS topic of yours.",
        "        alarms: {actionArns: []}",
    ]


def _model(wish: Wish, engine: str, model: Model, count: int, machine: Machine | None) -> list[str]:
    sagemaker = wish.ground == "sagemaker"
    context = min(_CONTEXT, model.context_tokens)
    slots = _slots(wish, engine, model, count, context)
    lines = [
        "  berth:models:",
        "    chat:",
        f"      model: {model.key}",
        f"      sites: [{_SITES[wish.ground]}]",
        *(["      pool: main"] if count and not sagemaker else []),
        *([f"      gpu: {{count: {count}}}"] if count > 1 and not sagemaker else []),
        "      engine:",
        f"        name: {engine}",
        *([] if sagemaker else [f"        resources: {_resources(model, count, machine)}"]),
        f"      concurrency: {{slots: {slots}, maxConcurrentRequests: {128 if count else 64}}}",
        f"      tokens: {{maxInput: {context * 3 // 4}, maxTotal: {context}}}",
    ]
    if sagemaker:
        return lines
    if isinstance(model.weights, HubWeights) and model.weights.gated:
        lines += [
            "      # Behind a licence: a Secret with the hub's token as entry `token`, which you make.",
            "      weights: {tokenSecret: hub-token}",
        ]
    fewest = 2 if wish.environment == "production" else 1
    return [*lines, f"      autoscaling: {{min: {fewest}, max: {wish.most}, target: 4}}"]


def _slots(wish: Wish, engine: str, model: Model, count: int, context: int) -> int:
    """As many requests at once as surely fit the accelerators, where that can be told; 16 at the most."""
    if not count:
        return _CPU_SLOTS
    build = engines()[engine].builds[pairings()[engine, wish.accelerator].image_role]
    cores = count * build.cores_per_accelerator
    for slots in _SLOTS:
        asked = Asked(
            subject="chat",
            name=model.key,
            architecture=model.architecture,
            quantised_as=model.quantisation,
            quantisation=quantised(model.quantisation),
            file_bytes=0,
            engine=engine,
            version=build.version,
            device=build.device,
            ground="own",  # where no other machine is suggested
            region="",
            capacity="on-demand",
            prefix="",
            accelerator=wish.accelerator,
            accelerators=count,
            simulated=False,
            tensor_parallel=cores,
            pipeline_parallel=1,
            fraction=None,
            cache_type="",
            slots=slots,
            max_total=context,
            memory_limit=0,
        )
        found = {check.status for check in fit(asked, {}).checks}
        # What nobody can tell is no better with fewer.
        if found == {"passed"} or (build.device != "gpu" and "failed" not in found):
            return slots
    return _SLOTS[-1]


def _resources(model: Model, count: int, machine: Machine | None) -> str:
    """CPU and memory of the engine: half of the machine's CPUs, and room for weights that pass through."""
    if count == 0:
        return '{cpuRequest: "2", cpuLimit: "2", memoryRequest: 1Gi, memoryLimit: 2Gi}'
    weights = model.parameters * BYTES.get(model.quantisation, 1) / _GIB
    cpus = max(1, machine.vcpus // 2) if machine else 4 * count
    memory = int(machine.memory_gib * 0.7) if machine else math.ceil(weights) + 8
    return f'{{cpuRequest: "{cpus}", memoryRequest: {max(1, memory * 3 // 4)}Gi, memoryLimit: {memory}Gi}}'
