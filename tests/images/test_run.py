"""The images run: as uid 65532, on a read-only root, with nothing of this machine but its kernel."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from berth_catalogue.images import load_images
from berth_images import roles

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# A mount namespace: the root read-only, /proc, what the caller binds; then the image's own process.
SANDBOX = """
set -e
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
for pair in $BINDS; do
    mount --bind "${pair%%:*}" "$ROOT${pair##*:}"
done
mount -o remount,bind,ro "$ROOT"
exec env -i $IMAGE_ENV chroot --userspec=65532:65532 --groups=65532 "$ROOT" "$@"
"""

IMPORTS = """
import importlib, importlib.util, os, sys
entry = sys.argv[1]
importlib.import_module(entry)
package = importlib.util.find_spec(entry).submodule_search_locations is not None
assert not package or importlib.util.find_spec(entry + ".__main__")
print(os.getuid(), os.getgid(), os.getgroups())
"""


@pytest.fixture
def run(unpack: Callable[[str], Path]) -> Callable[..., subprocess.CompletedProcess[str]]:
    if os.geteuid() != 0:
        pytest.skip("needs root: an image runs in a mount namespace")

    def in_image(
        role: str,
        *command: str,
        env: dict[str, str] | None = None,
        binds: dict[str, Path] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        root = unpack(role)
        spec = load_images().images[role]
        for inside in binds or {}:
            (root / inside.lstrip("/")).mkdir(exist_ok=True)
        return subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SANDBOX, "sh", *command],
            env={
                "PATH": os.environ["PATH"],
                "ROOT": str(root),
                "BINDS": " ".join(f"{outside}:{inside}" for inside, outside in (binds or {}).items()),
                "IMAGE_ENV": " ".join(
                    f"{name}={value}"
                    for name, value in {
                        **spec.env,
                        "PATH": os.environ["PATH"] + ":/usr/bin",
                        **(env or {}),
                    }.items()
                ),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return in_image


@pytest.mark.parametrize("role", roles())
def test_the_entrypoint_imports_as_nobody_on_a_read_only_root(run: Run, role: str) -> None:
    spec = load_images().images[role]
    assert spec.entrypoint[:2] == ("python3", "-m")
    done = run(role, "python3", "-c", IMPORTS, spec.entrypoint[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["65532", "65532", "[65532]"]


def test_nothing_can_be_written_and_no_shell_is_there(run: Run) -> None:
    code = """
import os
for folder in ("/", "/tmp", "/opt/berth", "/usr/lib/python3.13"):
    try:
        open(os.path.join(folder, "x"), "w")
    except OSError as error:
        print(error.errno)
for program in ("/bin/sh", "/usr/bin/dpkg", "/usr/bin/apt-get", "/usr/bin/pip"):
    assert not os.path.exists(program), program
"""
    done = run("model-server", "python3", "-c", code)
    assert done.returncode == 0, done.stderr
    assert all(line in {"13", "30"} for line in done.stdout.split()), done.stdout
    assert len(done.stdout.split()) == 4


def test_tls_time_zones_and_names_work(run: Run) -> None:
    code = """
import pwd, socket, ssl, sys, zoneinfo
assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 100
assert zoneinfo.ZoneInfo("Europe/Berlin").key == "Europe/Berlin"
assert pwd.getpwuid(65532).pw_name == "nonroot"
assert socket.getservbyname("https") == 443
assert sys.flags.safe_path and sys.flags.dont_write_bytecode and sys.flags.no_user_site
import asyncio, bz2, ctypes, decimal, hashlib, json, lzma, multiprocessing, uuid, zlib
"""
    done = run("model-server", "python3", "-c", code)
    assert done.returncode == 0, done.stderr


def test_the_engine_loads_its_library(run: Run) -> None:
    done = run("engine-llama-cpp", "python3", "-c", "import xllamacpp; print(xllamacpp.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("/opt/berth/xllamacpp/")


def test_the_fetcher_puts_the_weights_where_the_engine_reads_them(run: Run, tmp_path: Path) -> None:
    """The real entrypoint of the weights image, twice, and then with a hash that does not fit."""
    spec = load_images().images["weights-smollm2"]
    assert spec.weights is not None
    models = tmp_path / "models"
    models.mkdir()
    os.chown(models, 65532, 65532)
    env = {
        "BERTH_WEIGHTS_SOURCE": "packaged:smollm2-135m-instruct-q4_1",
        "BERTH_WEIGHTS_SHA256": spec.weights.sha256,
        "BERTH_WEIGHTS_DIR": "/models",
    }
    for _ in range(2):
        done = run("weights-smollm2", *spec.entrypoint, env=env, binds={"/models": models})
        assert done.returncode == 0, done.stderr
        (file,) = models.glob("*.gguf")
        assert hashlib.sha256(file.read_bytes()).hexdigest() == spec.weights.sha256
    file.unlink()
    done = run(
        "weights-smollm2",
        *spec.entrypoint,
        env={**env, "BERTH_WEIGHTS_SHA256": "0" * 64},
        binds={"/models": models},
    )
    assert done.returncode == 1
    assert not list(models.glob("*.gguf"))
    assert "Traceback" not in done.stderr
