"""A program of about 50 objects whose content, number and names follow its configuration: for killing it.

It declares them without Pulumi's Kubernetes package, whose import would take most of each run's time.
"""

from __future__ import annotations

from typing import Any

import pulumi

config = pulumi.Config()
provider = pulumi.ProviderResource("kubernetes", "here", {"kubeconfig": config.require("kubeconfig")})
name = config.require("namespace")
generation = config.require_int("generation")


class Object(pulumi.CustomResource):
    """One Kubernetes object, by its type token."""

    def __init__(self, type_: str, key: str, called: str, props: dict[str, Any], **options: Any) -> None:
        version, _, kind = type_.rpartition(":")
        group_version = version.removeprefix("core/")
        body = {"apiVersion": group_version, "kind": kind, "metadata": {"name": called, "namespace": name}}
        opts = pulumi.ResourceOptions(provider=provider, **options)
        super().__init__(f"kubernetes:{type_}", key, {**body, **props}, opts)


previous: Object | None = None
for index in range(40):
    if (index + generation) % 5 == 0:
        continue  # every generation drops some objects and brings others back
    depends_on = [previous] if previous is not None and index % 3 == 0 else []
    data = {"data": {"generation": str(generation)}}
    previous = Object("core/v1:ConfigMap", f"c{index}", f"c{index}", data, depends_on=depends_on)
for index in range(10):
    called = f"s{index}-{generation % 2}"
    Object("core/v1:Secret", f"s{index}", called, {"stringData": {"generation": str(generation)}})
for index in range(8):
    # roleRef is immutable: every second generation replaces these.
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"x{generation % 2}"}
    Object("rbac.authorization.k8s.io/v1:RoleBinding", f"r{index}", f"r{index}", {"roleRef": role})
pulumi.export("generation", generation)
