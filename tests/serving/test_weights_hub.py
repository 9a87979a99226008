"""Weights from a hub, which is a stand-in on loopback: `stand_in_hub.py`."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
import urllib.request
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth_catalogue import weights_pins
from berth_serving import manifest as manifests
from berth_serving import weights_tree
from berth_serving.hub import Hub, HubError, Redirects
from berth_serving.pinning import INDEX, pin
from berth_serving.weights_settings import TreeError, TreeSettings
from berth_serving.weights_tree import MARKER, bring

from tests.serving.stand_in_hub import (
    COMMIT,
    FILES,
    ONE,
    REPO,
    SERVED,
    TOKEN,
    Server,
    StandInHub,
    handler,
    sha256,
    tensors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    made = StandInHub()
    servers = [Server(("127.0.0.1", 0), handler(made, host)) for host in ("hub", "storage")]
    made.port, made.storage_port = (server.server_address[1] for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in servers]
    for thread in threads:
        thread.start()
    yield made
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


def asker(hub: StandInHub, token: str = "") -> Hub:
    return Hub(hub.url, token=token, deadline=time.monotonic() + 5)


def visible(settings: TreeSettings) -> list[str]:
    target = settings.root / settings.folder
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def test_the_real_client_reads_the_stand_in_as_a_hub(hub: StandInHub, tmp_path: Path) -> None:
    program = f"""
import sys
from huggingface_hub import HfApi, hf_hub_download
api = HfApi(endpoint={hub.url!r}, token=False)
files = {{f.path: f for f in api.list_repo_tree({REPO!r}, recursive=True, revision={COMMIT!r}) if hasattr(f, "blob_id")}}
assert files["model-00001-of-00002.safetensors"].lfs.sha256 == {sha256(ONE)!r}
assert files["config.json"].lfs is None
assert api.model_info({REPO!r}, revision="main").sha == {COMMIT!r}
for name in ("config.json", "model-00001-of-00002.safetensors"):
    print(hf_hub_download({REPO!r}, name, revision={COMMIT!r}, endpoint={hub.url!r}, token=False))
"""  # noqa: E501 - a program
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert [Path(path).read_bytes() for path in found] == [FILES["config.json"], ONE]


def test_a_pin_names_the_commit_and_what_is_served_of_it(hub: StandInHub) -> None:
    made = pin(asker(hub), REPO, "main")
    assert (made.repo, made.revision) == (REPO, COMMIT)
    assert [one.path for one in made.files] == sorted(SERVED)
    assert {one.path: one.sha256 for one in made.files} == {name: sha256(FILES[name]) for name in SERVED}
    assert {one.path: one.size for one in made.files} == {name: len(FILES[name]) for name in SERVED}
    assert not hub.downloads(".safetensors"), "large files are not read, the hub says their digest"


@pytest.mark.parametrize(
    ("files", "only", "said"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, [], "pickles are not served"),
        ({"a.Q4.gguf": b"GGUF", "a.Q8.gguf": b"GGUF"}, [], "name those to serve: a.Q4.gguf, a.Q8.gguf"),
        ({"a.Q4.gguf": b"GGUF"}, ["b.gguf"], "no weights named b.gguf"),
        ({INDEX: b"{}", "model.safetensors": ONE}, [], "has no weight_map"),
        (
            {INDEX: b'{"weight_map": {"a": "x.safetensors"}}', "model.safetensors": ONE},
            [],
            "which is not there",
        ),
    ],
)
def test_what_cannot_be_pinned_is_said(
    hub: StandInHub, files: dict[str, bytes], only: list[str], said: str
) -> None:
    hub.files = files
    with pytest.raises(HubError) as caught:
        pin(asker(hub), REPO, "main", only=only)
    assert said in str(caught.value)


def test_unknown_repositories_revisions_and_gates_are_told_apart(hub: StandInHub) -> None:
    with pytest.raises(HubError, match="no such repository"):
        pin(asker(hub), "example/other", "main")
    with pytest.raises(HubError, match="no such revision"):
        pin(asker(hub), REPO, "v9")
    hub.gated = True
    with pytest.raises(HubError, match="give a token"):
        pin(asker(hub), REPO, "main")
    with pytest.raises(HubError, match="accept the model's licence") as caught:
        pin(asker(hub, token="hf_wrongWRONG"), REPO, "main")
    assert "hf_wrong" not in str(caught.value)
    assert pin(asker(hub, token=TOKEN), REPO, "main").revision == COMMIT


def test_all_files_come_whole_and_a_second_start_reads_and_asks_nothing(
    hub: StandInHub, tmp_path: Path
) -> None:
    settings = hub.settings(tmp_path)
    target = bring(settings)
    assert {name: (target / name).read_bytes() for name in SERVED} == {n: FILES[n] for n in SERVED}
    assert visible(settings) == sorted([*SERVED, MARKER])
    asked = len(hub.log)
    before = {name: (target / name).stat().st_ino for name in SERVED}
    bring(settings)
    assert len(hub.log) == asked
    assert {name: (target / name).stat().st_ino for name in SERVED} == before


def test_a_file_that_changed_or_went_comes_again_alone(hub: StandInHub, tmp_path: Path) -> None:
    settings = hub.settings(tmp_path)
    target = bring(settings)
    hub.log.clear()
    (target / SERVED[1]).write_bytes(ONE[:-1] + b"x")
    (target / "config.json").unlink()
    bring(settings)
    assert (target / SERVED[1]).read_bytes() == ONE
    asked = sorted({path.partition("?")[0].rpartition("/")[2] for _, path, _, _ in hub.log})
    assert asked == ["config.json", SERVED[1]]


def test_what_nobody_named_is_taken_away(hub: StandInHub, tmp_path: Path) -> None:
    settings = hub.settings(tmp_path)
    target = bring(settings)
    (target / "modeling_tiny.py").write_text("import os")
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("precious")
    (target / "extra").symlink_to(outside)
    (target / SERVED[1]).unlink()
    bring(settings)
    assert visible(settings) == sorted([*SERVED, MARKER])
    assert (outside / "file").read_text() == "precious"


def test_a_cut_connection_is_gone_on_with_by_range(hub: StandInHub, tmp_path: Path) -> None:
    hub.cuts = [100_000]
    settings = hub.settings(tmp_path, {"model.safetensors": ONE})
    hub.files["model.safetensors"] = ONE
    target = bring(settings)
    assert (target / "model.safetensors").read_bytes() == ONE
    assert hub.downloads("?Signature=signed-canary") == [None, "bytes=100000-"]


def test_a_storage_without_ranges_begins_anew_and_the_bytes_are_right(
    hub: StandInHub, tmp_path: Path
) -> None:
    hub.cuts, hub.ranges = [100_000], False
    hub.files["model.safetensors"] = ONE
    target = bring(hub.settings(tmp_path, {"model.safetensors": ONE}))
    assert (target / "model.safetensors").read_bytes() == ONE


def test_a_killed_fetcher_is_gone_on_with(hub: StandInHub, tmp_path: Path) -> None:
    hub.hold = threading.Event()
    hub.files["model.safetensors"] = ONE
    settings = hub.settings(tmp_path, {"model.safetensors": ONE})
    process = subprocess.Popen(command(), env=variables(settings), stderr=subprocess.PIPE)
    part = settings.root / settings.folder / ".berth-parts" / sha256(ONE)
    for _ in range(1000):
        if part.exists() and part.stat().st_size >= 50_000:
            break
        time.sleep(0.01)
    process.kill()
    process.communicate()
    held, hub.hold = hub.hold, None
    held.set()
    kept = part.stat().st_size
    assert kept >= 50_000
    hub.log.clear()
    assert (bring(settings) / "model.safetensors").read_bytes() == ONE
    assert hub.downloads("?Signature=signed-canary") == [f"bytes={kept}-"]


def test_bytes_that_a_crash_left_wrong_are_brought_again(hub: StandInHub, tmp_path: Path) -> None:
    hub.files["model.safetensors"] = ONE
    settings = hub.settings(tmp_path, {"model.safetensors": ONE})
    parts = settings.root / settings.folder / ".berth-parts"
    parts.mkdir(parents=True)
    (parts / sha256(ONE)).write_bytes(bytes(1000))
    assert (bring(settings) / "model.safetensors").read_bytes() == ONE


def test_statuses_that_pass_are_waited_for(hub: StandInHub, tmp_path: Path) -> None:
    hub.statuses = [503, 429]
    settings = hub.settings(tmp_path, {"config.json": FILES["config.json"], SERVED[1]: ONE})
    assert (bring(settings) / SERVED[1]).read_bytes() == ONE


def test_a_hub_that_never_recovers_ends_at_the_deadline(hub: StandInHub, tmp_path: Path) -> None:
    hub.statuses = [503] * 100
    with pytest.raises(TreeError, match=r"tried until the time was over; last: .* status 503"):
        bring(hub.settings(tmp_path, seconds=1.2))


POISON: dict[str, tuple[str, bytes, bytes, str]] = {
    "wrong digest": ("model.safetensors", ONE, tensors(9), "damaged or another file"),
    "truncated": ("model.safetensors", ONE, ONE[:1000], "1000 bytes"),
    "longer than said, as a bomb is": ("model.safetensors", ONE, ONE + bytes(3_000_000), "more than"),
    "a pickle called safetensors": (
        "model.safetensors",
        b"\x80\x04pickle" * 9,
        b"\x80\x04pickle" * 9,
        "no safet",
    ),
    "a zip called gguf": ("model.gguf", b"PK\x03\x04" * 9, b"PK\x03\x04" * 9, "no GGUF file"),
    "an empty file called gguf": ("model.gguf", b"", b"", "no GGUF file"),
}


@pytest.mark.parametrize("case", POISON)
def test_poisoned_weights_are_never_visible(hub: StandInHub, tmp_path: Path, case: str) -> None:
    name, promised, served, said = POISON[case]
    hub.files[name] = served
    settings = hub.settings(tmp_path, {name: promised, "config.json": FILES["config.json"]})
    with pytest.raises(TreeError) as caught:
        bring(settings)
    assert said in str(caught.value)
    assert name not in visible(settings)
    assert MARKER not in visible(settings)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"path": "../escape.json"}, "relative path"),
        ({"path": "/etc/escape.json"}, "relative path"),
        ({"path": "a/../../escape.json"}, "relative path"),
        ({"path": ".hidden.json"}, "relative path"),
        ({"path": "modeling.py"}, "no pickle, no code"),
        ({"path": "pytorch_model.bin"}, "no pickle, no code"),
        ({"path": "archive.zip"}, "no pickle, no code"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"size": -1}, "negative"),
        ({"more": 1}, "and no other"),
    ],
)
def test_manifests_that_could_escape_or_run_are_refused_before_anything_is_asked(
    hub: StandInHub, tmp_path: Path, entry: dict[str, Any], said: str
) -> None:
    settings = hub.settings(tmp_path)
    good = {"path": "config.json", "size": 1, "sha256": "a" * 64}
    body = {"repo": REPO, "revision": COMMIT, "files": [{**good, **entry}]}
    settings.manifest.write_text(json.dumps(body))
    with pytest.raises(TreeError, match=said):
        bring(settings)
    assert hub.log == []


def test_a_branch_is_no_revision(hub: StandInHub, tmp_path: Path) -> None:
    settings = hub.settings(tmp_path)
    body = json.loads(settings.manifest.read_text())
    settings.manifest.write_text(json.dumps({**body, "revision": "main"}))
    with pytest.raises(TreeError, match="40 hexadecimal digits"):
        bring(settings)


def test_links_in_the_way_are_replaced_and_not_followed(hub: StandInHub, tmp_path: Path) -> None:
    settings = hub.settings(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settings.root.mkdir()
    (settings.root / "example--tiny").symlink_to(elsewhere)
    target = bring(settings)
    assert list(elsewhere.iterdir()) == []
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (target / "config.json").unlink()
    (target / "config.json").symlink_to(outside)
    bring(settings)
    assert outside.read_bytes() == b"precious"
    assert not (target / "config.json").is_symlink()


def test_space_is_looked_at_before_the_first_byte(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_tree, "_free_bytes", lambda _folder: 1000)
    with pytest.raises(TreeError, match="1000 bytes are free"):
        bring(hub.settings(tmp_path))
    assert hub.log == []


def test_the_token_goes_to_the_hub_alone_and_into_no_log(
    hub: StandInHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.gated = True
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    bring(hub.settings(tmp_path, token_file=token))
    assert {auth for host, _, auth, _ in hub.log if host == "hub"} == {f"Bearer {TOKEN}"}
    assert {auth for host, _, auth, _ in hub.log if host == "storage"} == {None}
    said = caplog.text + repr(asker(hub, TOKEN))
    assert TOKEN not in said
    assert "signed-canary" not in said


def test_a_missing_token_is_said_by_its_file(hub: StandInHub, tmp_path: Path) -> None:
    with pytest.raises(TreeError, match="BERTH_WEIGHTS_TOKEN_FILE"):
        bring(hub.settings(tmp_path, token_file=tmp_path / "none"))


def test_redirects_in_circles_end(hub: StandInHub, tmp_path: Path) -> None:
    hub.redirect_to = f"{hub.url}/{REPO}/resolve/{COMMIT}/{SERVED[1]}"
    with pytest.raises(TreeError, match="redirects in circles"):
        bring(hub.settings(tmp_path, {SERVED[1]: ONE}))
    assert len(hub.log) < 20


def test_a_redirect_keeps_tls_and_leaves_the_token_behind() -> None:
    asked = urllib.request.Request("https://hub.example/x", headers={"Authorization": f"Bearer {TOKEN}"})
    redirects = Redirects()

    def follow(url: str) -> urllib.request.Request | None:
        return redirects.redirect_request(asked, io.BytesIO(), 302, "Found", Message(), url)

    elsewhere, within = follow("https://storage.example/x"), follow("https://hub.example/y")
    assert elsewhere is not None
    assert within is not None
    assert not elsewhere.has_header("Authorization")
    assert within.get_header("Authorization") == f"Bearer {TOKEN}"
    with pytest.raises(HubError, match="without TLS"):
        follow("http://hub.example/x")


def test_plain_http_is_for_loopback_only() -> None:
    with pytest.raises(HubError, match="must be https"):
        Hub("http://hub.example", deadline=0)


def command() -> list[str]:
    return [sys.executable, "-m", "berth_serving.weights"]


def variables(settings: TreeSettings, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "BERTH_WEIGHTS_SOURCE": settings.source,
        "BERTH_WEIGHTS_DIR": str(settings.root),
        "BERTH_WEIGHTS_FOLDER": settings.folder,
        "BERTH_WEIGHTS_MANIFEST": str(settings.manifest),
        "BERTH_WEIGHTS_HUB": settings.hub,
        "BERTH_WEIGHTS_SECONDS": "30",
        **more,
    }


def test_processes_that_share_a_volume_download_once(hub: StandInHub, tmp_path: Path) -> None:
    settings = hub.settings(tmp_path)
    started = [
        subprocess.Popen(command(), env=variables(settings), stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    logs = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], logs
    assert [len(hub.downloads(f"{name}?Signature=signed-canary")) for name in SERVED[1:3]] == [1, 1]
    assert sum("weights fetched" in log for log in logs) == 1
    assert sum("weights already there" in log for log in logs) == 2


def test_as_a_process_a_poisoned_file_is_exit_1_in_one_line(hub: StandInHub, tmp_path: Path) -> None:
    hub.files["config.json"] = b'{"model_type": "evil"}\n'
    settings = hub.settings(tmp_path, {"config.json": FILES["config.json"]})
    done = subprocess.run(command(), env=variables(settings), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("berth-weights: example/tiny/config.json")
    assert "Traceback" not in done.stderr


def test_wrong_settings_are_exit_2_and_all_named(tmp_path: Path) -> None:
    wrong = {
        "PATH": os.environ["PATH"],
        "BERTH_WEIGHTS_SOURCE": "hub",
        "BERTH_WEIGHTS_FOLDER": "../x",
        "BERTH_WEIGHTS_HUB": "http://hub.example",
        "BERTH_WEIGHTS_SECONDS": "soon",
    }
    done = subprocess.run(command(), env=wrong, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    for name in ("FOLDER", "MANIFEST", "HUB", "SECONDS"):
        assert f"BERTH_WEIGHTS_{name}" in done.stderr
    del tmp_path


@pytest.fixture
def filled(hub: StandInHub, tmp_path: Path) -> TreeSettings:
    """A volume that somebody filled, as a hub's cache is: links into a folder of blobs."""
    settings = hub.settings(tmp_path, source="volume", folder="snapshots/now")
    target = settings.root / settings.folder
    blobs = settings.root / "blobs"
    for folder in (target, blobs):
        folder.mkdir(parents=True)
    for name in SERVED:
        (blobs / sha256(FILES[name])).write_bytes(FILES[name])
        (target / name).symlink_to(f"../../blobs/{sha256(FILES[name])}")
    (target / "README.md").write_text("# Tiny")
    return settings


def test_a_filled_volume_is_verified_and_not_written_to(filled: TreeSettings, hub: StandInHub) -> None:
    before = sorted(filled.root.rglob("*"))
    assert bring(filled) == filled.root / filled.folder
    assert sorted(filled.root.rglob("*")) == before
    assert hub.log == []


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda at: at.joinpath("config.json").unlink(), "is not there"),
        (
            lambda at: at.joinpath("config.json").resolve().write_bytes(b'{"model_type": "evil"}\n'),
            "SHA-256 is",
        ),
        (lambda at: at.joinpath("config.json").resolve().write_bytes(b"{}"), "has 2 bytes"),
        (lambda at: at.joinpath("modeling.py").write_text("import os"), "modeling.py, which could be run"),
        (
            lambda at: (at / "config.json").unlink() or (at / "config.json").symlink_to("/etc/hostname"),
            "leads out of the volume",
        ),
    ],
)
def test_a_harmed_volume_is_refused(filled: TreeSettings, harm: Callable[[Path], Any], said: str) -> None:
    harm(filled.root / filled.folder)
    with pytest.raises(TreeError, match=said):
        bring(filled)


def test_catalogue_and_fetcher_take_the_same_files() -> None:
    assert manifests.SUFFIXES == weights_pins.SUFFIXES
