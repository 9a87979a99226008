"""An image as one tar that containerd, docker and podman load: an OCI layout, and docker's manifest."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from berth_images.layers import FILE_MODE, FOLDER_MODE, Entry, header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from berth_catalogue.images import ImageCatalogue, ImageSpec

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
# Images say when they were made; ours depend on what is in them only.
CREATED = "1970-01-01T00:00:00Z"
_TAG_LENGTH = 12


@dataclass(frozen=True)
class Blob:
    """A layer on disk. ``digest`` is the SHA-256 of the uncompressed tar, as hex; ``size`` in bytes."""

    digest: str
    size: int
    path: Path
    made_by: str


def dump(value: object) -> bytes:
    """JSON in one canonical form, since digests depend on its bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def descriptor(media_type: str, content: bytes) -> dict[str, object]:
    """What points at some content: type, digest, size."""
    return {
        "mediaType": media_type,
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "size": len(content),
    }


def image_config(
    catalogue: ImageCatalogue, spec: ImageSpec, layers: Sequence[Blob], packages: Mapping[str, Sequence[str]]
) -> bytes:
    """The image's configuration; its digest is the image's identity.

    ``packages`` maps a kind (``debian``, ``python``) to ``name=version`` strings, which become labels.
    """
    base = catalogue.base
    labels = {
        "org.opencontainers.image.title": spec.title,
        "org.opencontainers.image.description": spec.description,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "berth.dev/role": spec.role,
        "berth.dev/base": f"{base.distribution} {base.release} ({base.codename})",
        **{f"berth.dev/packages.{kind}": " ".join(names) for kind, names in packages.items() if names},
    }
    config: dict[str, object] = {
        "User": f"{catalogue.user.uid}:{catalogue.user.gid}",
        "Env": [f"{name}={value}" for name, value in sorted(spec.env.items())],
        "Entrypoint": list(spec.entrypoint),
        "WorkingDir": "/",
        "Labels": labels,
    }
    if spec.ports:
        config["ExposedPorts"] = {f"{port}/tcp": {} for port in spec.ports.values()}
    return dump(
        {
            "architecture": catalogue.base.architecture,
            "os": "linux",
            "created": CREATED,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
            "history": [{"created": CREATED, "created_by": layer.made_by} for layer in layers],
        }
    )


def reference_of(role: str, config: bytes) -> str:
    """The local name of an image: its tag is the start of its configuration's digest."""
    return f"berth.local/{role}:{hashlib.sha256(config).hexdigest()[:_TAG_LENGTH]}"


def referrer(media_type: str, content: bytes, title: str, subject: Mapping[str, object]) -> bytes:
    """The manifest of an artifact that says something about an image: here, what is in it."""
    return dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": media_type,
            "config": descriptor(EMPTY_TYPE, EMPTY),
            "layers": [
                {
                    **descriptor(media_type, content),
                    "annotations": {"org.opencontainers.image.title": title},
                }
            ],
            "subject": dict(subject),
        }
    )


def write_archive(
    target: IO[bytes],
    reference: str,
    config: bytes,
    layers: Sequence[Blob],
    attached: tuple[str, str, bytes] | None = None,
) -> None:
    """Write the loadable tar; equal arguments give equal bytes.

    ``attached`` is what refers to the image in the layout: media type, file name, content.
    """
    config_descriptor = descriptor(CONFIG_TYPE, config)
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config_descriptor,
            "layers": [
                {"mediaType": LAYER_TYPE, "digest": f"sha256:{layer.digest}", "size": layer.size}
                for layer in layers
            ],
        }
    )
    described = descriptor(MANIFEST_TYPE, manifest)
    tag = reference.rsplit(":", 1)[1]
    annotations = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag}
    manifests = [{**described, "annotations": annotations}]
    blobs = {str(described["digest"]): manifest, str(config_descriptor["digest"]): config}
    if attached is not None:
        media_type, title, content = attached
        referring = referrer(media_type, content, title, described)
        manifests.append({**descriptor(MANIFEST_TYPE, referring), "artifactType": media_type})
        blobs |= {str(descriptor("", body)["digest"]): body for body in (referring, EMPTY, content)}
    index = dump({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests})
    loaded_by_docker = dump(
        [
            {
                "Config": _blob_name(str(config_descriptor["digest"])),
                "RepoTags": [reference],
                "Layers": [f"blobs/sha256/{layer.digest}" for layer in layers],
            }
        ]
    )
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in ("blobs", "blobs/sha256"):
            archive.addfile(header(folder, Entry(FOLDER_MODE), 0))
        _put(archive, "oci-layout", dump({"imageLayoutVersion": "1.0.0"}))
        _put(archive, "index.json", index)
        _put(archive, "manifest.json", loaded_by_docker)
        for digest, body in blobs.items():
            _put(archive, _blob_name(digest), body)
        for layer in layers:
            with layer.path.open("rb") as stream:
                archive.addfile(
                    header(f"blobs/sha256/{layer.digest}", Entry(FILE_MODE, source=layer.path), layer.size),
                    stream,
                )


class Archive:
    """A written tar, read again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with tarfile.open(path) as archive:
            index = json.loads(_get(archive, "index.json"))
            manifest = json.loads(_get(archive, _blob_name(index["manifests"][0]["digest"])))
            self.config = _get(archive, _blob_name(manifest["config"]["digest"]))
        self.layer_digests: tuple[str, ...] = tuple(
            str(layer["digest"]).removeprefix("sha256:") for layer in manifest["layers"]
        )

    def attached(self, media_type: str) -> bytes | None:
        """What refers to the image in the layout, of one type."""
        with tarfile.open(self.path) as archive:
            for described in json.loads(_get(archive, "index.json"))["manifests"]:
                if described.get("artifactType") == media_type:
                    manifest = json.loads(_get(archive, _blob_name(described["digest"])))
                    return _get(archive, _blob_name(manifest["layers"][0]["digest"]))
        return None

    def layers(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Each layer's digest as hex with a stream of its tar, valid until the next one is asked for."""
        with tarfile.open(self.path) as archive:
            for digest in self.layer_digests:
                stream = archive.extractfile(f"blobs/sha256/{digest}")
                if stream is not None:
                    yield digest, stream


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(header(name, Entry(FILE_MODE, source=content), len(content)), io.BytesIO(content))


def _get(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    return stream.read() if stream is not None else b""
