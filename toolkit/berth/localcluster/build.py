"""Building the cluster's programs from their Go modules, once, into the user's cache.

A build is keyed by what goes into it: the Go sources, the compiler's version and the flags. It becomes
visible by one rename, so an interrupted one leaves nothing half; Go's own cache keeps what was compiled until
then.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .commands import environment
from .errors import BuildError, DownloadError, NoSpaceError
from .locks import locked
from .paths import SCRATCH_PREFIX, cache_folder, clusters_folder, remove_remains
from .progress import SILENT, Progress, Step
from .toolchain import MODULE, Go, ensure_go, find_go

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KUBE_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
    "berth-provisioner",
)

# What a first build leaves in Go's caches and ours, measured; a warm one needs far less.
COLD_BUILD_BYTES = 6 * 1024**3
WARM_BUILD_BYTES = 1024**3
# Fewer than a build of the cluster leaves in Go's cache.
_WARM_FILES = 1000
_PRUNE_AFTER_SECONDS = 14 * 24 * 3600
_METRICS_SERVER = "metricsserver"


@dataclass(frozen=True)
class Binaries:
    """The folder with the built programs, each under its own name."""

    folder: Path

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def kubernetes_version() -> str:
    """The version that go.mod names, such as `v1.35.4`."""
    match = re.search(r"^\s*k8s\.io/kubernetes (\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert match is not None  # noqa: S101 (go.mod is ours)
    return match[1]


def _linker_flags() -> str:
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    package = "k8s.io/component-base/version"
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s", "-w", *(f"-X {package}.{name}={value}" for name, value in stamps.items())])


def _key(go: Go, sources: tuple[str, ...]) -> str:
    digest = hashlib.sha256(f"{go.version} {_linker_flags()}".encode())
    files = [MODULE / "go.mod", MODULE / "go.sum"]
    for source in sources:
        files += sorted((MODULE / source).rglob("*.go"))
    for file in files:
        digest.update(f"{file.relative_to(MODULE)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def log_file() -> Path:
    """What the compiler says goes here."""
    return cache_folder() / "logs" / "build.log"


_MAIN = ("kube", "provisioner", "coredns", "pause")


def built_binaries() -> Binaries | None:
    """The programs when they are built already, else None."""
    go = find_go()
    return None if go is None else _built(go, _MAIN)


def _built(go: Go, sources: tuple[str, ...]) -> Binaries | None:
    folder = cache_folder() / "bin" / _key(go, sources)
    return Binaries(folder) if folder.is_dir() else None


def build_binaries(progress: Progress = SILENT) -> Binaries:
    """Return the programs that every cluster runs, building them where they are missing.

    From an empty build cache this takes 8 minutes on two quiet cores, warm 30 s. It may be interrupted and
    run again.

    Raises:
        BuildError, DownloadError, NoSpaceError: the log is `log_file`.
    """
    return _ensure(_MAIN, ("kube", "coredns", "pause"), "building Kubernetes and CoreDNS", 480, progress)


def build_metrics_server(progress: Progress = SILENT) -> Binaries:
    """Return metrics-server, building it where it is missing: 20 s after `build_binaries`.

    Raises:
        BuildError, DownloadError, NoSpaceError: the log is `log_file`.
    """
    return _ensure((_METRICS_SERVER,), (_METRICS_SERVER,), "building metrics-server", 20, progress)


def _ensure(
    sources: tuple[str, ...], programs: tuple[str, ...], doing: str, expected: float, progress: Progress
) -> Binaries:
    go = ensure_go(progress)
    if (have := _built(go, sources)) is not None:
        return have
    store = cache_folder() / "bin"
    with locked(store / ".lock", doing, wait_seconds=3600), progress.step(doing, expected) as step:
        if (have := _built(go, sources)) is not None:
            return have
        _check_space(store)
        remove_remains(store)
        target = store / _key(go, sources)
        with tempfile.TemporaryDirectory(dir=store, prefix=SCRATCH_PREFIX) as scratch:
            output = Path(scratch, "out")
            output.mkdir()
            flags = [f"-modfile={_patched_modules(go, scratch)}"] if programs == (_METRICS_SERVER,) else []
            targets = [f"./{name}" for name in programs]
            total = _fetch_modules(go, [*flags, *targets], scratch, step)
            command = ["build", "-v", *flags, "-ldflags", _linker_flags(), "-o", f"{output}/", *targets]
            _run(go, command, scratch, step, lambda done: f"compiled {done} of at most {total} packages")
            if "kube" in programs:
                for name in KUBE_PROGRAMS:
                    (output / name).symlink_to("kube")
            output.rename(target)
        _prune(store, keep={target.name, _key(go, _MAIN), _key(go, (_METRICS_SERVER,))})
    return Binaries(target)


def _prune(store: Path, keep: set[str]) -> None:
    """Remove builds of two weeks ago that no cluster of this cache runs."""
    scripts = [file.read_text() for file in clusters_folder().glob("*/units/*.sh")]
    for folder in store.glob("[0-9a-f]*"):
        old = time.time() - folder.stat().st_mtime > _PRUNE_AFTER_SECONDS
        if old and folder.name not in keep and not any(str(folder) in script for script in scripts):
            shutil.rmtree(folder)


def _check_space(folder: Path) -> None:
    caches = Path(os.environ.get("GOCACHE") or Path.home() / ".cache" / "go-build")
    is_warm = caches.is_dir() and sum(1 for _ in caches.glob("*/*-d")) > _WARM_FILES
    needed = WARM_BUILD_BYTES if is_warm else COLD_BUILD_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpaceError(
            f"{folder} has {free / 1024**3:.1f} GB free, building takes {needed / 1024**3:.0f} GB. "
            "Free some, or point BERTH_CACHE (and GOCACHE, GOMODCACHE) at a bigger disk."
        )


def _go_environment(scratch: str) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": environment()["PATH"],
        "GOTMPDIR": scratch,
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-buildvcs=false -mod=readonly",
        "CGO_ENABLED": "0",
        # The compiler's heap may grow to five times what lives: less time collecting, 2 GB at the peak.
        "GOGC": "400",
    }


def _fetch_modules(go: Go, arguments: Sequence[str], scratch: str, step: Step) -> int:
    """Fetch what the programs are built from, and return how many packages that is."""
    step.update("fetching Go modules")
    try:
        return _run(go, ["list", "-deps", *arguments], scratch, step, lambda _: "fetching Go modules")
    except BuildError as error:
        raise DownloadError(
            f"could not fetch the Go modules that the cluster is built from: {error}\n"
            "Is this machine online, and does `go env GOPROXY` name a proxy that answers? Then start again."
        ) from None


def _run(go: Go, arguments: Sequence[str], scratch: str, step: Step, happens: Callable[[int], str]) -> int:
    """Run go and return how many packages it named; ``happens`` says what that number means.

    Each line that it prints is a package or a complaint; all go to the log.
    """
    log = log_file()
    log.parent.mkdir(parents=True, exist_ok=True)
    started, packages = time.monotonic(), 0
    said = started
    with log.open("a") as file:
        file.write(f"\n$ {go.binary} {' '.join(arguments)}\n")
        for line in _lines(go, arguments, scratch):
            if line is None:
                if time.monotonic() - said >= 1:
                    said = time.monotonic()
                    step.update(f"{happens(packages)}, {said - started:.0f} s")
                continue
            if line.startswith(_FAILED):
                raise BuildError(
                    f"`go {arguments[0]}` ended with {line.removeprefix(_FAILED)}; {log} ends with:\n"
                    + _last(log)
                )
            file.write(line)
            file.flush()
            packages += not line.startswith(("#", "go: "))
    step.update(f"{happens(packages)}, {time.monotonic() - started:.0f} s")
    return packages


_FAILED = "\0failed "


def _last(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:])


def _lines(go: Go, arguments: Sequence[str], scratch: str) -> Iterator[str | None]:
    """The lines that go prints; None once a second while it is silent; last how it failed, if it did."""
    with subprocess.Popen(
        # It ends with us, also where we are killed and cannot end it.
        ["setpriv", "--pdeathsig", "KILL", str(go.binary), *arguments],
        cwd=MODULE,
        env=_go_environment(scratch),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                rest = b""
                while True:
                    if not selector.select(timeout=1):
                        yield None
                        continue
                    chunk = os.read(process.stdout.fileno(), 65536)
                    if not chunk:
                        break
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from (line.decode(errors="replace") + "\n" for line in lines)
                    yield None
        except BaseException:
            # Ctrl-C goes to our own session only; the compilers below go are in go's.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        yield f"{_FAILED}{process.returncode}"


def _patched_modules(go: Go, scratch: str) -> Path:
    """A go.mod with which metrics-server 0.9 builds with Kubernetes 1.35.

    Its generated OpenAPI describes a type of 1.36. With the Kubernetes libraries that it was made with it
    would cost five more minutes and a gigabyte. Only the description of the alpha field `shardInfo` of lists
    is left out; the build fails when that is not found.
    """
    name = "sigs.k8s.io/metrics-server"
    listed = subprocess.run(
        [str(go.binary), "list", "-m", "-json", name],
        cwd=MODULE,
        env=_go_environment(scratch),
        capture_output=True,
        text=True,
        check=True,
    )
    copy = Path(scratch, "metrics-server")
    shutil.copytree(json.loads(listed.stdout)["Dir"], copy)
    generated = copy / "pkg/api/generated/openapi/zz_generated.openapi.go"
    for path in (generated, generated.parent):
        path.chmod(0o755)  # the module cache is read-only, and so is its copy
    generated.write_text(without_shard_info(generated.read_text()))
    module = Path(scratch, "patched.mod")
    module.write_text((MODULE / "go.mod").read_text() + f'\nreplace {name} => "{copy}"\n')
    shutil.copy(MODULE / "go.sum", module.with_suffix(".sum"))
    return module


def without_shard_info(source: str) -> str:
    """The generated Go source without what describes `meta/v1.ShardInfo`."""
    for pattern in (
        r"\t\tv1\.ShardInfo\{\}\.OpenAPIModelName\(\):[^\n]*\n",
        r"\t{5}\"shardInfo\": \{\n\t{6}SchemaProps: spec\.SchemaProps\{\n(?:\t{7}.*\n)+\t{6}\},\n\t{5}\},\n",
        r"\t\tDependencies: \[\]string\{\n\t\t\tv1\.ShardInfo\{\}\.OpenAPIModelName\(\)\},\n",
        r"func schema_pkg_apis_meta_v1_ShardInfo\(.*?\n\}\n",
    ):
        source, count = re.subn(pattern, "", source, count=1, flags=re.DOTALL if "func" in pattern else 0)
        if count != 1:
            raise BuildError(
                f"metrics-server's generated OpenAPI is not as expected: nothing matches {pattern}"
            )
    return source
