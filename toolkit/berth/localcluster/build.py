"""Building the cluster's programs from their Go modules, once, into the user's cache.

A build is keyed by what goes into it: the Go sources, the compiler's version and the flags. It becomes
visible by one rename, so an interrupted one leaves nothing half; Go's own cache keeps what was compiled until
then.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .errors import BuildError
from .gobuild import GoModule, check_space
from .locks import locked
from .paths import SCRATCH_PREFIX, cache_folder, clusters_folder, remove_remains
from .progress import SILENT, Progress
from .toolchain import MODULE, Go, ensure_go, find_go

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
        BuildError, DownloadError, NoSpaceError: the log is `gobuild.log_file`.
    """
    return _ensure(_MAIN, ("kube", "coredns", "pause"), "building Kubernetes and CoreDNS", 480, progress)


def build_metrics_server(progress: Progress = SILENT) -> Binaries:
    """Return metrics-server, building it where it is missing: 20 s after `build_binaries`.

    Raises:
        BuildError, DownloadError, NoSpaceError: the log is `gobuild.log_file`.
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
            module = GoModule(go, MODULE, scratch)
            flags = [f"-modfile={_patched_modules(module)}"] if programs == (_METRICS_SERVER,) else []
            targets = [f"./{name}" for name in programs]
            total = module.fetch([*flags, *targets], step)
            command = ["build", "-v", *flags, "-ldflags", _linker_flags(), "-o", f"{output}/", *targets]
            module.run(command, step, lambda done: f"compiled {done} of at most {total} packages")
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
    check_space(folder, WARM_BUILD_BYTES if is_warm else COLD_BUILD_BYTES)


def _patched_modules(module: GoModule) -> Path:
    """A go.mod with which metrics-server 0.9 builds with Kubernetes 1.35.

    Its generated OpenAPI describes a type of 1.36. With the Kubernetes libraries that it was made with it
    would cost five more minutes and a gigabyte. Only the description of the alpha field `shardInfo` of lists
    is left out; the build fails when that is not found.
    """
    name = "sigs.k8s.io/metrics-server"
    copy = Path(module.scratch, "metrics-server")
    shutil.copytree(module.folder_of(name), copy)
    generated = copy / "pkg/api/generated/openapi/zz_generated.openapi.go"
    for path in (generated, generated.parent):
        path.chmod(0o755)  # the module cache is read-only, and so is its copy
    generated.write_text(without_shard_info(generated.read_text()))
    patched = Path(module.scratch, "patched.mod")
    patched.write_text((MODULE / "go.mod").read_text() + f'\nreplace {name} => "{copy}"\n')
    shutil.copy(MODULE / "go.sum", patched.with_suffix(".sum"))
    return patched


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
