"""Images into clusters of kind, k3d and minikube, by their own tools: no registry is needed.

What each tool is asked, and why its word alone is not taken (read on 2026-11-23):

- kind: `kind load image-archive TAR --name CLUSTER`, one archive a call, since older versions read only the
  first (kubernetes-sigs/kind, pkg/cmd/kind/load/image-archive). It fails with an exit code.
- k3d: `k3d image import TAR… --cluster CLUSTER`. By default a node that refuses an archive gives a line in
  the log and exit code 0 (k3d-io/k3d, pkg/client/tools.go), so such a line counts as failure.
- minikube: `minikube image load TAR --profile PROFILE`. It exits 0 even where nothing was loaded
  (kubernetes/minikube, issues 21393 and 23471), so `minikube image ls` is asked afterwards.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from berth.operations.errors import ClusterReadError, ImageLoadError, ImageToolMissing
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import context_entry, read_access

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Tool = Literal["kind", "k3d", "minikube"]
_MINIKUBE = "minikube.sigs.k8s.io"
_K3D_FAILURES = ("failed to copy image tar", "failed to import images")
_LAST_LINES = 5
_TIMEOUT_SECONDS = 900


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A cluster whose own tool takes images.

    Attributes:
        tool: kind, k3d or minikube.
        name: the cluster's name, or minikube's profile, as that tool calls it.
    """

    tool: Tool
    name: str


def local_cluster(context: str, kubeconfig: str = "") -> LocalCluster | None:
    """Return which tool takes images for a kubeconfig's context; None where none is known.

    Args:
        context: its name: kind and k3d put theirs in front; minikube names it after the profile.
        kubeconfig: path or contents; minikube says in it which contexts are its own.
    """
    for tool, prefix in (("kind", "kind-"), ("k3d", "k3d-")):
        if context.startswith(prefix) and len(context) > len(prefix):
            return LocalCluster("kind" if tool == "kind" else "k3d", context.removeprefix(prefix))
    if context == "minikube" or (kubeconfig and _is_minikube(context_entry(kubeconfig, context))):
        return LocalCluster("minikube", context)
    return None


def _is_minikube(entry: Mapping[str, Any]) -> bool:
    extensions = entry.get("extensions") or []
    return any((one.get("extension") or {}).get("provider") == _MINIKUBE for one in extensions)


def images_present(kubeconfig: str, context: str) -> frozenset[str]:
    """Return the names of images that every node of a cluster says it has; none where it cannot be asked.

    A kubelet names at most 50 of its images, so one that is missing here may be there.
    """
    try:
        return asyncio.run(_images_present(kubeconfig, context))
    except ClusterReadError:
        return frozenset()


async def _images_present(kubeconfig: str, context: str) -> frozenset[str]:
    async with KubeReader(await read_access(kubeconfig, context)) as reader:
        nodes = (await reader.get("/api/v1/nodes")).get("items") or []
    named = [
        frozenset(
            str(name) for image in node["status"].get("images") or [] for name in image.get("names") or []
        )
        for node in nodes
    ]
    return frozenset.intersection(*named) if named else frozenset()


def load_archives(
    cluster: LocalCluster, archives: Mapping[str, Path], progress: Callable[[str], None] | None = None
) -> None:
    """Put images into every node of a cluster.

    Args:
        cluster: where to.
        archives: by reference, the tar that holds the image under that name.
        progress: told each step in a few words.

    Raises:
        ImageToolMissing: the cluster's tool is not installed.
        ImageLoadError: it failed, or the image is not there afterwards.
    """
    program = shutil.which(cluster.tool)
    if program is None:
        raise ImageToolMissing(
            f"images go into the cluster '{cluster.name}' by {cluster.tool}, and there is no {cluster.tool} "
            "on PATH: install it, or name a registry in berth:images: {registry: HOST/PATH}"
        )
    say = progress or (lambda _: None)
    if cluster.tool == "k3d":
        say(f"importing {len(archives)} images into the k3d cluster {cluster.name}")
        tars = [str(tar) for tar in archives.values()]
        _run(cluster, [program, "image", "import", *tars, "--cluster", cluster.name])
        return
    for reference, tar in archives.items():
        say(f"loading {reference} into the {cluster.tool} cluster {cluster.name}")
        if cluster.tool == "kind":
            _run(cluster, [program, "load", "image-archive", str(tar), "--name", cluster.name])
        else:
            _run(cluster, [program, "image", "load", str(tar), "--profile", cluster.name])
    if cluster.tool == "minikube":
        there = _run(cluster, [program, "image", "ls", "--profile", cluster.name]).split()
        # Docker below minikube may write a registry in front of the name.
        missing = [one for one in archives if not any(name.endswith(one) for name in there)]
        if missing:
            raise ImageLoadError(
                f"minikube loaded nothing under {', '.join(missing)}, though it reported no error; see why: "
                f"minikube image load {archives[missing[0]]} --profile {cluster.name} --alsologtostderr"
            )


def _run(cluster: LocalCluster, command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise ImageLoadError(f"{command[0]} cannot be started: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ImageLoadError(
            f"{' '.join(command[:3])} did not end within {_TIMEOUT_SECONDS} s; is '{cluster.name}' running?"
        ) from error
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    failed = [line for line in said if cluster.tool == "k3d" and any(part in line for part in _K3D_FAILURES)]
    if done.returncode or failed:
        last = "; ".join((failed or said)[-_LAST_LINES:]) or "it said nothing"
        raise ImageLoadError(
            f"{cluster.tool} did not load the images into '{cluster.name}' (exit code {done.returncode}): "
            f"{last}"
        )
    return done.stdout
