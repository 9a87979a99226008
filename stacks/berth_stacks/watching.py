"""From settings to what watches the model servers of each cluster."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import pulumi
from berth_components.monitoring import facts
from berth_components.monitoring.monitoring import Monitoring, MonitoringArgs, jobs_of
from berth_components.monitoring.objectives import Objectives
from berth_components.monitoring.routes import alertmanager_config
from berth_components.monitoring.rules import rule_groups
from berth_components.node_pools import PoolSpec

from berth_stacks import build, monitoring_parts, pools
from berth_stacks.blame import blame
from berth_stacks.fields import Settings
from berth_stacks.load import Loaded
from berth_stacks.settings import Stack
from berth_stacks.waking import sleeping

if TYPE_CHECKING:
    from berth_stacks.sites import Place

UNPINNED_PASSWORD = "unpinned-password-of-nobody"  # noqa: S105 - stands in previews for one that nobody has set
_PORTS = {"prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
_NO_ROUTER = "there is no router in this cluster (berth:routers)"
_ROUTED = {
    facts.ROUTER: _NO_ROUTER,
    facts.TELLER: _NO_ROUTER,
    facts.WAITING: "no router in this cluster holds requests for a model that sleeps (autoscaling.min: 0)",
    facts.HYBRID: "there is no router in this cluster that divides requests between sites (its key hybrid)",
}
_WHY_NOT_HERE = {
    facts.GRAFANA: "it is in no Debian package, and there is no registry here; ./berth dash draws its pages",
    facts.KUBE_STATE: "it is in no Debian package, and there is no registry here",
    facts.DCGM: "there is no GPU on this machine: those of a local stack are simulated",
    facts.COLLECTOR: "it is in no Debian package, and there is no registry here",
}


def watch(
    loaded: Loaded,
    places: Mapping[str, "Place"],
    rooms: Mapping[str, pulumi.Input[str]],
    adapters: Mapping[object, pulumi.Input[str]],
    images: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Declare monitoring, once for each cluster that serves something.

    Args:
        loaded: the stack.
        places: sites, settled.
        rooms: namespaces of model servers by site, known when they exist.
        adapters: namespaces of metrics adapters by cluster, known when they exist.
        images: by role.

    Returns:
        By site, what the stack says of it.

    Raises:
        SettingsError: a component refuses a setting.
    """
    stack = loaded.settings
    clusters: dict[object, list[str]] = {}
    for key in rooms:
        clusters.setdefault(pools.home(stack.sites[key], key), []).append(key)
    found = {}
    for home, keys in clusters.items():
        first = keys[0]
        parts = monitoring_parts.of_site(stack, stack.sites[first])
        if stack.monitoring.mode == "none":
            continue
        args = _args(loaded, keys, places, rooms, images)
        if home in adapters:
            args |= {"adapter_namespace": stack.metrics_adapter.namespace, "adapter": adapters[home]}
        with blame(loaded, ("monitoring",)):
            made = Monitoring(f"{first}-monitoring", cast("MonitoringArgs", args), places[first].options)
        for key in keys:
            found[key] = _facts(stack, key, parts, made)
    return found


def servers(stack: Stack, name: str, sites: list[str] | None = None) -> list[facts.Server]:
    """Every model at every site of a cluster, as rules and dashboards take it. The settings are right."""
    return [
        _server(stack, name, at)
        for at in build.placed(stack)
        if not at.site.sagemaker and (sites is None or at.site_key in sites)
    ]


def parts(stack: Stack, site: str) -> facts.Parts:
    """What is deployed beside the model servers of a site."""
    monitoring = stack.monitoring
    there = monitoring_parts.of_site(stack, stack.sites[site])
    adapter = stack.metrics_adapter.mode == "owned" and monitoring.mode != "none"
    jobs = jobs_of(there, adapter=adapter, bundled=monitoring.mode == "bundled", **_routed(stack, site))
    if monitoring.mode == "none":
        jobs = frozenset()
    prometheus = monitoring.prometheus
    return facts.Parts(
        jobs=jobs,
        absent={job: _ROUTED.get(job) or _absent(stack, site, job) for job in facts.JOBS if job not in jobs},
        scrape_seconds=monitoring.scrape_seconds,
        evaluation_seconds=monitoring.scrape_seconds,
        remote_write=bool(prometheus and prometheus.remote_write),
        pending_scale=monitoring.alert_delay or 1.0,
    )


def objectives(stack: Stack) -> dict[str, Objectives]:
    """What counts as well, by model."""
    return {key: one.objectives() for key, one in stack.monitoring.objectives.items()}


def _routed(stack: Stack, site: str) -> dict[str, bool]:
    """Which routers the cluster of a site has."""
    home = pools.home(stack.sites[site], site)
    here = [one for one in stack.routers.values() if pools.home(stack.sites[one.site], one.site) == home]
    return {
        "routers": bool(here),
        "waiting": any(sleeping(stack, one) for one in here),
        "hybrid": any(one.hybrid is not None for one in here),
    }


def _absent(stack: Stack, site: str, job: str) -> str:
    monitoring = stack.monitoring
    if monitoring.mode == "none":
        return "berth:monitoring.mode is none: nobody watches"
    if job == facts.ADAPTER:
        return f"berth:metricsAdapter.mode is {stack.metrics_adapter.mode}: this stack has none of its own"
    if job == facts.DCGM and not monitoring_parts.has_nvidia(stack.sites[site]):
        return _WHY_NOT_HERE[job] if stack.environment == "local" else "no pool has NVIDIA's GPUs"
    if monitoring.mode == "operator":
        return "the operator's own stack has it, under names of its own"
    if stack.environment == "local" and job in _WHY_NOT_HERE:
        return _WHY_NOT_HERE[job]
    return "berth:monitoring.parts leaves it out"


def _server(stack: Stack, name: str, at: build.Placed) -> facts.Server:
    model, scaling, gateway = at.model, at.model.autoscaling, at.model.gateway
    filters = (gateway.filters if gateway else None) or []
    replicas = model.replicas or 1
    probes = model.probes
    return facts.Server(
        site=at.site_key,
        model=at.model_key,
        namespace=build.namespace(stack, at.site, name),
        name=at.model_key,
        engine=model.engine.name,
        variant=model.variant or "main",
        selector={"app.kubernetes.io/name": "model-server", "app.kubernetes.io/instance": at.model_key},
        slots=model.concurrency.slots,
        places=model.concurrency.max_concurrent_requests,
        min_replicas=scaling.min if scaling else replicas,
        max_replicas=scaling.max if scaling else replicas,
        by_queue=at.by_queue,
        gpus=at.gpus,
        simulated_gpus=at.gpus if stack.environment == "local" else 0,
        accelerator=at.accelerator,
        spot=bool(at.pool and at.pool.capacity == "spot"),
        priced=bool(gateway and gateway.cost_per_hour),
        filtered=bool(filters),
        refusals=any(
            (one.get("category") or one.get("name")) == "refusal" and "output" in one.get("stages", ())
            for one in filters
        ),
        tls=bool(gateway and gateway.tls_secret),
        startup_seconds=(probes.startup_seconds if probes else None) or int(at.build.startup_seconds),
    )


def _args(
    loaded: Loaded,
    keys: list[str],
    places: Mapping[str, "Place"],
    rooms: Mapping[str, pulumi.Input[str]],
    images: Mapping[str, str],
) -> dict[str, Any]:
    stack, first = loaded.settings, keys[0]
    monitoring = stack.monitoring
    known, there = servers(stack, loaded.name, keys), parts(stack, first)
    gpu_pools = _gpu_pools(places, keys)
    args: dict[str, Any] = {
        "site": first,
        **_routed(stack, first),
        "mode": monitoring.mode,
        "parts": monitoring_parts.of_site(stack, stack.sites[first]),
        "images": images,
        "namespace": monitoring.namespace,
        "ready": places[first].after(monitoring.namespace),
        "agents_namespace": monitoring.agents_namespace,
        "watched": [
            {
                "name": build.namespace(stack, stack.sites[key], loaded.name),
                "namespace": rooms[key],
                "site": key,
            }
            for key in keys
        ],
        "operator": _group(monitoring.operator) or None,
        "scrape_seconds": monitoring.scrape_seconds,
        "rule_groups": _rules(stack, known, there),
        "logged": [
            {key: getattr(one, key) for key in ("namespace", "name", "site", "model", "variant")}
            for one in known
        ],
        "dns": pools.dns_of(stack.sites[first]),
        "image_pull_secrets": stack.images.pull_secrets or None,
        "api_server_cidrs": monitoring.api_server_cidrs or None,
        "gpu_selectors": [places[key].on(name).node_selector for key, name in gpu_pools] or None,
        "gpu_tolerations": [one for key, name in gpu_pools for one in _taints(places[key].pools[name])],
        "prometheus": {
            **_group(monitoring.prometheus),
            **_viewers(stack),
            **_volume(stack),
            **_remote_write(loaded),
        },
        "alertmanager": _alertmanager(stack),
        "alerting": alertmanager_config(
            [one.receiver(name) for name, one in monitoring.receivers.items()],
            pending_scale=monitoring.alert_delay or 1.0,
        ),
        "alert_secrets": dict(loaded.alert_secrets) or None,
        "grafana": {**_group(monitoring.grafana), **_viewers(stack), **_volume(stack)},
        "admin_password": loaded.monitoring_secrets.get("grafana") or UNPINNED_PASSWORD,
        "collector": {**_group(monitoring.collector), **_volume(stack), **_backend(loaded)},
    }
    for one in ("alertmanager", "grafana", "collector"):
        if one not in args["parts"]:
            del args[one]
    if "grafana" in args["parts"] or monitoring.mode == "operator":
        args["dashboards"] = _dashboards(stack, known, there)
    return {key: value for key, value in args.items() if value is not None}


def _rules(stack: Stack, known: list[facts.Server], there: facts.Parts) -> list[dict[str, Any]]:
    monitoring = stack.monitoring
    pages = {"runbooks": monitoring.runbooks} if monitoring.runbooks else {}
    return rule_groups(known, objectives(stack), there, owner=monitoring.owner, **pages)


def _dashboards(stack: Stack, known: list[facts.Server], there: facts.Parts) -> dict[str, str]:
    # Grafana's SDK takes a while to import, and is not needed where there is no Grafana.
    from berth_components.monitoring.dashboards import dashboards  # noqa: PLC0415

    made = dashboards(known, objectives(stack), there, runbooks=stack.monitoring.runbooks or "")
    return {file: json.dumps(one, sort_keys=True, separators=(",", ":")) for file, one in made.items()}


def _gpu_pools(places: Mapping[str, "Place"], keys: list[str]) -> list[tuple[str, str]]:
    return [
        (key, name)
        for key in keys
        for name, spec in places[key].pools.items()
        if monitoring_parts.is_nvidia(spec.accelerator.key)
    ]


def _taints(spec: PoolSpec) -> list[dict[str, str]]:
    """The pool's further taints; the component tolerates the accelerator's own by itself."""
    return [
        {key: value for key, value in one.items() if key != "operator"}
        for one in spec.tolerations
        if one["key"] != spec.resource
    ]


def _viewers(stack: Stack) -> dict[str, Any]:
    viewers = stack.monitoring.viewers
    return {"client_cidrs": viewers.cidrs, "client_namespaces": viewers.namespaces}


def _volume(stack: Stack) -> dict[str, Any]:
    found = stack.monitoring.storage_class
    return {"storage_class": found} if found else {}


def _remote_write(loaded: Loaded) -> dict[str, Any]:
    prometheus = loaded.settings.monitoring.prometheus
    if prometheus is None or prometheus.remote_write is None:
        return {}
    token = loaded.monitoring_secrets.get("remoteWrite")
    return {"remote_write": {**_group(prometheus.remote_write), **({"token": token} if token else {})}}


def _backend(loaded: Loaded) -> dict[str, Any]:
    collector = loaded.settings.monitoring.collector
    if collector is None or collector.backend is None:
        return {}
    token = loaded.monitoring_secrets.get("collector")
    return {"backend": {**_group(collector.backend), **({"token": token} if token else {})}}


def _alertmanager(stack: Stack) -> dict[str, Any]:
    given = _group(stack.monitoring.alertmanager)
    ways = given.pop("egress", [])
    replicas = given.get("replicas") or (2 if stack.environment == "production" else 1)
    volume = _volume(stack) if replicas == 1 else {}
    return {**given, "replicas": replicas, "receivers": ways, **_viewers(stack), **volume}


def _facts(stack: Stack, key: str, there: tuple[str, ...], made: Monitoring) -> dict[str, Any]:
    monitoring, known = stack.monitoring, parts(stack, key)
    services = {"prometheus": made.prometheus, "alertmanager": made.alertmanager, "grafana": made.grafana}
    own = {"prometheus": monitoring.prometheus, "alertmanager": monitoring.alertmanager}
    address = stack.sites[key].node_address

    def url(app: str) -> str:
        settings = own.get(app)
        port = settings.node_port if settings else None
        return f"http://{address}:{port}" if port and address else ""

    return {
        "namespace": made.namespace,
        **{
            app: {"service": service, "port": _PORTS[app], "url": url(app)}
            for app, service in services.items()
            if app in there
        },
        "jobs": sorted(known.jobs),
        # A stack without routers lacks nothing.
        "absent": {job: why for job, why in known.absent.items() if job not in _ROUTED},
    }


def _group(settings: Settings | None) -> dict[str, Any]:
    """A group of settings as args: the same keys in snake case, what is absent left out."""
    return settings.model_dump(exclude_none=True) if settings else {}
