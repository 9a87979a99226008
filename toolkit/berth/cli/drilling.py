"""What a drill needs to know of a stack: its hybrid router, and how every site of it is reached."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from berth.cli.errors import UserError
from berth.cli.levers import Place
from berth.cli.reaching import reach
from berth.cli.stackfile import local_clusters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from berth_stacks.settings import Stack as Settings

    from berth.cli.reaching import Reach, Reached
    from berth.cli.stackfile import Stack
    from berth.operations.drill import DrilledSite, Ground, Objectives, Residency

Json = dict[str, Any]
KEY_NAME = "local"
"""What `up` calls the API key of a local stack."""
SIMULATED = "sites, GPUs and prices are simulated; requests, router and faults are real"


@dataclass(frozen=True)
class Asked:
    """Whom to ask, as the command line says.

    Attributes:
        router: name of the router; `None` where the stack has one.
        key: API key of the load.
        ca, server_name: of an HTTPS entrance.
        contexts: of the user's kubeconfig, `[SITE=]NAME`.
    """

    router: str | None
    key: str | None
    ca: Path | None = None
    server_name: str = ""
    contexts: Sequence[str] = ()


def chosen_router(outputs: Mapping[str, Any], name: str | None) -> tuple[str, Json]:
    """A stack's hybrid router.

    Raises:
        UserError: it has none, or several and none was named.
    """
    routers = outputs.get("routers") or {}
    hybrid = {key: one for key, one in routers.items() if isinstance(one, dict) and one.get("sites")}
    if not hybrid:
        raise UserError(
            "a drill needs a router over several sites, and the stack's outputs name none. Set "
            "berth:routers: <name>: hybrid (docs/hybrid.md), and `up` the stack first"
        )
    if name is None and len(hybrid) == 1:
        name = next(iter(hybrid))
    if name is None or name not in hybrid:
        raise UserError(f"--router {name or '(none)'}: routers over several sites are {', '.join(hybrid)}")
    return name, hybrid[name]


def ground_of(stack: Stack, outputs: Mapping[str, Any], asked: Asked) -> tuple[Ground, dict[str, Place]]:
    """Gather everything that a drill of a stack asks, and by site how a lever reaches it.

    Raises:
        UserError: the stack has no such router, or its site cannot be reached.
    """
    from berth.operations.drill import Ground

    reached = reach(stack.name, asked.contexts)
    name, router = chosen_router(outputs, asked.router)
    reaches = {one.site: one for one in reached.sites}
    home = reaches[router["site"]]
    if not home.kubeconfig:
        raise UserError(f"the site {home.site} of the router {name} cannot be reached: {home.reason}")
    settings = reached.loaded.settings
    model = str(router.get("model") or router["models"][0])
    # Outputs are a map that keeps no order; the settings say who is preferred.
    router["sites"] = in_order(router["sites"], _preference(settings, name))
    sites, token = asyncio.run(_sites(router, reaches, is_local=stack.is_local))
    ground = Ground(
        stack=stack.name,
        router=name,
        model=model,
        endpoint=str(router["endpoint"]),
        key=asked.key,
        ca=asked.ca,
        server_name=asked.server_name,
        sites=sites,
        residency=tuple(residency_of(one, asked.key) for one in router.get("residency") or ()),
        cost_cap_per_hour=router.get("costCapPerHour"),
        silent_seconds=_silent_seconds(settings, name),
        objectives=_objectives(settings, model),
        token=token,
        kubeconfig=home.kubeconfig,
        context=home.context,
        namespace=str(router["namespace"]),
        slots=_slots(settings, model),
        simulated=SIMULATED if stack.is_local else "",
    )
    return ground, _places(stack, reached, router, outputs, model)


def residency_of(rule: Mapping[str, Any], key: str | None) -> Residency:
    """A rule as it can be asked: of keys, this machine has only the one that `up` gave a local stack."""
    from berth.operations.drill import Residency

    keys = rule.get("keys") or ()
    has_key = KEY_NAME in keys
    return Residency(
        name=str(rule["name"]),
        sites=tuple(rule["sites"]),
        headers=dict(rule.get("headers") or {}) if has_key or not keys else {},
        key=key if has_key else None,
    )


def in_order(sites: Mapping[str, Any], preference: Sequence[str]) -> dict[str, Any]:
    """Sites in their order of preference; those that it does not name come last."""
    order = [
        *(name for name in preference if name in sites),
        *(one for one in sites if one not in preference),
    ]
    return {name: sites[name] for name in order}


def _preference(settings: Settings, router: str) -> Sequence[str]:
    hybrid = settings.routers[router].hybrid if router in settings.routers else None
    return hybrid.sites if hybrid is not None else ()


def _silent_seconds(settings: Settings, router: str) -> float:
    hybrid = settings.routers[router].hybrid if router in settings.routers else None
    return float((hybrid.silent_seconds if hybrid else None) or 10.0)


def _slots(settings: Settings, model: str) -> int:
    concurrency = settings.models[model].concurrency
    return int((concurrency.slots if concurrency else None) or 1)


def _objectives(settings: Settings, model: str) -> Objectives | None:
    from berth.operations.drill import Objectives

    stated = settings.monitoring.objectives.get(model)
    if stated is None:
        return None
    found = stated.objectives()
    names = Objectives.__dataclass_fields__
    return Objectives(**{name: getattr(found, name) for name in names})


async def _sites(
    router: Json, reaches: Mapping[str, Reach], *, is_local: bool
) -> tuple[tuple[DrilledSite, ...], str]:
    """Every site in the order of the output, and the token of reporters."""
    from berth.operations.drill import DrilledSite
    from berth.operations.kube import KubeReader
    from berth.operations.kubeconfig import read_access

    home, found, token = str(router["site"]), [], ""
    access = await read_access(reaches[home].kubeconfig, reaches[home].context)
    async with KubeReader(access) as kube:
        for name, one in router["sites"].items():
            reporter: Json = one.get("reporter") or {}
            url = str(reporter.get("url") or "")
            if name == home and reporter:
                token = await _token(kube, reporter)
                url = await _from_here(kube, url, reporter) if is_local else ""
            found.append(
                DrilledSite(
                    name=name,
                    backend=str(one["backend"]),
                    reporter=url,
                    cost_per_replica_hour=one.get("costPerReplicaHour"),
                )
            )
    return tuple(found), token


async def _token(kube: Any, reporter: Json) -> str:
    path = f"/api/v1/namespaces/{reporter['namespace']}/secrets/{reporter['tokenSecret']}"
    secret = await kube.get(path)
    return base64.b64decode(secret["data"][reporter["tokenKey"]]).decode().strip()


async def _from_here(kube: Any, url: str, reporter: Json) -> str:
    """An address of the local cluster as this machine reaches it: by number, since it asks other DNS."""
    parts = urlsplit(url)
    service, _, rest = (parts.hostname or "").partition(".")
    if ".svc" not in f".{rest}":
        return url
    found = await kube.get(f"/api/v1/namespaces/{reporter['namespace']}/services/{service}")
    return f"{parts.scheme}://{found['spec']['clusterIP']}:{parts.port or 80}"


def _places(
    stack: Stack, reached: Reached, router: Json, outputs: Mapping[str, Any], model: str
) -> dict[str, Place]:
    reaches = {one.site: one for one in reached.sites}
    clusters = local_clusters(stack) if stack.is_local else {}
    found = {}
    for name, one in router["sites"].items():
        reporter: Json = one.get("reporter") or {}
        served: Json = (outputs.get("models") or {}).get(f"{name}/{model}") or {}
        cluster = clusters.get(name, "")
        whole = bool(cluster) and cluster != clusters.get(router["site"])
        found[name] = Place(
            site=name,
            kubeconfig=reaches[name].kubeconfig,
            context=reaches[name].context,
            namespace=str(served.get("namespace") or reporter.get("namespace") or one.get("namespace") or ""),
            selector=dict(served.get("selector") or {}),
            reporter=str(reporter.get("deployment") or ""),
            cluster=cluster,
            nodes=_nodes(cluster, name, whole=whole),
            whole=whole,
        )
    return found


def _nodes(cluster: str, site: str, *, whole: bool) -> Sequence[Any]:
    from berth.localcluster import Cluster

    if not cluster:
        return ()
    return [one for one in Cluster(cluster).nodes() if whole or one.pool == site]


def require_router_elsewhere(ground: Ground, place: Place) -> None:
    """Refuse to lose nodes on which the router or its controller runs: nobody would be there to fail over.

    Raises:
        UserError: names the pod and the node.
    """
    if place.whole or not place.nodes:
        return
    for pod, node in asyncio.run(_pods(ground)):
        if node in place.names and pod.startswith(f"{ground.router}-") and "-report-" not in pod:
            raise UserError(
                f"the pod {ground.namespace}/{pod} of the router is on the node {node}, which this drill "
                f"would lose: then nobody is left who sends requests elsewhere. Place it on another node"
            )


async def _pods(ground: Ground) -> list[tuple[str, str]]:
    from berth.operations.kube import KubeReader
    from berth.operations.kubeconfig import read_access

    async with KubeReader(await read_access(ground.kubeconfig, ground.context)) as kube:
        pods = await kube.list(f"/api/v1/namespaces/{ground.namespace}/pods")
    return [(pod["metadata"]["name"], str(pod["spec"].get("nodeName") or "")) for pod in pods]
