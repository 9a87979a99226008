"""What a command needs before the deployer runs: the ground below a stack, and its configuration."""

from __future__ import annotations

import contextlib
import enum
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from berth.cli import local
from berth.cli.errors import UserError
from berth.cli.key import ensure_key
from berth.cli.plan import read_stack
from berth.cli.stackfile import CLOUDS, Stack, find_stack, request_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth.cli.console import Console
    from berth.deployer import RunRequest

# What a pod of a cluster of the user's own sees as its clients: private networks.
PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15")


@dataclass(frozen=True)
class Prepared:
    """A run that can start.

    Attributes:
        request: what the engine runs.
        key: the API key, where Berth made it.
        is_foreign: whether the clusters are not Berth's own local one, so that they must be looked at first.
    """

    request: RunRequest
    key: str | None = None
    is_foreign: bool = True


class Need(enum.Enum):
    """What a command needs of the ground below a stack."""

    CHANGE = "clusters and images are made"
    EXISTING = "a cluster that was made is started; none is made"
    LOOK = "what is there is taken as it is"


class NothingThereError(UserError):
    """Nothing of the stack can be deployed, for want of a cluster."""


def _local_overlay(ground: local.Ground, images: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config values that only this machine knows.

    Images that the file names stay, such as one of others that somebody imported into the cluster.
    """
    return {
        "berth:connections": {
            site: {"kubeconfig": str(place.kubeconfig), "nodeAddress": place.node_address}
            for site, place in ground.places.items()
        },
        "berth:images": {**images, "refs": {**images.get("refs", {}), **ground.images}},
    }


def _check(stack: Stack, *, clouds: bool, context: str | None, gpus: int | None) -> None:
    """Refuse what does not go together, before anything is made."""
    if (found := stack.grounds & CLOUDS) and not clouds:
        raise UserError(
            f"the stack '{stack.name}' has resources of a cloud ({', '.join(sorted(found))}), which the "
            "Pulumi CLI makes: add --engine pulumi. `./berth preview` plans them without it"
        )
    if gpus is not None and context:
        raise UserError("--simulated-gpus: only the local cluster simulates hardware, not that of --context")
    if gpus is not None and not stack.is_local:
        raise UserError(f"--simulated-gpus: only a local stack simulates hardware; '{stack.name}' is none")
    if stack.is_local and stack.has_own_ground:
        said = f"the sites of '{stack.name}' say which clusters and nodes of this machine they have"
        if context:
            raise UserError(f"--context: {said} (localCluster, simulatedNodes)")
        if gpus is not None:
            raise UserError(f"--simulated-gpus: {said}; set simulatedNodes in {stack.file}")


def prepare(
    name: str,
    console: Console,
    *,
    need: Need,
    context: str | None = None,
    yes: bool = False,
    gpus: int | None = None,
    offline: bool = False,
    by_pulumi: bool = False,
    root: Path | None = None,
) -> Prepared:
    """Bring up the ground that a stack stands on, and gather its configuration.

    Args:
        name: the stack.
        console: where progress goes.
        need: what may be made; a preview takes what is there.
        context: a context of the user's kubeconfig, instead of a local cluster.
        yes: whether missing Debian tools may be installed.
        gpus: simulated GPUs of the local cluster.
        offline: plan without asking any cluster.
        by_pulumi: whether the Pulumi CLI runs it.
        root: the checkout that has the stack; this one without it.
    """
    stack = find_stack(name, root)
    _check(stack, clouds=by_pulumi or need is Need.LOOK, context=context, gpus=gpus)
    if not stack.is_local:
        overlay = _context_overlay(stack, context) if context else {}
        if context and not stack.images.get("refs") and (found := _loaded(stack, context, console, need)):
            overlay["berth:images"] = {**stack.images, "refs": found}
        return Prepared(request_for(stack, overlay, {}, offline=offline, by_pulumi=by_pulumi))
    if need is Need.CHANGE and not context:
        local.require_machine()
    key = ensure_key(name)
    secrets = {"berth:apiKeys": {"local": key}}
    if context:
        overlay = {
            **_context_overlay(stack, context),
            "berth:images": {**stack.images, "refs": _references(stack, context, console, need)},
            "berth:clients": {"cidrs": list(PRIVATE_NETWORKS)},
        }
        return Prepared(request_for(stack, overlay, secrets, by_pulumi=by_pulumi), key)
    sites = stack.local_sites
    if need is Need.CHANGE:
        if stack.has_own_ground:
            # What clusters and nodes are made is up to the settings, so they must be right before.
            read_stack(stack)
        ground: local.Ground | None = local.prepare_ground(
            console,
            yes=yes,
            simulated_gpus=gpus,
            metrics_server=stack.scales_on_cpu,
            settings=stack.settings,
            sites=sites,
        )
    elif need is Need.EXISTING:
        ground = local.existing_ground(console, stack.settings, sites)
    else:
        ground = local.present_ground(console, stack.settings, sites, offline=offline)
    if ground is None:
        raise NothingThereError(f"there is no local cluster, so nothing of the stack '{name}' is deployed")
    overlay = _local_overlay(ground, stack.images)
    offline = offline or not ground.running
    request = request_for(stack, overlay, secrets, offline=offline, by_pulumi=by_pulumi)
    return Prepared(request, key, is_foreign=False)


def kubeconfig_of(context: str) -> str:
    """Return the kubeconfig file that has a context."""
    # The list form of KUBECONFIG is kubectl's; the file that has the context is the one that counts.
    files = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    kubeconfig = next((file for file in files.split(":") if _has_context(file, context)), None)
    if kubeconfig is None:
        raise UserError(
            f"--context {context}: no context of that name in {files} ($KUBECONFIG, else ~/.kube/config)"
        )
    return kubeconfig


def _context_overlay(stack: Stack, context: str) -> dict[str, Any]:
    from berth.operations.errors import NoNodeError
    from berth.operations.nodes import node_address

    kubeconfig = kubeconfig_of(context)
    connection = {"kubeconfig": kubeconfig, "context": context}
    try:
        connection["nodeAddress"] = node_address(Path(kubeconfig), context)
    except NoNodeError as error:
        # Nodes may come with the first pods; only who is reached at a node needs one before.
        if stack.lacks_node_address:
            raise UserError(f"--context {error}, or set nodeAddress of the site in {stack.file}") from None
    return {"berth:connections": dict.fromkeys(stack.sites, connection)}


def _has_context(file: str, context: str) -> bool:
    try:
        content = yaml.safe_load(Path(file).read_text())
    except (OSError, yaml.YAMLError):
        return False
    contexts = content.get("contexts") if isinstance(content, dict) else None
    return any(isinstance(one, dict) and one.get("name") == context for one in contexts or [])


def _loaded(stack: Stack, context: str, console: Console, need: Need) -> dict[str, str] | None:
    """Return the images in a cluster of kind, k3d or minikube, None where the cluster is none of them."""
    from berth.cli.loading import load_into, takes_archives

    kubeconfig = kubeconfig_of(context)
    if stack.images.get("registry") or not takes_archives(context, kubeconfig):
        return None
    import berth_images

    if need is Need.CHANGE:
        roles = berth_images.roles_for(stack.settings)
        built = berth_images.build_all(roles, progress=lambda text: console.line("images", text))
        return load_into(context, built, console, kubeconfig)
    return {role: image.reference for role, image in berth_images.find().items()}


def _references(stack: Stack, context: str, console: Console, need: Need) -> dict[str, str]:
    """Return the images for a cluster that is not ours: named in the file, loaded into it, or pushed."""
    references = stack.images.get("refs")
    if isinstance(references, dict) and references:
        return {str(role): str(reference) for role, reference in references.items()}
    if loaded := _loaded(stack, context, console, need):
        return loaded
    registry = stack.images.get("registry")
    if not isinstance(registry, str):
        raise UserError(
            f"{stack.file}: a cluster of your own pulls its images from a registry, and none is named. Set "
            "berth:images: {registry: HOST/PATH} (Berth pushes there), or {refs: {<role>: <reference>}}"
        )
    import berth_images
    from berth_images.errors import NotFoundError
    from berth_images.publish import pin, published_name, push

    if need is not Need.CHANGE:
        found = berth_images.find()
        references = {role: f"{registry}/{role}:not-built-yet" for role in berth_images.cluster_roles()}
        if need is Need.LOOK:
            for role, image in found.items():
                tagged = str(published_name(image, registry))
                with contextlib.suppress(NotFoundError):
                    tagged = pin(tagged).reference
                references[role] = tagged
        return references
    roles = berth_images.roles_for(stack.settings)
    built = berth_images.build_all(roles, progress=lambda text: console.line("images", text))
    return {
        role: push(image, registry, progress=lambda text: console.line("images", text))
        for role, image in built.items()
    }
