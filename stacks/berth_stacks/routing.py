"""Declares the routers of a stack."""

from collections.abc import Mapping
from typing import Any, cast

import pulumi
from berth_components import Router, RouterArgs

from berth_stacks import build
from berth_stacks.hybrid import Shared
from berth_stacks.hybrid_routing import Grounds, declare_controller, declare_reporters
from berth_stacks.load import Loaded
from berth_stacks.router_settings import Router as Settled
from berth_stacks.routers import named_keys, router_args
from berth_stacks.settings import Stack


def declare_routers(loaded: Loaded, grounds: Grounds, images: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Declare every router. Returns what the stack's output says of each."""
    stack = loaded.settings
    found: dict[str, dict[str, Any]] = {}
    for key, router in stack.routers.items():
        shared = Shared(stack, key, images)
        reporters, where = declare_reporters(loaded, shared, grounds) if router.hybrid else ({}, {})
        args = router_args(stack, key, grounds.rooms[router.site], images, where)
        if named_keys(router):
            # In a preview without keys the names are what counts.
            args["api_keys"] = loaded.api_keys or {
                name: f"{name}-unpinned-key-of-nobody" for name in named_keys(router)
            }
        opts = grounds.places[router.site].options
        made = Router(f"{router.site}-{key}", cast("RouterArgs", args), opts)
        found[key] = {
            "site": router.site,
            "namespace": made.namespace,
            "service": made.service,
            "models": [*build.routed_by(router)],
            "endpoint": _endpoint(stack, router, made),
            **(declare_controller(loaded, shared, grounds, reporters, where) if router.hybrid else {}),
        }
    return found


def _endpoint(stack: Stack, router: Settled, made: Router) -> pulumi.Output[str]:
    entrance = router.entrance
    if entrance is None or entrance.hostname is not None or entrance.type in {None, "ClusterIP"}:
        return made.url
    scheme = "http" if entrance.certificate_secret is None else "https"
    if entrance.type == "NodePort":
        node = stack.sites[router.site].node_address
        if entrance.node_port is not None:
            return made.service.apply(lambda _: f"{scheme}://{node}:{entrance.node_port}")
        return made.node_port.apply(
            lambda port: f"{scheme}://{node}:{int(port) or '<assigned when it is created>'}"
        )
    usual = 80 if scheme == "http" else 443
    port = entrance.port or usual
    return made.address.apply(
        lambda where: (
            f"{scheme}://{where or '<assigned when it is created>'}" + ("" if port == usual else f":{port}")
        )
    )
