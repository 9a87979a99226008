"""A stack as plain YAML: a file per object in apply order, and a kustomization that lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .files import file_name
from .readme import readme
from .secrets import refer
from .yamltext import dump

if TYPE_CHECKING:
    from .collect import Collected, Item
    from .secrets import Secrets

WAVE = "argocd.argoproj.io/sync-wave"


def plain(collected: Collected, secrets: Secrets, *, waves: bool = True) -> dict[str, str]:
    """The files by path: of one cluster in the folder itself, of several in a folder each.

    Args:
        collected: the stack's objects.
        secrets: how secrets are referred to.
        waves: whether objects say their order to Argo CD by its annotation.
    """
    files: dict[str, str] = {}
    needed = {}
    for cluster, items in collected.clusters.items():
        start = f"{file_name(cluster)}/" if len(collected.clusters) > 1 else ""
        kept, needed[cluster] = refer(items, secrets)
        names = []
        for item in kept:
            name = f"{item.wave:02d}-{file_name(item.kind, item.namespace, item.name)}.yaml"
            files[start + name] = dump(_waved(item) if waves else item.manifest)
            names.append(name)
        files[f"{start}kustomization.yaml"] = dump(
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "sortOptions": {"order": "fifo"},
                "resources": names,
            }
        )
    files["README.md"] = readme(collected, needed, secrets, "yaml")
    return files


def _waved(item: Item) -> dict[str, Any]:
    metadata = item.manifest["metadata"]
    notes = {**(metadata.get("annotations") or {}), WAVE: str(item.wave)}
    return {**item.manifest, "metadata": {**metadata, "annotations": notes}}
