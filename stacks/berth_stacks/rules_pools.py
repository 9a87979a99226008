"""What pools and the models on them must fit, by the catalogue's dated data."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from berth_catalogue.accelerators import accelerator, accelerators
from berth_catalogue.capacity import capacity
from berth_catalogue.errors import CatalogueError
from berth_catalogue.machines import DATA_DATE, Machine, machines, offered
from berth_catalogue.models import HubWeights, models
from berth_catalogue.pairings import CPU, pairing, pairings
from berth_catalogue.weights_pins import Pins
from berth_components import ArgumentError
from berth_components.arguments import Arguments
from berth_components.checks import amount
from berth_components.model_server_settings import read
from berth_components.node_pools import POOL_LABEL

from berth_stacks import build, pools
from berth_stacks.component_rules import server_arguments
from berth_stacks.containers import Resources
from berth_stacks.errors import Path, Problem, nearest
from berth_stacks.grounds import Pool
from berth_stacks.settings import Site, Stack

_GIB = Decimal(1024**3)
_GKE_SPOT_SECONDS = 30


def pool_problems(stack: Stack, name: str, pins: Mapping[str, Pins]) -> Iterator[Problem]:
    """Everything wrong with the pools, and with what is placed on them."""
    for key, site in stack.sites.items():
        for pool_name, pool in site.pools.items():
            found = [*_pool(("sites", key, "pools", pool_name), site, pool)]
            yield from found
            if not found:
                yield from _demand(stack, key, pool_name)
        yield from _plugins(("sites", key), site)
    for at in build.placed(stack):
        yield from _placement(stack, at)
        if at.pool and at.pool.accelerator in accelerators():
            yield from _notice(at, at.pool, server_arguments(stack, name, at, pins))


def _plugins(path: Path, site: Site) -> Iterator[Problem]:
    """Settings of device plugins that nothing would do."""
    vendors = {
        accelerators()[one.accelerator].vendor
        for one in site.pools.values()
        if one.accelerator in accelerators()
    }
    makers = {pools.PLUGIN_KINDS.get(vendor) for vendor in vendors}
    for kind in pools.PLUGIN_KINDS.values():
        given = pools.plugin_settings(site, kind)
        if given is None:
            continue
        here: Path = (*path, "devicePlugins", kind)
        if kind not in makers:
            yield Problem(here, "is given", f"only with a pool of {kind}'s accelerators", "remove it")
            continue
        only = {"nvidia": ("runtimeClass", "migStrategy"), "neuron": ("apiServerCidrs",)}
        said = given.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
        for key in said:
            for other, keys in only.items():
                if key in keys and other != kind:
                    yield Problem((*here, key), "is given", f"only for {other}", "remove it")
            if key != "mode" and pools.plugin_mode(site, kind) == "existing":
                remedy = "set mode: managed, or remove it"
                yield Problem((*here, key), "is given", "only with mode managed", remedy)


def _pool(path: Path, site: Site, pool: Pool) -> Iterator[Problem]:
    if pool.accelerator not in accelerators():
        known = sorted(accelerators())
        hint = nearest(pool.accelerator, known)
        yield Problem((*path, "accelerator"), f"is {pool.accelerator!r}", "one of " + ", ".join(known), hint)
        return
    if pool.min is not None and pool.min > pool.max:
        yield Problem((*path, "min"), f"is {pool.min}", f"at most max, which is {pool.max}")
    yield from _foreign(path, site, pool)
    own = accelerator(pool.accelerator).taint[0]
    for i, taint in enumerate(pool.taints):
        if taint.key == own:
            given = f"is {taint.key}, the accelerator's own"
            yield Problem(
                (*path, "taints", i, "key"), given, "further taints", "remove it: it is always there"
            )
    if pools.catalogue_ground(site) != "own":
        not_sold = [*_bought(path, site, pool)]
        yield from not_sold or _machine(path, site, pool)


def _foreign(path: Path, site: Site, pool: Pool) -> Iterator[Problem]:
    """Settings that another ground's pools have."""
    ground = pools.ground_of(site)
    for key in ("eks", "gke"):
        if getattr(pool, key) is not None and ground != key:
            yield Problem((*path, key), "is given", f"only at a site with {key}", f"this one has {ground}")
    if ground != "cluster":
        return
    for key, value in (("machineType", pool.machine_type), ("capacity", pool.capacity)):
        if value is not None and not (site.cluster and site.cluster.stack and key == "capacity"):
            yield Problem(
                (*path, key), "is given", "only where a cloud adds nodes", "these machines are there"
            )


def _bought(path: Path, site: Site, pool: Pool) -> Iterator[Problem]:
    ground, kind = pools.catalogue_ground(site), pools.capacity_of(pool)
    try:
        capacity(ground, kind)
    except CatalogueError:
        yield Problem((*path, "capacity"), f"is {kind!r}", "one of on-demand, spot, reserved")


def _machine(path: Path, site: Site, pool: Pool) -> Iterator[Problem]:
    ground, region = pools.catalogue_ground(site), pools.region_of(site)
    having = [one for one in machines(ground).values() if one.accelerator == pool.accelerator]
    machine = pools.machine_of(site, pool)
    if not having:
        there = ", ".join(sorted({one.accelerator for one in machines(ground).values()}))
        yield Problem((*path, "accelerator"), f"is {pool.accelerator}", f"on this ground one of {there}")
    elif pool.machine_type and machine is None:
        hint = nearest(pool.machine_type, sorted(machines(ground)))
        allowed = f"one of those with {pool.accelerator}: " + ", ".join(sorted(one.name for one in having))
        yield Problem((*path, "machineType"), f"is {pool.machine_type!r}", allowed, hint)
    elif machine is None and pool.accelerators_per_node in {one.accelerators for one in having}:
        yield _not_sold(path, pool, having)
    elif machine is None:
        counts = ", ".join(map(str, sorted({one.accelerators for one in having})))
        allowed = f"{counts}, as its machines have"
        yield Problem((*path, "acceleratorsPerNode"), f"is {pool.accelerators_per_node}", allowed)
    elif machine.accelerator != pool.accelerator or machine.accelerators != pool.accelerators_per_node:
        given = f"is {machine.name}, which has {machine.accelerators} x {machine.accelerator}"
        allowed = f"a machine with {pool.accelerators_per_node} x {pool.accelerator}"
        yield Problem((*path, "machineType"), given, allowed, "or leave it out")
    elif pools.capacity_of(pool) not in machine.capacity_types:
        yield _not_sold(path, pool, [machine, *having])
    else:
        yield from _where(path, site, pool, region)


def _not_sold(path: Path, pool: Pool, having: Sequence[Machine]) -> Problem:
    kind = pools.capacity_of(pool)
    first = next(one for one in having if one.accelerators == pool.accelerators_per_node)
    others = sorted(one.name for one in having if kind in one.capacity_types)
    given = f"is {kind}, as which {first.name} is not sold"
    remedy = f"or another machine: {', '.join(others)}" if others else ""
    return Problem((*path, "capacity"), given, "one of " + ", ".join(first.capacity_types), remedy)


def _where(path: Path, site: Site, pool: Pool, region: str) -> Iterator[Problem]:
    machine = pools.machine_of(site, pool)
    zones = offered(machine, region) if machine else None
    key = "machineType" if pool.machine_type else "accelerator"
    if machine is None or zones is None:
        return  # not known: an open finding
    remedy = f"data of {DATA_DATE}"
    if not zones:
        elsewhere = ", ".join(sorted(machine.zones or ())) or "none"
        allowed = f"offered in {region}; {machine.name} is in {elsewhere}"
        yield Problem((*path, key), f"needs {machine.name}, which {region} does not offer", allowed, remedy)
        return
    # AWS gives its zones to accounts under different names: there only the region is a fact for everybody.
    wrong = [zone for zone in pools.zones_of(site, pool) if zone not in zones] if site.gke else []
    if wrong:
        where = (*path, "gke", "zones") if pool.gke and pool.gke.zones else (*path, key)
        allowed = f"in {region} one of {', '.join(zones)}"
        yield Problem(where, f"is in {', '.join(wrong)}, without {machine.name}", allowed, remedy)


def _demand(stack: Stack, site_key: str, name: str) -> Iterator[Problem]:
    """Whether the pool at its largest holds the most replicas of all its models, and a rolling update."""
    pool = stack.sites[site_key].pools[name]
    here = [at for at in build.placed(stack) if at.site_key == site_key and at.model.pool == name]
    path: Path = ("sites", site_key, "pools", name)
    if not here:
        # A model that names no pool of the site, or none at all, is mostly the other half of it.
        lost = any(
            at.model.pool not in at.site.pools and (at.model.pool or at.gpus)
            for at in build.placed(stack)
            if at.site_key == site_key
        )
        if stack.models and not lost:
            remedy = f"remove it, or let a model name it: pool: {name}"
            yield Problem(path, "serves no model", "a pool that a model of the site names", remedy)
        return
    if any(not 0 < at.gpus <= pool.accelerators_per_node for at in here):
        return  # said at the model
    nodes = 0
    words = []
    for at in here:
        surge = at.surge
        per_node = pool.accelerators_per_node // at.gpus
        nodes += -(-(at.most + surge) // per_node) if len(here) == 1 else 0
        words.append(
            f"{at.model_key}: {at.most}{f' + {surge} while it is updated' if surge else ''} x {at.gpus}"
        )
    needed = sum((at.most + at.surge) * at.gpus for at in here)
    there = pool.max * pool.accelerators_per_node
    least = max(nodes, -(-needed // pool.accelerators_per_node))
    if least > pool.max:
        given = f"is {pool.max}, so {there} accelerators, where models need {needed} ({'; '.join(words)})"
        remedy = (
            "raise it, or lower the models' replicas; rollout.maxSurge 0 with maxUnavailable 1 needs no spare"
        )
        yield Problem((*path, "max"), given, f"at least {least}", remedy)


def _placement(stack: Stack, at: build.Placed) -> Iterator[Problem]:
    path: Path = ("models", at.model_key)
    model, site = at.model, at.site
    if pools.ground_of(site) == "sagemaker":
        return
    selector = {**site.node_selector, **(model.placement.node_selector if model.placement else {})}
    if POOL_LABEL in selector:
        remedy = "say pool: its taints are tolerated then, too"
        yield Problem((*path, "placement", "nodeSelector", POOL_LABEL), "is given", "other labels", remedy)
    if model.pool is None:
        yield from _no_pool(stack, at)
        return
    if model.pool not in site.pools:
        allowed = f"a pool of site '{at.site_key}': " + (", ".join(site.pools) or "none is there")
        yield Problem((*path, "pool"), f"is {model.pool!r}", allowed, nearest(model.pool, [*site.pools]))
        return
    pool = site.pools[model.pool]
    if pool.accelerator in accelerators():
        yield from _on_pool(at, pool)


def _no_pool(stack: Stack, at: build.Placed) -> Iterator[Problem]:
    if at.gpus and stack.environment != "local":
        allowed = f"a pool of site '{at.site_key}': " + (", ".join(at.site.pools) or "it has none yet")
        path: Path = ("models", at.model_key, "pool")
        yield Problem(path, f"is missing for {at.gpus} accelerator(s)", allowed)
    elif not at.gpus and (at.model.engine.name, CPU) not in pairings():
        yield _pairing_problem(at, CPU, "give it a pool with accelerators")


def _on_pool(at: build.Placed, pool: Pool) -> Iterator[Problem]:
    path: Path = ("models", at.model_key)
    model = at.model
    if not 0 < at.gpus <= pool.accelerators_per_node:
        given = f"is {at.gpus}, on pool '{model.pool}'"
        allowed = f"1 to {pool.accelerators_per_node}, the accelerators of a node"
        yield Problem((*path, "gpu", "count"), given, allowed)
        return
    resource = accelerator(pool.accelerator).resource
    if model.gpu and model.gpu.resource and model.gpu.resource != resource:
        given = f"is {model.gpu.resource}, on a pool of {pool.accelerator}"
        yield Problem((*path, "gpu", "resource"), given, resource, "leave it out")
    if (model.engine.name, pool.accelerator) not in pairings():
        yield _pairing_problem(at, pool.accelerator, f"on pool '{model.pool}' of site '{at.site_key}'")
        return
    yield from _memory(at, pool)
    yield from _room(at, pool)


def _pairing_problem(at: build.Placed, key: str, remedy: str) -> Problem:
    try:
        pairing(at.model.engine.name, key)
    except CatalogueError:
        serving = sorted(engine for engine, where in pairings() if where == key)
        given = f"is {at.model.engine.name}, which does not serve on {key}"
        return Problem(
            ("models", at.model_key, "engine", "name"), given, "one of " + ", ".join(serving), remedy
        )
    raise AssertionError(key)


def _memory(at: build.Placed, pool: Pool) -> Iterator[Problem]:
    """Weights alone must fit; what the KV cache takes besides is not looked at here."""
    known = models()[at.model.model]
    path: Path = ("models", at.model_key, "gpu", "count")
    device = Decimal(str(accelerator(pool.accelerator).memory_gib))
    smaller = at.model.engine.quantisation is not None
    if known.quantisation in build.BYTES and not smaller:
        weights = Decimal(known.parameters) * build.BYTES[known.quantisation] / _GIB
        if weights >= device * at.gpus:
            fewest = int(weights // device) + 1
            given = f"is {at.gpus}, {device * at.gpus:.0f} GiB for {weights:.1f} GiB of weights"
            yield Problem(
                path, given, f"at least {fewest} x {pool.accelerator}", "the KV cache needs room besides"
            )
    devices = at.gpus * at.build.cores_per_accelerator
    degree = at.model.engine.tensor_parallel or devices
    if isinstance(known.weights, HubWeights) and known.architecture.attention_heads % degree:
        heads = known.architecture.attention_heads
        given = f"is {at.gpus}, so {degree} devices share {heads} attention heads unevenly"
        divisors = [n for n in range(1, devices + 1) if heads % n == 0 and devices % n == 0]
        remedy = f"engine.tensorParallel: {divisors[-1]} spreads layers over the rest" if divisors else ""
        yield Problem(path, given, f"a number that divides {heads}", remedy)
    # GKE's documentation of TPUs: a pod takes all chips of its node.
    if accelerator(pool.accelerator).vendor == "google" and at.gpus != pool.accelerators_per_node:
        given, allowed = f"is {at.gpus}, on TPUs", f"{pool.accelerators_per_node}, all chips of a node"
        yield Problem(path, given, allowed, "GKE gives a node's chips to one pod")


def _room(at: build.Placed, pool: Pool) -> Iterator[Problem]:
    """What the pod asks of CPU and memory, against the machine."""
    machine = pools.machine_of(at.site, pool)
    engine = at.model.engine.resources
    if machine is None or engine is None:
        return
    gateway = at.model.gateway.resources if at.model.gateway and at.model.gateway.resources else None
    for unit, has, label in (
        ("cpu", Decimal(machine.vcpus), "vCPUs"),
        ("memory", Decimal(str(machine.memory_gib)), "GiB"),
    ):
        parts = [engine, *([gateway] if gateway else [])]
        asked = sum((_request(part, unit) for part in parts), Decimal(0))
        if asked >= has:
            path: Path = ("models", at.model_key, "engine", "resources", f"{unit}Request")
            given = f"is {getattr(parts[0], f'{unit}_request')}, so a pod asks for {asked:.4g} {label}"
            remedy = "the node's own services take a part of it, too"
            allowed = f"less than the {has:.4g} {label} of {machine.name} on pool '{at.model.pool}'"
            yield Problem(path, given, allowed, remedy)


def _request(resources: Resources, unit: str) -> Decimal:
    found = amount(getattr(resources, f"{unit}_request"))
    return found / _GIB if unit == "memory" else found


def _notice(at: build.Placed, pool: Pool, given: Arguments) -> Iterator[Problem]:
    """A spot node's notice must hold the pod's end."""
    if pools.catalogue_ground(at.site) == "own" or pools.capacity_of(pool) != "spot":
        return
    known = capacity(pools.catalogue_ground(at.site), "spot")
    if known.notice_seconds is None:
        return
    notice = known.notice_seconds
    if pool.gke and pool.gke.spot_grace_seconds:
        notice = pool.gke.spot_grace_seconds
    reserve = known.notice_seconds - (known.pod_grace_seconds or known.notice_seconds)
    try:
        grace = read(given, at.model_key).grace
    except ArgumentError:
        return  # said where the component's refusals are
    if isinstance(grace, int) and grace > notice - reserve:
        path: Path = ("models", at.model_key, "termination", "graceSeconds")
        found = f"would be {grace} (preStop + drain + 5), on pool '{at.model.pool}' of spot nodes"
        allowed = f"at most {notice - reserve}: the notice is {notice} s"
        allowed += f", of which {reserve} s belong to the node" if reserve else ""
        longer = " or gke.spotGraceSeconds: 120" if at.site.gke and notice <= _GKE_SPOT_SECONDS else ""
        remedy = f"set termination.preStopSeconds and drainSeconds{longer}"
        yield Problem(path, found, allowed, remedy)
