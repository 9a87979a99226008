"""What the components on Google Cloud have in common: args that must be there, and explicit providers."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import pulumi
import pulumi_kubernetes as kubernetes

from berth_components.arguments import ArgumentError, Arguments, Check

T = TypeVar("T")


def needed(given: Arguments, key: str, check: Check[T]) -> T:
    """An argument that must be there, and known."""
    return given.plain(key, check)  # pyright: ignore[reportAny] # the default is the reader's sentinel


def needed_input(given: Arguments, key: str, check: Check[T]) -> pulumi.Input[T]:
    """An argument that must be there."""
    return given.read(key, check)  # pyright: ignore[reportAny] # the default is the reader's sentinel


def require_google(component: pulumi.ComponentResource, who: str) -> None:
    """Refuse to fall back on whatever project and credentials the environment happens to hold.

    Raises:
        ArgumentError: no provider of Google Cloud was passed.
    """
    provider = component.get_provider("gcp:container/cluster:Cluster")
    if not isinstance(provider, pulumi.ProviderResource):
        raise ArgumentError(
            who,
            "opts",
            "has no provider of Google Cloud",
            "an explicit one",
            'pass pulumi.ResourceOptions(providers={"gcp": gcp.Provider("…", project="…", region="…")})',
        )


def load_quietly(use: Callable[[], object]) -> None:
    """Load one of the SDK's packages, which happens when it is first used, without its own warnings.

    `compute` and `storage` warn of names of their own that are misspelt and deprecated.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        use()


def cluster_provider(
    name: str, kubeconfig: pulumi.Input[str], identifier: pulumi.Input[str], parent: pulumi.Resource
) -> kubernetes.Provider:
    """A provider for a cluster; its identifier keeps a changed kubeconfig from replacing every object.

    ConfigMaps and Secrets are changed in place: Pulumi's default is to replace them, which would take API
    keys away from running model servers for a moment.
    """
    return kubernetes.Provider(
        f"{name}-provider",
        kubeconfig=kubeconfig,
        cluster_identifier=identifier,
        enable_config_map_mutable=True,
        enable_secret_mutable=True,
        opts=pulumi.ResourceOptions(parent=parent),
    )
