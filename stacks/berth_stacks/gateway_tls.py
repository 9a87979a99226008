"""Gateways that serve by HTTPS: whom a router in front of them trusts."""

from collections.abc import Iterator
from typing import Any

import pulumi
from berth_components.arguments import combine

from berth_stacks import build
from berth_stacks.errors import Path, Problem
from berth_stacks.settings import Stack

_OF_CLUSTERS = (".svc", ".local", ".internal")
"""How names end that no public authority signs."""


def trusted(stack: Stack, model: str, namespace: pulumi.Input[str]) -> dict[str, Any]:
    """What a router's backend is told of a model's certificate; nothing where it speaks plain HTTP."""
    gateway = stack.models[model].gateway
    if gateway is None or gateway.tls_secret is None:
        return {}
    name = gateway.tls_server_name or combine(lambda room: f"{model}.{room}.svc", namespace)
    return {"tls_server_name": name, "ca_secret": gateway.tls_ca_secret}


def tls_problems(stack: Stack) -> Iterator[Problem]:
    """Certificates that a router cannot check, and what is said of them to nobody."""
    for key, model in stack.models.items():
        gateway = model.gateway
        if gateway is None:
            continue
        path: Path = ("models", key, "gateway")
        routers = [
            name
            for name, one in stack.routers.items()
            if one.site in model.sites and key in build.routed_by(one)
        ]
        given = {"tlsCaSecret": gateway.tls_ca_secret, "tlsServerName": gateway.tls_server_name}
        for word, value in given.items():
            if value is None:
                continue
            if gateway.tls_secret is None:
                yield Problem((*path, word), "is given", "only with tlsSecret", "it serves plain HTTP")
            elif not routers:
                allowed = f"only of a model behind a router at {' or '.join(model.sites)}"
                yield Problem((*path, word), "is given", allowed, "clients know themselves whom they trust")
        name = gateway.tls_server_name
        public = name is not None and not name.endswith(_OF_CLUSTERS)
        if gateway.tls_secret and routers and not gateway.tls_ca_secret and not public:
            said = name or f"{key}.<namespace>.svc"
            remedy = f"or, in tlsServerName, a name that a public authority signed: none signs {said}"
            allowed = f"the Secret whose entry ca.crt signed {gateway.tls_secret}, for router {routers[0]}"
            yield Problem((*path, "tlsCaSecret"), "is missing", allowed, remedy)
