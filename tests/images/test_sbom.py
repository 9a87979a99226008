"""Every image has a bill of materials that is valid, says what is inside, and travels with the image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth.cli.images import images
from berth_catalogue.images import load_images
from berth_images import BuiltImage, bill_of_materials, push, roles
from berth_images.oci import INDEX_TYPE, MANIFEST_TYPE
from berth_images.sbom import MEDIA_TYPE
from click.testing import CliRunner
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(params=roles())
def image(request: pytest.FixtureRequest, built: dict[str, BuiltImage]) -> BuiltImage:
    return built[request.param]


def bill(image: BuiltImage) -> dict[str, Any]:
    read = json.loads(bill_of_materials(image))
    assert isinstance(read, dict)
    return read


def test_it_is_valid_after_the_strict_schema(image: BuiltImage) -> None:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill_of_materials(image).decode())
    assert error is None, error


def test_it_names_what_is_inside_and_nothing_else(image: BuiltImage) -> None:
    components = bill(image)["components"]
    kinds = {"pkg:deb": "debian", "pkg:pypi": "python"}
    found = {
        f"{kinds[one['purl'].split('/')[0]]}:{one['name']}={one['version']}"
        for one in components
        if "purl" in one
    }
    assert found == set(image.packages)
    spec = load_images().images[image.role]
    others = {one["name"] for one in components if "purl" not in one}
    weights = {spec.weights.path.rsplit("/", 1)[1]} if spec.weights else set()
    assert others == {package.rsplit("/", 1)[1] for package in spec.packages} | weights
    for one in components:
        if one["type"] == "machine-learning-model":
            assert spec.weights is not None
            assert one["hashes"] == [{"alg": "SHA-256", "content": spec.weights.sha256}]
    assert all(one.get("hashes") for one in components if one.get("purl", "").startswith("pkg:deb"))


def test_it_has_no_time_and_no_machine_in_it(image: BuiltImage) -> None:
    read = bill(image)
    assert "timestamp" not in read["metadata"]
    assert read["serialNumber"].startswith("urn:uuid:")
    assert read["metadata"]["component"]["hashes"][0]["content"] == image.digest.removeprefix("sha256:")


def test_a_registry_gets_it_beside_the_image(
    built: dict[str, BuiltImage], start_registry: Callable[..., Any]
) -> None:
    host = start_registry().host
    image = built["weights-smollm2"]
    reference = push(image, f"{host}/team")
    assert push(image, f"{host}/team") == reference, "a second time, nothing changes"
    digest = reference.rsplit("@", 1)[1]
    base = f"http://{host}/v2/team/{image.role}"

    def get(path: str) -> bytes:
        kinds = (INDEX_TYPE, MANIFEST_TYPE)
        return httpx.get(f"{base}/{path}", headers={"Accept": ", ".join(kinds)}).raise_for_status().content

    (listed,) = json.loads(get(f"manifests/{digest.replace(':', '-')}"))["manifests"]
    assert listed["artifactType"] == MEDIA_TYPE
    manifest = json.loads(get(f"manifests/{listed['digest']}"))
    assert manifest["subject"]["digest"] == digest
    assert get(f"blobs/{manifest['layers'][0]['digest']}") == bill_of_materials(image)


def test_the_command_prints_it(built: dict[str, BuiltImage], tmp_path: Path) -> None:
    image = built["engine-llama-cpp"]
    printed = CliRunner().invoke(images, ["sbom", image.role])
    assert json.loads(printed.stdout) == bill(image)
    file = tmp_path / "sbom.json"
    CliRunner().invoke(images, ["sbom", image.role, "--output", str(file)])
    assert file.read_bytes() == bill_of_materials(image)
    failed = CliRunner().invoke(images, ["sbom", image.role, "--output", str(tmp_path / "no" / "x")])
    assert failed.exit_code == 1
    assert "No such file" in failed.output
