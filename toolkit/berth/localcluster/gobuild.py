"""Building programs from Go modules, once, into the user's cache.

`build_tool` builds any folder that has a go.mod of its own; the cluster's programs have their own way in
`build`, which uses the rest of this file. A build is keyed by what goes into it and becomes visible by one
rename, so an interrupted one leaves nothing half; Go's own cache keeps what was compiled until then.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
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
from .paths import SCRATCH_PREFIX, cache_folder, remove_remains
from .progress import SILENT, Progress, Step
from .toolchain import Go, ensure_go

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# What one tool leaves in Go's caches and ours from nothing; those here took half of it.
_TOOL_BYTES = 2 * 1024**3
_PRUNE_AFTER_SECONDS = 14 * 24 * 3600
_FAILED = "\0failed "


def log_file() -> Path:
    """What the compiler says goes here."""
    return cache_folder() / "logs" / "build.log"


def build_tool(
    name: str,
    module: Path,
    targets: Sequence[str],
    *,
    expected_seconds: float,
    linker_flags: str = "-s -w",
    fixtures: Sequence[tuple[str, str]] = (),
    progress: Progress = SILENT,
) -> Path:
    """Return the folder with the programs built from ``targets`` of the Go module in ``module``.

    ``targets`` are main packages, such as ``./judge`` or ``helm.sh/helm/v4/cmd/helm``, which go.mod requires.
    ``fixtures`` are pairs of a module that go.mod requires and a folder in it: what lies there is copied
    beside the programs, under its own path. The build lies in ``tools/<name>-<key>`` of the cache.

    Raises:
        BuildError, DownloadError, NoSpaceError: the log is `log_file`.
    """
    go = ensure_go(progress)
    store = cache_folder() / "tools"
    target = store / f"{name}-{_key(go, module, [*targets, linker_flags, repr(tuple(fixtures))])}"
    if target.is_dir():
        return target
    doing = f"building {name}"
    with (
        locked(store / f".{name}.lock", doing, wait_seconds=3600),
        progress.step(doing, expected_seconds) as step,
    ):
        if target.is_dir():
            return target
        check_space(store, _TOOL_BYTES)
        scratches = store / f".{name}"
        scratches.mkdir(exist_ok=True)
        remove_remains(scratches)
        with tempfile.TemporaryDirectory(dir=scratches, prefix=SCRATCH_PREFIX) as scratch:
            output = Path(scratch, "out")
            output.mkdir()
            made = GoModule(go, module, scratch)
            total = made.fetch(targets, step)
            command = ["build", "-v", "-ldflags", linker_flags, "-o", f"{output}/", *targets]
            made.run(command, step, lambda done: f"compiled {done} of at most {total} packages")
            for required, folder in fixtures:
                _copy(made.folder_of(required), folder, output)
            output.rename(target)
        for old in store.glob(f"{name}-*"):
            # Another checkout may use an older one still.
            if old != target and time.time() - old.stat().st_mtime > _PRUNE_AFTER_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    return target


def _key(go: Go, module: Path, words: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join([go.version, *words]).encode())
    for file in [module / "go.mod", module / "go.sum", *sorted(module.rglob("*.go"))]:
        digest.update(f"{file.relative_to(module)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _copy(source: Path, folder: str, output: Path) -> None:
    if not (source / folder).is_dir():
        raise BuildError(f"the Go module in {source} has no folder {folder}")
    # The module cache is read-only, and a copy of it would be too.
    shutil.copytree(source / folder, output / folder, copy_function=shutil.copyfile)
    for path in (output / folder, *(output / folder).rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


def check_space(folder: Path, needed: int) -> None:
    """Raise `NoSpaceError` where ``folder`` has fewer than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpaceError(
            f"{folder} has {free / 1024**3:.1f} GB free, building takes {needed / 1024**3:.0f} GB. "
            "Free some, or point BERTH_CACHE (and GOCACHE, GOMODCACHE) at a bigger disk."
        )


@dataclass(frozen=True)
class GoModule:
    """A Go module that is built with ``go``, whose scratch files lie below ``scratch``."""

    go: Go
    folder: Path
    scratch: str

    def environment(self) -> dict[str, str]:
        """The environment that go runs in."""
        return {
            **os.environ,
            "PATH": environment()["PATH"],
            "GOTMPDIR": self.scratch,
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "GOFLAGS": "-buildvcs=false -mod=readonly",
            "CGO_ENABLED": "0",
            # The compiler's heap may grow to five times what lives: less time collecting, 2 GB at the peak.
            "GOGC": "400",
        }

    def folder_of(self, required: str) -> Path:
        """Where a module that go.mod requires lies in Go's cache, read-only. Raises `BuildError`."""
        listed = subprocess.run(
            [str(self.go.binary), "list", "-m", "-f", "{{.Dir}}", required],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if listed.returncode or not listed.stdout.strip():
            raise BuildError(
                f"where is {required}, which {self.folder / 'go.mod'} should require? {listed.stderr}"
            )
        return Path(listed.stdout.strip())

    def fetch(self, arguments: Sequence[str], step: Step) -> int:
        """Fetch what the programs are built from, and return how many packages that is.

        Raises:
            DownloadError: it could not be fetched.
        """
        step.update("fetching Go modules")
        try:
            return self.run(["list", "-deps", *arguments], step, lambda _: "fetching Go modules")
        except BuildError as error:
            raise DownloadError(
                f"could not fetch the Go modules that are built here: {error}\n"
                "Is this machine online, and does `go env GOPROXY` name a proxy that answers? "
                "Then start again."
            ) from None

    def run(self, arguments: Sequence[str], step: Step, happens: Callable[[int], str]) -> int:
        """Run go and return how many packages it named; ``happens`` says what that number means.

        Each line that it prints is a package or a complaint; all go to the log.

        Raises:
            BuildError: it failed; says how, and the end of the log.
        """
        log = log_file()
        log.parent.mkdir(parents=True, exist_ok=True)
        started, packages = time.monotonic(), 0
        said = started
        with log.open("a") as file:
            file.write(f"\n$ {self.go.binary} {' '.join(arguments)}\n")
            for line in _lines(self, arguments):
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


def _last(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:])


def _lines(module: GoModule, arguments: Sequence[str]) -> Iterator[str | None]:
    """The lines that go prints; None once a second while it is silent; last how it failed, if it did."""
    with subprocess.Popen(
        # It ends with us, also where we are killed and cannot end it.
        ["setpriv", "--pdeathsig", "KILL", str(module.go.binary), *arguments],
        cwd=module.folder,
        env=module.environment(),
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
