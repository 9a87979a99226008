"""What the fetcher of many files is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from berth_serving.environment import Reader
from berth_serving.hub import HUB, HubError, checked_address
from berth_serving.object_store import SCHEMES, checked_url
from berth_serving.oci_artifact import checked_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HUB_SOURCE, VOLUME_SOURCE, OCI_SOURCE = "hub", "volume", "oci"
SOURCES = (HUB_SOURCE, *SCHEMES, OCI_SOURCE, VOLUME_SOURCE)
MANIFEST_BESIDE = "berth-manifest.json"
"""A manifest's name where it lies beside the files; it is worth what its digest is compared with."""
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class TreeError(Exception):
    """The weights are not there and will not come by waiting; the message names file, value and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings:
    """What to bring, and where to.

    Attributes:
        source: BERTH_WEIGHTS_SOURCE, one of `SOURCES`.
        root: BERTH_WEIGHTS_DIR, the volume.
        folder: BERTH_WEIGHTS_FOLDER, where in it the files lie.
        manifest: BERTH_WEIGHTS_MANIFEST, a file of JSON; None where it lies beside the files.
        manifest_sha256: BERTH_WEIGHTS_MANIFEST_SHA256, of its bytes; "" where whoever wrote it is trusted.
        hub: BERTH_WEIGHTS_HUB.
        url: BERTH_WEIGHTS_URL, of the bucket's folder or the artifact, where the source is one.
        endpoint: BERTH_WEIGHTS_ENDPOINT, a server other than the cloud's that speaks its store's API.
        anonymous: BERTH_WEIGHTS_ANONYMOUS, ask a store without credentials.
        docker_config: BERTH_WEIGHTS_DOCKER_CONFIG, credentials of registries.
        token_file: BERTH_WEIGHTS_TOKEN_FILE; its content is in no message.
        seconds: BERTH_WEIGHTS_SECONDS, how long bringing them may take.
    """

    source: str
    root: Path
    folder: str
    manifest: Path | None
    manifest_sha256: str = ""
    hub: str = HUB
    url: str = ""
    endpoint: str = ""
    anonymous: bool = False
    docker_config: Path | None = None
    token_file: Path | None = None
    seconds: float = 3600.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> TreeSettings:
        """Read and check the variables.

        Raises:
            SettingsError: naming each wrong one.
        """
        read = Reader(environ)
        folder = read.text("BERTH_WEIGHTS_FOLDER", "")
        if not _FOLDER.fullmatch(folder):
            read.fault(f"BERTH_WEIGHTS_FOLDER={folder!r}: must be a relative path of plain names")
        source = read.choice("BERTH_WEIGHTS_SOURCE", HUB_SOURCE, SOURCES)
        manifest = read.path("BERTH_WEIGHTS_MANIFEST")
        sha256 = read.text("BERTH_WEIGHTS_MANIFEST_SHA256", "").lower()
        if sha256 and not _SHA256.fullmatch(sha256):
            read.fault(f"BERTH_WEIGHTS_MANIFEST_SHA256={sha256!r}: must be 64 hexadecimal digits")
        if manifest is None and (not sha256 or source not in {*SCHEMES, VOLUME_SOURCE}):
            read.fault(
                "BERTH_WEIGHTS_MANIFEST is missing: the file that lists paths, sizes and digests; it may lie "
                f"beside the files of a volume or a bucket, as {MANIFEST_BESIDE}, where "
                "BERTH_WEIGHTS_MANIFEST_SHA256 says its digest"
            )
        hub = read.text("BERTH_WEIGHTS_HUB", HUB)
        try:
            hub = checked_address(hub)
        except HubError as error:
            read.fault(f"BERTH_WEIGHTS_HUB: {error}")
        url, endpoint = read.text("BERTH_WEIGHTS_URL", ""), read.text("BERTH_WEIGHTS_ENDPOINT", "")
        for name, value, check in (
            ("BERTH_WEIGHTS_URL", url if source in {*SCHEMES, OCI_SOURCE} else None, _url_check(source)),
            ("BERTH_WEIGHTS_ENDPOINT", endpoint or None, checked_address),
        ):
            try:
                if value is not None:
                    check(value)
            except HubError as error:
                read.fault(f"{name}: {error}")
        settings = cls(
            source=source,
            root=Path(read.text("BERTH_WEIGHTS_DIR", "/models")),
            folder=folder,
            manifest=manifest,
            manifest_sha256=sha256,
            hub=hub,
            url=url,
            endpoint=endpoint,
            anonymous=read.flag("BERTH_WEIGHTS_ANONYMOUS", default=False),
            docker_config=read.path("BERTH_WEIGHTS_DOCKER_CONFIG"),
            token_file=read.path("BERTH_WEIGHTS_TOKEN_FILE"),
            seconds=read.seconds("BERTH_WEIGHTS_SECONDS", 3600, 1, 86400),
        )
        read.finish()
        return settings


def _url_check(source: str) -> Callable[[str], object]:
    return checked_reference if source == OCI_SOURCE else partial(checked_url, source)
