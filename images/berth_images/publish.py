"""Images on their way to a registry, and the digests that come back."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from berth_images import credentials as found_credentials
from berth_images import references, sbom
from berth_images.builder import SBOM_NAME
from berth_images.errors import NotFoundError
from berth_images.oci import (
    CONFIG_TYPE,
    EMPTY,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Archive,
    descriptor,
    dump,
    referrer,
)
from berth_images.registry import RegistryClient
from berth_images.store import Store, file_sha256, move_into_place

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from berth_images.builder import BuiltImage
    from berth_images.credentials import Credentials

LAYER_GZIP_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_LEVEL = 6


@dataclass(frozen=True)
class Pinned:
    """A name and what it stood for when the registry was asked.

    ``reference`` is what to deploy (``registry/repository@sha256:…``); ``asked`` is the name with its tag.
    """

    asked: str
    reference: str
    digest: str
    media_type: str


def published_name(image: BuiltImage, registry: str) -> references.Reference:
    """What an image is called in a registry: ``<registry>/<role>:<tag>``.

    Raises:
        ImagesError: ``registry`` is not ``host[:port][/path]``.
    """
    return references.below(registry, image.role, image.reference.rsplit(":", 1)[1])


def push(
    image: BuiltImage,
    registry: str,
    *,
    credentials: Credentials | None = None,
    insecure: bool = False,
    verify: ssl.SSLContext | None = None,
    progress: Callable[[str], None] | None = None,
    store: Store | None = None,
) -> str:
    """Push an image as ``<registry>/<role>:<tag>``; layers that are there already are not sent.

    Args:
        image: from ``build``.
        registry: where to, ``host[:port][/path]``; ``images.registry`` of a stack.
        credentials: what ``docker login`` left, where None.
        insecure: speak HTTP to a registry that is not on this machine.
        verify: a TLS context; the system's certificates where None.
        progress: told each step in a few words.
        store: another cache than the user's, for compressed layers.

    Returns:
        The reference with the digest, ``<registry>/<role>@sha256:…``.

    Raises:
        RegistryError: refused, missing or unreachable; names registry, repository and remedy.
    """
    say = progress or _silent
    target = published_name(image, registry)
    known = credentials or found_credentials.find(target.registry, target.repository)
    archive = Archive(image.tar)
    cache = store or Store.default()
    layers = []
    with RegistryClient(target, credentials=known, insecure=insecure, verify=verify) as client:
        for number, digest in enumerate(archive.layer_digests, start=1):
            say(f"{target.repository}: preparing layer {number}")
            path, compressed, size = _compressed(cache, archive, digest)
            layers.append({"mediaType": LAYER_GZIP_TYPE, "digest": compressed, "size": size})
            if client.has_blob(compressed):
                say(f"{target.repository}: layer {number} is there")
                continue
            of = f"{number} of {len(archive.layer_digests)} ({size / 1e6:.0f} MB)"
            say(f"{target.repository}: uploading layer {of}")
            client.upload_blob(compressed, size, path)
        config = descriptor(CONFIG_TYPE, archive.config)
        if not client.has_blob(str(config["digest"])):
            client.upload_blob(str(config["digest"]), len(archive.config), archive.config)
        manifest = dump({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers})
        stored = client.put_manifest(target.tag, MANIFEST_TYPE, manifest)
        _push_sbom(client, archive, descriptor(MANIFEST_TYPE, manifest), say)
    say(f"{target} is {stored}")
    return f"{target.registry}/{target.repository}@{stored}"


def _push_sbom(
    client: RegistryClient, archive: Archive, subject: Mapping[str, object], say: Callable[[str], None]
) -> None:
    """Attach the SBOM to what was pushed: a referrer of OCI 1.1, and the tag that stands for it elsewhere."""
    bill = archive.attached(sbom.MEDIA_TYPE)
    if bill is None:
        return
    say("attaching the SBOM")
    for content in (EMPTY, bill):
        digest = str(descriptor("", content)["digest"])
        if not client.has_blob(digest):
            client.upload_blob(digest, len(content), content)
    referring = referrer(sbom.MEDIA_TYPE, bill, SBOM_NAME, subject)
    described = {**descriptor(MANIFEST_TYPE, referring), "artifactType": sbom.MEDIA_TYPE}
    client.put_manifest(str(described["digest"]), MANIFEST_TYPE, referring)
    if client.lists_referrers:
        return
    # Registries before 1.1 have no list of referrers; clients look under this tag. What is there already may
    # name others' as well, and the same image has the same SBOM.
    tag = str(subject["digest"]).replace(":", "-")
    try:
        client.manifest_digest(tag)
    except NotFoundError:
        index = dump({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [described]})
        client.put_manifest(tag, INDEX_TYPE, index)


def pin(
    reference: str,
    *,
    credentials: Credentials | None = None,
    insecure: bool = False,
    verify: ssl.SSLContext | None = None,
) -> Pinned:
    """Ask a registry which digest a name stands for now. Nothing is written anywhere.

    Raises:
        ImagesError: it is no image reference.
        RegistryError: refused, missing or unreachable; names registry, repository and remedy.
    """
    asked = references.parse(reference)
    known = credentials or found_credentials.find(asked.registry, asked.repository)
    with RegistryClient(asked, credentials=known, insecure=insecure, verify=verify) as client:
        digest, media_type = client.manifest_digest(asked.digest or asked.tag)
    return Pinned(str(asked), f"{asked.registry}/{asked.repository}@{digest}", digest, media_type)


def stack_settings(pins: Mapping[str, Pinned]) -> str:
    """The YAML that a stack file needs for pinned images, role → pin, to paste below ``config:``."""
    lines = ["berth:images:", "  refs:"]
    for role, pinned in pins.items():
        lines += [f"    # {pinned.asked}", f"    {role}: {pinned.reference}"]
    return "".join(f"  {line}\n" for line in lines)


def _silent(_: str) -> None:
    pass


def _compressed(store: Store, archive: Archive, digest: str) -> tuple[Path, str, int]:
    """A layer as a registry gets it: (file, ``sha256:…``, bytes). Made once per layer."""
    record = store.read_record("compressed", digest)
    path = store.folder("compressed") / f"{digest}.tar.gz"
    if record is not None and path.is_file() and path.stat().st_size == record["size"]:
        return path, str(record["digest"]), int(record["size"])
    with store.lock(), store.work() as scratch:
        written = scratch / path.name
        for found, stream in archive.layers():
            if found != digest:
                continue
            # No name and no time in the header: the same layer compresses to the same bytes.
            with written.open("wb") as raw, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:
                shutil.copyfileobj(stream, packed, 1 << 20)
        made, size = f"sha256:{file_sha256(written)}", written.stat().st_size
        move_into_place(written, path)
        store.write_record("compressed", digest, {"digest": made, "size": size})
    return path, made, size
