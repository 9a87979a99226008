"""Images of ours into a cluster of kind, k3d or minikube, instead of a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_images import BuiltImage

    from berth.cli.console import Console


def takes_archives(context: str, kubeconfig: str = "") -> bool:
    """Whether the cluster of a kubeconfig's context takes images by a tool of its own."""
    from berth.operations.loading import local_cluster

    return local_cluster(context, kubeconfig) is not None


def load_into(
    context: str, archives: Mapping[str, BuiltImage], console: Console, kubeconfig: str = ""
) -> dict[str, str]:
    """Put built images into the cluster of a context; return their references by role.

    The components pull an image only where it is not present, and the tag is the start of its digest, so the
    kubelet takes exactly what was loaded. Images that every node has already are not loaded again.

    Args:
        context: a context for which `takes_archives` is true.
        archives: what `berth_images.build_all` gave, by role.
        console: where progress goes.
        kubeconfig: the file that has the context.

    Raises:
        UserError: the context is no such cluster's.
        OperationsError: the tool is missing, or did not load them.
    """
    from berth.cli.errors import UserError
    from berth.operations.loading import images_present, load_archives, local_cluster

    cluster = local_cluster(context, kubeconfig)
    if cluster is None:
        raise UserError(
            f"--context {context}: only clusters of kind, k3d and minikube take images without a registry; "
            "name one in berth:images: {registry: HOST/PATH}"
        )
    references = {role: image.reference for role, image in archives.items()}
    present = images_present(kubeconfig, context) if kubeconfig else frozenset()
    missing = {one.reference: one.tar for one in archives.values() if one.reference not in present}
    if missing:
        with console.step("images", f"into the {cluster.tool} cluster {cluster.name}"):
            load_archives(cluster, missing, lambda text: console.line("images", text))
    return references
