"""The program of every stack: its settings, made into components."""

import os.path
from itertools import islice
from pathlib import Path
from typing import Any

import pulumi
from berth_components import (
    Autoscaler,
    ExistingCluster,
    ExistingClusterArgs,
    MetricsAdapter,
    ModelServer,
    RestrictedNamespace,
)
from berth_components.existing_cluster import is_contents

from berth_stacks import build
from berth_stacks.findings import announce
from berth_stacks.load import Loaded, load

HTTP = 80


def main(directory: Path) -> None:
    """Declare what the settings in a folder say, and the stack's outputs.

    Outputs:
        endpoints: URL by `<site>/<model>`.
        namespace: where the model servers are, unless a site says otherwise.
        models: by `<site>/<model>`: site, namespace, service, deployment, autoscaler ("" where there is
        none),
            selector, model (as clients name it), endpoint, simulatedGpus (per replica).

    Raises:
        SettingsError: the settings are wrong.
    """
    loaded = load(directory)
    findings = announce(loaded.name, loaded.settings.environment, loaded.findings)
    served = _declare(loaded)
    pulumi.export("endpoints", {title: facts["endpoint"] for title, facts in served.items()})
    pulumi.export("namespace", loaded.settings.namespace or f"berth-{loaded.name}")
    pulumi.export("models", served)
    pulumi.export("findings", findings)


def _declare(loaded: Loaded) -> dict[str, dict[str, Any]]:
    stack = loaded.settings
    grounds: dict[str, tuple[pulumi.Input[str], pulumi.ResourceOptions]] = {}
    for key, site in stack.sites.items():
        if site.cluster is None:
            raise AssertionError(f"the rules let a site without a cluster pass: {key}")
        kubeconfig = site.cluster.kubeconfig
        if not is_contents(kubeconfig):
            # The provider knows no "~".
            kubeconfig = os.path.expanduser(kubeconfig)  # noqa: PTH111 - Path would also rewrite the rest
        access: ExistingClusterArgs = {"kubeconfig": kubeconfig}
        if site.cluster.context:
            access["context"] = site.cluster.context
        cluster = ExistingCluster(key, access)
        opts = pulumi.ResourceOptions(providers={"kubernetes": cluster.provider})
        room = RestrictedNamespace(f"{key}-models", {"name": build.namespace(stack, site, loaded.name)}, opts)
        # A cluster has one external metrics API, however many sites it holds.
        first = all(other.cluster != site.cluster for _, other in islice(stack.sites.items(), len(grounds)))
        if stack.metrics_adapter.mode != "none" and first:
            MetricsAdapter(f"{key}-metrics-adapter", build.adapter_args(stack, stack.images.refs), opts)
        grounds[key] = (room.namespace, opts)
    return {at.title: _serve(loaded, at, *grounds[at.site_key]) for at in build.placed(stack)}


def _serve(
    loaded: Loaded, at: build.Placed, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> dict[str, Any]:
    stack = loaded.settings
    server = ModelServer(
        at.name, build.server_args(stack, at, namespace, loaded.api_keys, stack.images.refs), opts
    )
    autoscaler: pulumi.Input[str] = ""
    if at.model.autoscaling:
        args = build.autoscaler_args(at, server.namespace, server.deployment, server.name)
        autoscaler = Autoscaler(f"{at.name}-autoscaler", args, opts).name
    simulated = at.gpus if stack.environment == "local" else 0
    if simulated:
        pulumi.log.info(
            f"{at.title}: its {simulated} GPU(s) per replica are simulated; nothing computes on them"
        )
    return {
        "site": at.site_key,
        "namespace": server.namespace,
        "service": server.service,
        "deployment": server.deployment,
        "autoscaler": autoscaler,
        "selector": server.selector,
        "model": at.model_id,
        "endpoint": _endpoint(at, server),
        "simulatedGpus": simulated,
    }


def _endpoint(at: build.Placed, server: ModelServer) -> pulumi.Output[str]:
    """Where clients reach a model; known in a preview wherever the settings alone say it."""
    service = at.model.service
    kind, port = (service.type, service.port or HTTP) if service else (None, HTTP)

    def by_node(node_port: float) -> str:
        return f"http://{at.site.node_address}:{int(node_port) or '<assigned when it is created>'}"

    def by_balancer(address: str) -> str:
        return f"http://{address or '<assigned when it is created>'}" + ("" if port == HTTP else f":{port}")

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
