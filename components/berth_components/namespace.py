"""A namespace for model servers: hardened before anything runs in it."""

from typing import NotRequired, TypedDict

import pulumi

from berth_components import network
from berth_components.arguments import Arguments
from berth_components.checks import dns_label


class RestrictedNamespaceArgs(TypedDict):
    """Args of `RestrictedNamespace`."""

    name: NotRequired[pulumi.Input[str]]
    """The namespace's name. Default: the component's name."""


class RestrictedNamespace(pulumi.ComponentResource):
    """A namespace that admits only restricted pods, and no packet in or out unless a policy names it."""

    namespace: pulumi.Output[str]
    """The namespace's name, known once it and its default-deny policy exist."""

    def __init__(
        self, name: str, args: RestrictedNamespaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown or not allowed.
        """
        given = Arguments(f"RestrictedNamespace '{name}'", args, RestrictedNamespaceArgs)
        namespace = given.read("name", dns_label, name)
        super().__init__("berth:namespace:RestrictedNamespace", name, {}, opts)
        labels: dict[str, pulumi.Input[str]] = {"app.kubernetes.io/managed-by": "berth"}
        created = network.restricted_namespace(name, namespace, labels, pulumi.ResourceOptions(parent=self))
        policy = network.deny_all(
            name, namespace, labels, pulumi.ResourceOptions(parent=self, depends_on=[created])
        )
        # The policy's identity is part of the output, so that whoever uses the namespace comes after both.
        self.namespace = pulumi.Output.all(namespace, created.urn, policy.urn).apply(
            lambda known: str(known[0])
        )
        self.register_outputs({"namespace": self.namespace})
