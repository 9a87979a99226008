"""A Kubernetes cluster that is already there: own hardware, the local one, or anybody else's."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from berth_components.arguments import Arguments, combine
from berth_components.checks import plain_text


class ExistingClusterArgs(TypedDict):
    """Args of `ExistingCluster`."""

    kubeconfig: pulumi.Input[str]
    """Path of a kubeconfig, or its contents (kept as a secret)."""
    context: NotRequired[pulumi.Input[str]]
    """The context in it. Default: the kubeconfig's current context."""


class ExistingCluster(pulumi.ComponentResource):
    """Makes a provider for a cluster that exists; creates nothing in it.

    The provider changes ConfigMaps and Secrets in place. Pulumi's default is to replace them, which would
    take API keys away from running model servers for a moment.
    """

    provider: kubernetes.Provider
    """Pass it on: `opts=pulumi.ResourceOptions(providers={"kubernetes": cluster.provider})`."""
    context: pulumi.Output[str]
    """The context, "" for the current one."""

    def __init__(
        self, name: str, args: ExistingClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing or empty.
        """
        given = Arguments(f"ExistingCluster '{name}'", args, ExistingClusterArgs)
        kubeconfig = given.read("kubeconfig", plain_text)
        context = given.maybe("context", plain_text)
        super().__init__("berth:cluster:ExistingCluster", name, {}, opts)
        self.provider = kubernetes.Provider(
            f"{name}-provider",
            kubeconfig=combine(_hide_contents, kubeconfig),
            context=context,
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.context = pulumi.Output.from_input(context).apply(lambda known: known or "")
        # Not the provider: a saved plan knows no id of it yet, and `pulumi up --plan` calls that a change.
        self.register_outputs({"context": self.context})


def is_contents(kubeconfig: str) -> bool:
    """Whether it is a kubeconfig's contents, YAML of many lines or JSON, and not a path."""
    return "\n" in kubeconfig or "{" in kubeconfig


def _hide_contents(kubeconfig: str) -> str | pulumi.Output[str]:
    # A path is no secret, and is better seen in a preview; contents carry keys and tokens.
    return pulumi.Output.secret(kubeconfig) if is_contents(kubeconfig) else kubeconfig
