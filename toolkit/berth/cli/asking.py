"""What a stack's settings ask of the clusters that it reaches, as `berth.operations.inventory` takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth.cli.errors import UserError

if TYPE_CHECKING:
    from berth_stacks.build import Placed
    from berth_stacks.grounds import Pool
    from berth_stacks.settings import Site, Stack

    from berth.deployer import RunRequest
    from berth.operations.inventory import AskedModel, AskedPool, AskedSite

# The maker of an accelerator in the catalogue, the kind of its device plugin.
KINDS = {"nvidia": "nvidia", "aws": "neuron", "google": "tpu"}


@dataclass(frozen=True)
class Look:
    """A site to look at.

    Attributes:
        asked: what the stack asks there.
        kubeconfig: path or contents; "" where nobody knows yet how to reach it.
        context: the context in it, "" for the current one.
        reason: why it cannot be reached, where `kubeconfig` is "".
    """

    asked: AskedSite
    kubeconfig: str
    context: str = ""
    reason: str = ""


def looks(request: RunRequest) -> list[Look]:
    """Return every site of the stack that runs on a cluster which is there already.

    Args:
        request: what the deployer would get, with the connections that only this machine knows.

    Raises:
        SettingsError: the settings are wrong.
        UserError: a pool cannot be one of own hardware.
    """
    from berth_stacks.load import read

    from berth.cli.stackfile import STACKS

    stack = read(STACKS, request.stack, request.config, request.secret_keys).settings
    return looks_of(stack, request.stack)


def looks_of(stack: Stack, name: str) -> list[Look]:
    """Return every site, of settings that are right, that runs on a cluster which is there already.

    Raises:
        UserError: a pool cannot be one of own hardware.
    """
    return [_look(stack, key, site, name) for key, site in stack.sites.items() if site.cluster]


def _look(stack: Stack, key: str, site: Site, name: str) -> Look:
    asked, cluster = _asked(stack, key, site, name), site.cluster
    if cluster is not None and cluster.kubeconfig:
        return Look(asked, cluster.kubeconfig, cluster.context or "")
    made_by = f"the stack {cluster.stack}" if cluster and cluster.stack else "another stack"
    return Look(asked, "", reason=f"{made_by} makes it; give a context of your kubeconfig with --context")


def _asked(stack: Stack, key: str, site: Site, name: str) -> AskedSite:
    from berth_stacks.build import namespace, placed

    from berth.operations.inventory import AskedSite

    pools = tuple(_pool(key, pool_name, pool) for pool_name, pool in site.pools.items())
    plugins = {
        kind: getattr(site.device_plugins, kind, None)
        for kind in sorted({pool.kind for pool in pools} & {"nvidia", "neuron"})
    }
    modes: dict[str, Any] = {
        kind: plugin.mode if plugin and plugin.mode else "existing" for kind, plugin in plugins.items()
    }
    runtime_class = next((one.runtime_class for one in plugins.values() if one and one.runtime_class), None)
    return AskedSite(
        site=key,
        pools=pools,
        models=tuple(_model(at) for at in placed(stack) if at.site_key == key),
        namespace=namespace(stack, site, name),
        device_plugins=modes,
        plugin_runtime_class=runtime_class,
        metrics_adapter=stack.metrics_adapter.mode if stack.models else "none",
        enforce_policies=stack.environment == "production",
    )


def _pool(site: str, name: str, pool: Pool) -> AskedPool:
    from berth_components.arguments import ArgumentError, Arguments
    from berth_components.own_node_pool import OwnNodePoolArgs, read_own_pool

    from berth.operations.inventory import AskedPool

    given: dict[str, Any] = {
        "accelerator": pool.accelerator,
        "accelerators_per_node": pool.accelerators_per_node,
        "max_nodes": pool.max,
        "min_nodes": pool.min,
        "labels": dict(pool.labels) or None,
        "taints": [taint.model_dump(exclude_none=True) for taint in pool.taints] or None,
    }
    try:
        spec = read_own_pool(Arguments(f"sites.{site}.pools.{name}", given, OwnNodePoolArgs), name)
    except ArgumentError as error:
        raise UserError(str(error)) from None
    return AskedPool(
        name=name,
        accelerator=spec.accelerator.title,
        kind=KINDS[spec.accelerator.vendor],
        resource=spec.resource,
        products=spec.accelerator.product_labels,
        per_node=spec.per_node,
        nodes=spec.max_nodes,
        node_selector=spec.node_selector,
        tolerations=tuple(spec.tolerations),
    )


def pool_selector(site: str, name: str, pool: Pool) -> dict[str, str]:
    """Return the labels that find the nodes of a pool on own hardware.

    Raises:
        UserError: it cannot be one of own hardware.
    """
    return dict(_pool(site, name, pool).node_selector)


def _model(at: Placed) -> AskedModel:
    from berth.operations.inventory import AskedModel

    model = at.model
    weights, placement, service = model.weights, model.placement, model.service
    unmade = weights is not None and weights.storage in {"claim", "empty-dir"}
    return AskedModel(
        name=at.model_key,
        pool=model.pool,
        accelerators=at.gpus,
        resource=(model.gpu.resource if model.gpu else None) or "nvidia.com/gpu",
        replicas=at.most,
        surge=at.surge,
        storage_class=None if unmade else (weights.storage_class if weights else None) or "",
        runtime_class=placement.runtime_class if placement else None,
        priority_class=placement.priority_class if placement else None,
        load_balancer=service is not None and service.type == "LoadBalancer",
    )
