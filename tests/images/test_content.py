"""What is inside: walked entry by entry in the tar that a node loads."""

from __future__ import annotations

import hashlib
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from berth_catalogue.images import ImageCatalogue, ImageCatalogueError, load_images
from berth_images import BuiltImage, roles
from berth_images.oci import Archive
from berth_images.rules import FORBIDDEN_PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

UNCHECKED_HASH = 0b01  # PEP 552: the second word of a .pyc


def members(image: BuiltImage) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    for _, stream in Archive(image.tar).layers():
        with tarfile.open(fileobj=stream) as layer:
            for member in layer:
                yield layer, member


@pytest.fixture(scope="module")
def catalogue() -> ImageCatalogue:
    return load_images()


@pytest.mark.parametrize("role", roles())
def test_nothing_dangerous_and_nothing_of_this_machine(built: Mapping[str, BuiltImage], role: str) -> None:
    seen = 0
    for _, member in members(built[role]):
        seen += 1
        name = member.name
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0), name
        assert member.isfile() or member.isdir() or member.issym(), f"{name}: devices and pipes have no place"
        assert not name.startswith("/"), name
        assert ".." not in name.split("/"), name
        if not member.issym():
            assert not member.mode & 0o6000, f"{name} is setuid or setgid"
            assert not member.mode & 0o002 or name == "tmp", f"{name} is writable by everybody"
        assert name.rsplit("/", 1)[-1] not in FORBIDDEN_PROGRAMS or "/bin/" not in name, name
    assert seen > 1000


@pytest.mark.parametrize("role", roles())
def test_a_file_appears_once_and_links_lead_somewhere(
    unpack: Callable[[str], Path], built: Mapping[str, BuiltImage], role: str
) -> None:
    files = [member.name for _, member in members(built[role]) if not member.isdir()]
    assert len(files) == len(set(files)), "a later layer hides a file of an earlier one"
    root = unpack(role)
    for _, member in members(built[role]):
        if member.issym() and not member.name.startswith("usr/share/zoneinfo"):
            target = member.linkname
            place = (
                root / target.lstrip("/") if target.startswith("/") else (root / member.name).parent / target
            )
            assert place.exists(), f"{member.name} → {target}"


@pytest.mark.parametrize("role", roles())
def test_the_configuration_is_the_catalogues(
    built: Mapping[str, BuiltImage], catalogue: ImageCatalogue, role: str
) -> None:
    archive = Archive(built[role].tar)
    assert f"sha256:{hashlib.sha256(archive.config).hexdigest()}" == built[role].digest
    document = json.loads(archive.config)
    config, spec = document["config"], catalogue.images[role]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == list(spec.entrypoint)
    assert "Cmd" not in config
    assert dict(line.split("=", 1) for line in config["Env"]) == dict(spec.env)
    assert set(config.get("ExposedPorts", {})) == {f"{port}/tcp" for port in spec.ports.values()}
    assert document["created"] == "1970-01-01T00:00:00Z"
    assert len(document["rootfs"]["diff_ids"]) == len(document["history"])
    recorded = config["Labels"]["berth.dev/packages.debian"].split()
    assert [f"debian:{name}" for name in recorded] == [
        name for name in built[role].packages if name.startswith("debian:")
    ]


def test_versions_are_recorded_where_scanners_look(unpack: Callable[[str], Path]) -> None:
    root = unpack("model-server")
    listed = [line.split()[0] for line in (root / "usr/share/berth/packages.txt").read_text().splitlines()]
    status = sorted((root / "var/lib/dpkg/status.d").iterdir())
    assert [line.split("=")[0] for line in listed] == [file.name for file in status]
    for line, file in zip(listed, status, strict=True):
        name, version = line.split("=", 1)
        text = file.read_text()
        assert f"Package: {name}\nStatus: install ok installed\n" in text
        assert f"\nVersion: {version}\n" in text
        copyright_file = root / "usr/share/doc" / name / "copyright"
        assert copyright_file.exists() or copyright_file.parent.is_symlink(), (
            f"{name}: its licence travels along"
        )
    assert "VERSION_CODENAME=trixie" in (root / "etc/os-release").read_text()
    assert list((root / "opt/berth").glob("uvicorn-*.dist-info/METADATA"))


@pytest.mark.parametrize("role", roles())
def test_every_source_has_byte_code_that_carries_no_time(unpack: Callable[[str], Path], role: str) -> None:
    root = unpack(role)
    compiled = 0
    for source in (path for path in root.rglob("*.py") if not path.is_symlink()):
        byte_code = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        assert byte_code.is_file(), source
        assert int.from_bytes(byte_code.read_bytes()[4:8], "little") == UNCHECKED_HASH, source
        compiled += 1
    assert compiled > 300


def test_the_weights_are_the_ones_named(unpack: Callable[[str], Path], catalogue: ImageCatalogue) -> None:
    spec = catalogue.images["weights-smollm2"]
    assert spec.weights is not None
    assert spec.env["BERTH_PACKAGED_WEIGHTS"] == spec.weights.path
    content = (unpack("weights-smollm2") / spec.weights.path.lstrip("/")).read_bytes()
    assert hashlib.sha256(content).hexdigest() == spec.weights.sha256
    assert content.startswith(b"GGUF")


@pytest.mark.parametrize("role", [role for role, spec in load_images().images.items() if spec.packages])
def test_the_site_folder_holds_packages_and_nothing_else(unpack: Callable[[str], Path], role: str) -> None:
    for entry in (unpack(role) / "opt/berth").iterdir():
        assert entry.is_dir() or entry.suffix in {".py", ".so", ".pth"}, entry.name
        assert not entry.name.startswith("."), entry.name
        assert entry.name != "bin", "scripts name the interpreter of the machine that built"


def test_images_share_their_base(built: Mapping[str, BuiltImage]) -> None:
    assert len({Archive(image.tar).layer_digests[0] for image in built.values()}) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("uid: 65532", "uid: root", r"user\.uid: 'root' is not a positive whole number"),
        ("metrics: 9000", "metrics: 90000", r"images\.model-server\.ports: .* ports from 1 to 65535"),
        ('release: "13"', "release: 13", r"base\.release: 13 is not a non-empty string"),
        ("site: /opt/berth", "site: opt/berth", r"site: 'opt/berth' is not an absolute path"),
        (
            "    env: {}\n    ports: {https",
            "    envs: {}\n    ports: {https",
            r"metrics-adapter\.env is missing",
        ),
        ("user:\n", "users: {}\nuser:\n", "unknown keys: users"),
    ],
)
def test_a_wrong_catalogue_is_refused_by_key_and_value(
    tmp_path: Path, root: Path, old: str, new: str, said: str
) -> None:
    text = (root / "catalogue/berth_catalogue/images.yaml").read_text()
    assert old in text
    file = tmp_path / "images.yaml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(ImageCatalogueError, match=said):
        load_images(file)
