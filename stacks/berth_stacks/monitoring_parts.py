"""Which parts of monitoring a stack has, and what model servers are told of them."""

from collections.abc import Mapping
from typing import Any

from berth_catalogue.accelerators import accelerator, accelerators
from berth_components.monitoring.monitoring import OF_OPERATOR, PARTS, role_of

from berth_stacks.settings import Site, Stack

OTLP_PORT = 4318
_NVIDIA = "nvidia"


def of_site(stack: Stack, site: Site) -> tuple[str, ...]:
    """The parts at a site; none where nobody watches."""
    monitoring = stack.monitoring
    if monitoring.mode == "none" or site.sagemaker or not stack.models:
        return ()
    if monitoring.parts is not None:
        return tuple(monitoring.parts)
    every = PARTS if monitoring.mode == "bundled" else OF_OPERATOR
    return tuple(one for one in every if one != "dcgm-exporter" or has_nvidia(site))


def has_nvidia(site: Site) -> bool:
    """Whether a site has pools with NVIDIA's GPUs."""
    return any(is_nvidia(pool.accelerator) for pool in site.pools.values())


def is_nvidia(key: str) -> bool:
    """Whether an accelerator is NVIDIA's."""
    return key in accelerators() and accelerator(key).vendor.lower() == _NVIDIA


def everywhere(stack: Stack) -> frozenset[str]:
    """The parts of all sites together."""
    return frozenset(one for site in stack.sites.values() for one in of_site(stack, site))


def image_roles(stack: Stack) -> set[str]:
    """Roles of the parts' images."""
    return {role_of(one) for one in everywhere(stack)}


def asking_namespace(stack: Stack) -> str:
    """Where the Prometheus is that asks model servers; "" where nobody does."""
    monitoring = stack.monitoring
    if monitoring.mode == "operator":
        return monitoring.operator.namespace if monitoring.operator else ""
    return monitoring.namespace if "prometheus" in everywhere(stack) else ""


_OF_ROUTERS = frozenset({"tls_ca_secret", "tls_server_name"})
"""What routers in front of a gateway are told of its certificate."""


def gateway_args(stack: Stack, site: Site, given: Mapping[str, Any]) -> dict[str, Any]:
    """A gateway's args, which sends its traces to the collector unless it was told another one."""
    given = {key: value for key, value in given.items() if key not in _OF_ROUTERS}
    if "collector" not in of_site(stack, site) or "otlp_endpoint" in given:
        return given
    namespace = stack.monitoring.namespace
    way = {"namespace": namespace, "app": "collector", "port": OTLP_PORT}
    return {
        **given,
        "otlp_endpoint": f"http://berth-collector.{namespace}.svc:{OTLP_PORT}",
        "egress": [*given.get("egress", ()), way],
    }
