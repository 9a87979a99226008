"""The program of every stack: its settings, made into components."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pulumi
from berth_components import Autoscaler, KedaAutoscaler, MetricsAdapter, ModelServer, RestrictedNamespace

from berth_stacks import build, pools, sites
from berth_stacks.endpoints import serve_by_sagemaker
from berth_stacks.environment import Environment
from berth_stacks.findings import announce
from berth_stacks.gate import gate
from berth_stacks.hybrid_routing import Grounds
from berth_stacks.load import Loaded, load
from berth_stacks.overflow import replica_costs
from berth_stacks.planned import known_prices
from berth_stacks.references import KUBECONFIGS, POOLS
from berth_stacks.routing import declare_routers
from berth_stacks.watching import watch
from berth_stacks.weights_access import let_in

HTTP, HTTPS = 80, 443


def main(directory: Path) -> None:
    """Declare what the settings in a folder say, and the stack's outputs.

    Outputs:
        endpoints: URL by `<site>/<model>`; on SageMaker the endpoint's name.
        namespace: where the model servers are, unless a site says otherwise.
        models: by `<site>/<model>`: site, namespace, service, deployment, autoscaler ("" where there is
            none), selector, model (as clients name it), endpoint, simulatedGpus (per replica), holdSeconds
            (only where it sleeps: how long a request may wait until it wakes); on SageMaker site, model,
            endpoint and endpointArn.
        monitoring: by site: namespace, prometheus, alertmanager and grafana (each with service, port, and url
            where it has a port on every node), jobs that are scraped, absent ones with the reason.
        routers: by name: site, namespace, service, models, endpoint; absent where there are none. Of a hybrid
            one also model, weightsConfigMap, controller (namespace, deployment), costCapPerHour, residency
            and sites: by name backend, url, costPerReplicaHour, namespace, reporter (url, namespace,
            deployment, service, port, tokenSecret, tokenKey).
        findings: what is still open, as sorted texts.
        kubeconfigs: by site, a secret: how other stacks reach the clusters that are made here.
        pools: by site and pool, of the same clusters: what other stacks place pods by.

    Raises:
        SettingsError: the settings are wrong.
        PlanError: what it asks for does not fit, cannot be had, or does not carry the planned load.
        FindingsError: this is no preview, and something is open that leaves nothing to deploy.
    """
    loaded = load(directory)
    gated = gate(loaded, directory)
    findings = announce(loaded.name, loaded.settings.environment, (*loaded.findings, *gated.findings))
    Environment(loaded.settings.environment, findings, gated.cost)
    places = {key: sites.settle(loaded, key) for key in loaded.settings.sites}
    costs = replica_costs(loaded.settings, known_prices(directory), datetime.now(UTC).date())
    served, watched, routed = _declare(loaded, places, costs)
    pulumi.export("endpoints", {title: facts["endpoint"] for title, facts in served.items()})
    pulumi.export("namespace", loaded.settings.namespace or f"berth-{loaded.name}")
    pulumi.export("models", served)
    pulumi.export("monitoring", watched)
    if routed:
        pulumi.export("routers", routed)
    pulumi.export("findings", findings)
    made = {key: place for key, place in places.items() if place.kubeconfig is not None}
    if made:
        pulumi.export(
            KUBECONFIGS, {key: pulumi.Output.secret(place.kubeconfig) for key, place in made.items()}
        )
        pulumi.export(
            POOLS,
            {key: sites.pool_facts(place, loaded.settings.sites[key]) for key, place in made.items()},
        )


def _declare(
    loaded: Loaded, places: Mapping[str, sites.Place], costs: Mapping[str, Mapping[str, float]]
) -> tuple[dict[str, dict[str, Any]], ...]:
    stack = loaded.settings
    images = build.references(stack)
    rooms: dict[str, pulumi.Input[str]] = {}
    measured: list[object] = []
    adapters: dict[object, pulumi.Input[str]] = {}
    for key, site in stack.sites.items():
        here = [at for at in build.placed(stack) if at.site_key == key]
        if not here or pools.ground_of(site) == "sagemaker":
            continue
        opts = places[key].options
        name = places[key].after(build.namespace(stack, site, loaded.name))
        room = RestrictedNamespace(f"{key}-models", {"name": name}, opts)
        rooms[key] = room.namespace
        # A cluster has one external metrics API, however many sites it holds.
        home = pools.home(site, key)
        if build.has_adapter(stack) and home not in measured:
            measured.append(home)
            adapter = MetricsAdapter(f"{key}-metrics-adapter", build.adapter_args(stack, images), opts)
            adapters[home] = adapter.namespace
    watched = watch(loaded, places, rooms, adapters, images)
    served: dict[str, dict[str, Any]] = {}
    addresses: dict[str, pulumi.Output[str]] = {}
    for at in build.placed(stack):
        place = places[at.site_key]
        if at.site_key in rooms:
            server, served[at.title] = _serve(loaded, at, rooms[at.site_key], images, place)
            addresses[at.title] = server.address
        else:
            served[at.title] = serve_by_sagemaker(loaded, at, images, place)
    routed = declare_routers(loaded, Grounds(places, rooms, addresses, costs), images)
    for at in build.placed(stack):
        # Clients come through the router that lets nobody past it.
        if routers := build.only_through(stack, at):
            served[at.title]["endpoint"] = routed[routers[0]]["endpoint"]
    return served, watched, routed


def _serve(
    loaded: Loaded,
    at: build.Placed,
    namespace: pulumi.Input[str],
    images: Mapping[str, str],
    place: sites.Place,
) -> tuple[ModelServer, dict[str, Any]]:
    stack = loaded.settings
    pool = place.on(at.model.pool) if at.model.pool else None
    keys = loaded.api_keys or (None if stack.api_keys_secret else build.NO_KEYS)
    given = build.Given(images, loaded.pins, keys)
    opts = place.options
    let_in(at, namespace, place)
    server = ModelServer(at.name, build.server_args(stack, at, namespace, given, pool), opts)
    autoscaler: pulumi.Input[str] = ""
    if at.model.autoscaling:
        args = build.autoscaler_args(at, server.namespace, server.deployment, server.name)
        scaled = f"{at.name}-autoscaler"
        autoscaler = (
            KedaAutoscaler(scaled, build.keda_args(stack, args), opts).autoscaler
            if build.by_keda(stack, at)
            else Autoscaler(scaled, args, opts).name
        )
    simulated = at.gpus if stack.environment == "local" else 0
    if simulated:
        pulumi.log.info(
            f"{at.title}: its {simulated} GPU(s) per replica are simulated; nothing computes on them"
        )
    return server, {
        "site": at.site_key,
        "namespace": server.namespace,
        "service": server.service,
        "deployment": server.deployment,
        "autoscaler": autoscaler,
        "selector": server.selector,
        "model": at.model_id,
        "endpoint": _endpoint(at, server),
        "simulatedGpus": simulated,
        **({"holdSeconds": at.hold_seconds} if at.sleeps else {}),
    }


def _endpoint(at: build.Placed, server: ModelServer) -> pulumi.Output[str]:
    """Where clients reach a model; known in a preview wherever the settings alone say it."""
    service = at.model.service
    kind, port = (service.type, service.port or HTTP) if service else (None, HTTP)
    tls = at.model.gateway is not None and at.model.gateway.tls_secret is not None
    scheme, default = ("https", HTTPS) if tls else ("http", HTTP)

    def by_node(node_port: float) -> str:
        return f"{scheme}://{at.site.node_address}:{int(node_port) or '<assigned when it is created>'}"

    def by_balancer(address: str) -> str:
        where = address or "<assigned when it is created>"
        return f"{scheme}://{where}" + ("" if port == default else f":{port}")

    if service and kind == "NodePort":
        node_port = service.node_port
        return (
            server.node_port.apply(by_node)
            if node_port is None
            else server.service.apply(lambda _: by_node(node_port))
        )
    if kind == "LoadBalancer":
        return server.address.apply(by_balancer)
    return server.url
