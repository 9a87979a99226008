"""The launcher: what it does on a machine that lacks something, and after it was interrupted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from berth.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a fresh checkout: what git tracks of the launcher, the locks and the command line."""
    target = tmp_path / "checkout"
    target.mkdir()
    shutil.copy2(ROOT / "berth", target / "berth")
    shutil.copytree(ROOT / "locks", target / "locks")
    (target / "toolkit").mkdir()
    shutil.copy2(ROOT / "toolkit/pyproject.toml", target / "toolkit/pyproject.toml")
    shutil.copytree(
        ROOT / "toolkit/berth", target / "toolkit/berth", ignore=shutil.ignore_patterns("__pycache__", "go")
    )
    return target


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "BERTH_CACHE": str(tmp_path / "cache"), **more}


def launch(checkout: Path, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "berth", *words], env=env, capture_output=True, text=True, check=False, timeout=300
    )


def in_private_mounts(script: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script where mounts are its own, so that a machine can be made poorer for it alone."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it hides programs by mounting over them")
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script],
        env=env, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_first_run_makes_the_environment_and_the_second_is_quiet(checkout: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    first = launch(checkout, "--help", env=env)
    assert first.returncode == 0, first.stderr
    assert "making .venv" in first.stderr
    assert "Usage: berth" in first.stdout
    second = launch(checkout, "--help", env=env)
    assert (second.returncode, second.stderr) == (0, "")
    (checkout / "annex/berth_annex").mkdir(parents=True)
    (checkout / "annex/pyproject.toml").touch()
    (checkout / "annex/berth_annex/__init__.py").touch()
    assert launch(checkout, "--help", env=env).returncode == 0
    found = subprocess.run([checkout / ".venv/bin/python", "-c", "import berth_annex"], check=False)
    assert found.returncode == 0, "a room that came later is found"


def test_help_installs_no_pulumi(checkout: Path, tmp_path: Path) -> None:
    assert launch(checkout, "--help", env=environment(tmp_path)).returncode == 0
    installed = {path.name for path in checkout.glob(".venv/lib/python3*/site-packages/*")}
    assert "click" in installed
    assert not {"pulumi", "grpc", "uvicorn"} & installed


# What needs no SDK of Pulumi's. Everything else runs a stack's program, or reads one's settings.
WITHOUT_PULUMI = {"key": "cli", "serve": "serve", "weights": "cli"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_gets_what_it_imports(command: str) -> None:
    """Also on a machine that has run nothing else before."""
    function = (
        "set_for()" + (ROOT / "berth").read_text().partition("\nset_for()")[2].partition("\n}")[0] + "\n}"
    )
    done = subprocess.run(
        ["sh", "-euc", f"{function}\nset_for {command} onprem"], capture_output=True, text=True, check=True
    )
    allowed = {WITHOUT_PULUMI[command]} if command in WITHOUT_PULUMI else {"up", "clouds", "dev"}
    assert done.stdout.strip() in allowed


def test_only_what_asks_a_cloud_gets_the_clouds_sdks() -> None:
    script = (ROOT / "berth").read_text()
    function = "set_for()" + script.partition("\nset_for()")[2].partition("\n}")[0] + "\n}"
    for words, wanted in (
        ("plan local", "up"),
        ("up local-hybrid --yes", "up"),
        ("up hybrid-dev", "clouds"),
        ("plan --all --ask", "clouds"),
        ("plan aws-dev --ask", "clouds"),
    ):
        said = subprocess.run(
            ["sh", "-euc", f"{function}\nset_for {words}"], capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == wanted


def test_a_lock_covers_what_it_was_resolved_from() -> None:
    script = (ROOT / "berth").read_text()
    pins = {
        name: set(re.findall(r"^\S+==\S+", (ROOT / f"locks/{name}.txt").read_text(), re.MULTILINE))
        for name in ("cli", "serve", "up", "clouds", "dev")
    }
    for name, own in pins.items():
        function = re.search(r"covered_by\(\) \{.*?^\}", script, re.DOTALL | re.MULTILINE)
        assert function
        shell = f"{function[0]}; covered_by {name}"
        said = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
        assert name in said.split()
        for covered in said.split():
            assert pins[covered] <= own, f"{name} does not cover {covered}"


def test_killed_while_installing_it_goes_on_the_next_time(checkout: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    for wait_for in (".venv/pyvenv.cfg", ".venv/bin/uv"):
        process = subprocess.Popen(
            [checkout / "berth", "--help"], env=env, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not (checkout / wait_for).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = launch(checkout, "--help", env=env)
    assert done.returncode == 0, done.stderr
    assert "Usage: berth" in done.stdout


def test_without_an_index_it_says_so_and_leaves_nothing(checkout: Path, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9/simple"
    env = environment(
        tmp_path, PIP_INDEX_URL=nowhere, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1", PIP_FIND_LINKS=""
    )
    done = launch(checkout, "--help", env=env)
    assert done.returncode == 2
    assert "could not install uv" in done.stderr
    assert "index reachable" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_python_it_says_what_to_do_and_changes_nothing(checkout: Path, tmp_path: Path) -> None:
    env = environment(tmp_path, PATH="/usr/sbin:/usr/bin:/sbin:/bin")
    hide = "for p in /usr/bin/python3*; do mount --bind /bin/false $(readlink -f $p); done"
    done = in_private_mounts(f"{hide}; exec {shlex.quote(str(checkout / 'berth'))} up local", env)
    assert done.returncode == 2
    assert "Python 3.11 or newer" in done.stderr
    assert "--yes" in done.stderr
    assert not (checkout / ".venv").exists()


def test_on_a_full_disk_it_says_how_much_is_needed(checkout: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o size=32m tmpfs {small}; cp -a {checkout}/. {small}/; "
        f"code=0; {small}/berth --help || code=$?; test ! -e {small}/.venv; exit $code"
    )
    done = in_private_mounts(script, environment(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "MiB are free" in done.stderr


def test_a_wrong_command_names_the_closest_one() -> None:
    done = launch(ROOT, "kye", "local", env=dict(os.environ))
    assert done.returncode == 2
    assert "did you mean 'key'" in done.stderr


def test_a_key_that_is_not_there_is_explained(tmp_path: Path) -> None:
    done = launch(ROOT, "key", "local", env=environment(tmp_path))
    assert done.returncode == 2
    assert "./berth up local" in done.stderr
    assert done.stdout == ""
