"""Pinning: which files of a hub's repository are served, and what their digests are."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from berth_serving.hub import HubError
from berth_serving.manifest import SUFFIXES, Manifest, ManifestFile, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth_serving.hub import Hub, HubFile

INDEX = "model.safetensors.index.json"
_WEIGHTS = (".safetensors", ".gguf")


def pin(hub: Hub, repo: str, revision: str, *, only: Sequence[str] = ()) -> Manifest:
    """The manifest of a revision as it is now.

    Large files' digests are the hub's own; of small ones it says none, so they are read, and compared with
    their git id.

    Args:
        hub: who is asked.
        repo: <owner>/<name>.
        revision: a branch, tag or commit.
        only: names of the weights to take; needed where a repository holds several (GGUF).

    Raises:
        HubError: the hub does not give it, or it holds no weights that can be served.
    """
    commit = hub.commit(repo, revision)
    chosen = _choose(hub, repo, commit, only)
    files = [ManifestFile(one.path, one.size, _sha256(hub, repo, commit, one)) for one in chosen]
    made = Manifest(repo, commit, sorted(files, key=lambda file: file.path))
    # What the fetcher would refuse is not pinned.
    parse_manifest(_encoded(made), f"{repo} at {commit}")
    return made


def _choose(hub: Hub, repo: str, commit: str, only: Sequence[str]) -> list[HubFile]:
    # Folders hold other formats of the same weights (original/, onnx/).
    listed = {one.path: one for one in hub.files(repo, commit) if "/" not in one.path}
    around = [
        one
        for name, one in listed.items()
        if PurePosixPath(name).suffix in SUFFIXES
        and PurePosixPath(name).suffix not in _WEIGHTS
        and not name.startswith(".")
        and not name.endswith(".bin.index.json")
    ]
    return around + [listed[name] for name in _weights(hub, repo, commit, listed, only)]


def _weights(hub: Hub, repo: str, commit: str, listed: dict[str, HubFile], only: Sequence[str]) -> list[str]:
    there = sorted(name for name in listed if name.endswith(_WEIGHTS))
    if only:
        if unknown := sorted(set(only) - set(there)):
            raise HubError(f"{repo}: no weights named {', '.join(unknown)}; there are: {', '.join(there)}")
        return sorted(set(only))
    if INDEX in listed:
        # Beside them often lies the same in one piece (consolidated.safetensors).
        return _named_by_index(hub.small_file(repo, commit, INDEX), repo, there)
    if "model.safetensors" in there:
        return ["model.safetensors"]
    tensors = [name for name in there if name.endswith(".safetensors")]
    if len(tensors) == 1 or (not tensors and len(there) == 1):
        return tensors or there
    if not there:
        others = sorted(name for name in listed if name.endswith((".bin", ".pt", ".pth", ".h5", ".ckpt")))
        raise HubError(
            f"{repo}: no .safetensors and no .gguf file; {', '.join(others) or 'no weights at all'}: "
            "pickles are not served, since they run code when they are loaded"
        )
    raise HubError(f"{repo}: several weights, name those to serve: {', '.join(there)}")


def _named_by_index(body: bytes, repo: str, there: Sequence[str]) -> list[str]:
    try:
        index = json.loads(body)
        named = sorted({str(name) for name in index["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise HubError(f"{repo}: {INDEX} has no weight_map") from None
    if missing := sorted(set(named) - set(there)):
        raise HubError(f"{repo}: {INDEX} names {', '.join(missing)}, which is not there")
    return named


def _sha256(hub: Hub, repo: str, commit: str, file: HubFile) -> str:
    if file.sha256 is not None:
        return file.sha256
    body = hub.small_file(repo, commit, file.path)
    blob = hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
    if blob != file.blob or len(body) != file.size:
        raise HubError(
            f"{repo}/{file.path} at {commit}: its git id is {blob}, the hub lists {file.blob}; try again"
        )
    return hashlib.sha256(body).hexdigest()


def _encoded(manifest: Manifest) -> bytes:
    files = [{"path": one.path, "size": one.size, "sha256": one.sha256} for one in manifest.files]
    return json.dumps({"repo": manifest.repo, "revision": manifest.revision, "files": files}).encode()
