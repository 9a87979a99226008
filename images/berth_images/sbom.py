"""What is in an image, as a CycloneDX 1.6 document: Debian packages, Python packages, weights, and ours.

Equal images give equal bytes: there is no time in it, and its serial number is made from its content.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from berth_images.oci import dump

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth_catalogue.images import ImageCatalogue, ImageSpec

    from berth_images.debian import DebianPackage
    from berth_images.wheels import PythonPackage

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "berth.dev")
_VERSION = "0.1.0"


def document(
    catalogue: ImageCatalogue,
    spec: ImageSpec,
    *,
    reference: str,
    digest: str,
    debian: Sequence[DebianPackage],
    python: Sequence[PythonPackage],
) -> bytes:
    """The document of one image.

    Args:
        catalogue: which distribution the base is.
        spec: the image.
        reference: its local name.
        digest: of its configuration, ``sha256:…``.
        debian: packages of the base, each with the SHA-256 of its file.
        python: other people's distributions.
    """
    base = catalogue.base
    root = {
        "type": "container",
        "bom-ref": "image",
        "name": f"berth/{spec.role}",
        "version": reference.rsplit(":", 1)[1],
        "description": spec.description,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "hashes": [_sha256(digest.removeprefix("sha256:"))],
    }
    components = [_debian(one, f"{base.distribution}-{base.release}") for one in debian]
    components += [_python(one) for one in python]
    components += [_ours(package.rsplit("/", 1)[-1]) for package in spec.packages]
    if spec.weights is not None:
        name = spec.weights.path.rsplit("/", 1)[1]
        components.append(
            {
                "type": "machine-learning-model",
                "bom-ref": f"weights:{name}",
                "name": name,
                "hashes": [_sha256(spec.weights.sha256)],
                "properties": [{"name": "berth:path", "value": spec.weights.path}],
            }
        )
    body: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": root,
            "tools": {"components": [{"type": "application", "name": "berth images", "version": _VERSION}]},
        },
        "components": components,
        "dependencies": [{"ref": "image", "dependsOn": sorted(str(one["bom-ref"]) for one in components)}],
    }
    return dump({**body, "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, dump(body).decode())}"})


def _debian(package: DebianPackage, distribution: str) -> dict[str, Any]:
    name, version = quote(package.name, safe=""), quote(package.version, safe="")
    purl = f"pkg:deb/debian/{name}@{version}?arch={package.architecture}&distro={distribution}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "hashes": [_sha256(package.sha256)],
    }


def _python(package: PythonPackage) -> dict[str, Any]:
    name = re.sub(r"[-_.]+", "-", package.name).lower()
    purl = f"pkg:pypi/{name}@{quote(package.version, safe='')}"
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
    }
    if package.licence:
        made["licenses"] = [{"expression": package.licence}]
    return made


def _ours(package: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": f"berth:{package}",
        "name": package,
        "version": _VERSION,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def _sha256(value: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": value}
