"""How this machine reaches each site of a stack that runs, and what should be there; nothing is made."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from berth.cli.errors import UserError
from berth.cli.stackfile import PROJECT, find_stack, local_clusters, request_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from berth_stacks.load import Loaded
    from berth_stacks.settings import Site

    from berth.cli.stackfile import Stack
    from berth.operations.diagnosis import AskedServer, Snapshot


@dataclass(frozen=True)
class Reach:
    """A site, and how it is reached.

    Attributes:
        site: its name.
        asked: its model servers.
        namespaces: where the stack has objects.
        adapter: namespace of the metrics adapter that the stack makes there, "" where it makes none.
        kubeconfig: path or contents; "" where nothing says how to reach it.
        context: the context in there; "" is the current one.
        reason: exactly what is missing, where `kubeconfig` is "".
    """

    site: str
    asked: tuple[AskedServer, ...]
    namespaces: tuple[str, ...]
    adapter: str
    kubeconfig: str = ""
    context: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Reached:
    """A stack: its settings, its sites, and the API key that this machine has for it, if any."""

    loaded: Loaded
    sites: tuple[Reach, ...]
    key: str | None = None


def reach(name: str, contexts: Sequence[str] = ()) -> Reached:
    """Return how each site of a stack is reached. No secret of the stack's file is opened.

    Args:
        name: the stack.
        contexts: of the user's kubeconfig, as `NAME` for every site or `SITE=NAME` for one.

    Raises:
        UserError, SettingsError: there is no such stack, site or context, or the settings are wrong.
    """
    stack = find_stack(name)
    given = _given(stack, contexts)
    clusters = local_clusters(stack) if stack.is_local else {}
    seen = {cluster: _local_cluster(cluster, name) for cluster in dict.fromkeys(clusters.values())}
    local = {site: seen[cluster] for site, cluster in clusters.items()}
    known: dict[str, tuple[str, str, str]] = {**local, **{site: (*one, "") for site, one in given.items()}}
    overlay = {
        "berth:connections": {
            site: {
                "kubeconfig": file or f"not-there-{clusters.get(site, '')}",
                **({"context": context} if context else {}),
                "nodeAddress": "127.0.0.1",
            }
            for site, (file, context, _) in known.items()
            # A cloud's site has a ground of its own, which no connection replaces.
            if stack.is_local or "cluster" in (stack.config.get("berth:sites") or {}).get(site, {})
        }
    }
    loaded = _read(stack, overlay if overlay["berth:connections"] else {})
    sites = tuple(_reach(loaded, key, site, known.get(key)) for key, site in loaded.settings.sites.items())
    return Reached(loaded, sites, _key(name) if stack.is_local else os.environ.get("BERTH_API_KEY"))


async def snapshot(reached: Reached, site: Reach, ca: Path | None = None) -> Snapshot:
    """Look at a site; one that cannot be reached gives a snapshot that says why."""
    from datetime import UTC, datetime

    from berth.deployer.state import record_name
    from berth.operations.diagnosis import Snapshot, look
    from berth.operations.diagnosis.facts import NotRead

    name = reached.loaded.name
    if not site.kubeconfig:
        return Snapshot(
            stack=name,
            site=site.site,
            server=f"the cluster of site {site.site}",
            taken=datetime.now(UTC),
            namespaces=site.namespaces,
            asked=site.asked,
            adapter=site.adapter,
            not_read=(NotRead("cluster", site.reason),),
        )
    return await look(
        stack=name,
        record_name=record_name(PROJECT, name),
        site=site.site,
        kubeconfig=site.kubeconfig,
        context=site.context,
        namespaces=site.namespaces,
        asked=site.asked,
        adapter=site.adapter,
        key=reached.key,
        ca=ca,
    )


def _given(stack: Stack, contexts: Sequence[str]) -> dict[str, tuple[str, str]]:
    from berth.cli.preparing import kubeconfig_of

    found: dict[str, tuple[str, str]] = {}
    for one in contexts:
        site, equals, context = one.partition("=")
        # Names of contexts may hold '=' themselves; those of sites are the stack's.
        if not equals or site not in stack.sites:
            site, context = "", one
        if not site and found:
            raise UserError(
                f"--context {one}: with several, each is SITE=NAME; sites: {', '.join(stack.sites)}"
            )
        place = (kubeconfig_of(context), context)
        found |= {site: place} if site else dict.fromkeys(stack.sites, place)
    return found


def _local_cluster(name: str, stack: str) -> tuple[str, str, str]:
    from berth.localcluster import Cluster

    cluster = Cluster(name)
    state = cluster.status().state
    if state == "absent":
        return "", "", f"there is no local cluster {name}; ./berth up {stack} makes it"
    if state == "stopped":
        return "", "", f"the local cluster {name} is stopped; ./berth cluster start --name {name}"
    return str(cluster.kubeconfig), "", ""


def _read(stack: Stack, overlay: Mapping[str, Any]) -> Loaded:
    from berth_stacks.load import read

    request = request_for(stack, overlay, {}, offline=True)
    loaded: Loaded = read(stack.file.parent, stack.name, request.config, request.secret_keys)
    return loaded


def _reach(loaded: Loaded, key: str, site: Site, known: tuple[str, str, str] | None) -> Reach:
    from berth_stacks.build import by_keda, namespace, placed

    from berth.operations.diagnosis import AskedServer

    settings = loaded.settings
    where = namespace(settings, site, loaded.name)
    here = [] if site.sagemaker else [one for one in placed(settings) if one.site_key == key]
    adapter = settings.metrics_adapter
    owned = adapter.namespace if here and adapter.mode == "owned" else ""
    bare = Reach(
        site=key,
        asked=tuple(
            AskedServer(
                one.model_key,
                where,
                autoscaled=one.model.autoscaling is not None,
                keda=by_keda(settings, one),
            )
            for one in here
        ),
        namespaces=tuple(filter(None, (where if here else "", owned))),
        adapter=owned,
    )
    if known is not None:
        file, context, reason = known
        return replace(bare, kubeconfig=file, context=context, reason=reason)
    cluster = site.cluster
    if cluster is not None and cluster.kubeconfig:
        return replace(bare, kubeconfig=cluster.kubeconfig, context=cluster.context or "")
    return replace(bare, reason=_missing(loaded, key, site))


def _missing(loaded: Loaded, key: str, site: Site) -> str:
    """What a person has to do so that a cluster that a cloud or another stack made can be asked."""
    then = f"; then add --context {key}=NAME"
    default = f"{loaded.name}-{key}"
    if site.eks:
        name, region = site.eks.name or default, site.eks.region
        return (
            f"it is the EKS cluster {name} in {region}, of which no kubeconfig is here: "
            f"aws eks update-kubeconfig --name {name} --region {region}{then}"
        )
    if site.gke:
        name, place = site.gke.name or default, site.gke.location
        return (
            f"it is the GKE cluster {name} in {place}, of which no kubeconfig is here: "
            f"gcloud container clusters get-credentials {name} --location {place}{then}"
        )
    if site.sagemaker:
        return (
            f"its models are endpoints of SageMaker in {site.sagemaker.region}, which no Kubernetes runs: "
            f"aws sagemaker list-endpoints --region {site.sagemaker.region}"
        )
    made_by = f"the stack {site.cluster.stack}" if site.cluster and site.cluster.stack else "another stack"
    return f"{made_by} makes its cluster, of which no kubeconfig is here{then}"


def _key(name: str) -> str | None:
    from berth.cli.key import key_file

    file = key_file(name)
    return file.read_text().strip() if file.is_file() else None
