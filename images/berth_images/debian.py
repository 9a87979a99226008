"""Debian packages for the base: chosen, downloaded and verified by apt, in a state of our own.

apt checks the archive's signature with the keys of the Debian keyring and every package against
the signed index. Nothing of the host's own package state is read or changed, and no root is needed.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from berth_images.errors import FetchError, MissingToolError
from berth_images.store import Store, file_sha256, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from berth_catalogue.images import BaseSpec

KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
SUPPORTED = "Debian 12 and 13 on amd64"
ELSEWHERE = (
    "Elsewhere, build images/Containerfile.<role> with docker, podman or buildah, "
    "push it, and name it in the stack's berth:images."
)
_PATIENCE_SECONDS = 900
# What the host runs after an update (emptying its own caches, rebuilding its indexes) is not for our state.
_NO_HOOKS = "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"
_INDEX = re.compile(r"^'(?P<mirror>[^']+)/dists/(?P<suite>[^/']+)/InRelease' ")
_INSTALL = re.compile(r"^Inst (?P<name>[a-z0-9][a-z0-9+.-]+) ", re.MULTILINE)
_DOWNLOAD = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")


@dataclass(frozen=True)
class DebianPackage:
    """One package of a resolved base. ``file`` is its name in the store's debs folder."""

    name: str
    version: str
    architecture: str
    file: str
    sha256: str


def base_key(spec: BaseSpec) -> str:
    """The name under which a base's resolution is kept: what apt was asked, not what is done with it."""
    return key_of("base", spec.codename, spec.architecture, spec.packages, sorted(spec.leave_out))


def resolved(store: Store, spec: BaseSpec) -> tuple[DebianPackage, ...] | None:
    """The packages that a base was resolved to before, or None."""
    return _remembered(store, base_key(spec))


def _remembered(store: Store, key: str) -> tuple[DebianPackage, ...] | None:
    record = store.read_record("bases", key)
    if record is None:
        return None
    try:
        return tuple(DebianPackage(**package) for package in record["packages"])
    except (KeyError, TypeError):
        return None


def present(store: Store, packages: tuple[DebianPackage, ...]) -> bool:
    """Whether every package file is there and intact."""
    folder = store.folder("debs")
    return all(
        (folder / package.file).is_file() and file_sha256(folder / package.file) == package.sha256
        for package in packages
    )


def resolve(
    store: Store, spec: BaseSpec, progress: Callable[[str], None] | None = None
) -> tuple[DebianPackage, ...]:
    """Ask apt for the newest versions of a base's packages, download them, and remember them.

    Call it under the store's lock. Takes about 5 seconds on a quick line (22 MB).

    Raises:
        MissingToolError: this is no Debian, or apt or its keyring is absent.
        FetchError: apt could not download or verify something; its own words are in the message.
    """
    apt = _Apt(store, spec)
    if progress is not None:
        progress(f"reading Debian {spec.release}'s package index")
    apt.update()
    return _fetch(store, apt, apt.closure(), base_key(spec), progress)


def _fetch(
    store: Store,
    apt: _Apt,
    wanted: dict[str, tuple[str, str]],
    key: str,
    progress: Callable[[str], None] | None,
) -> tuple[DebianPackage, ...]:
    """Download what is missing of some packages, and remember all of them under a key."""
    folder = store.folder("debs")
    missing = {
        name: (file, sha256)
        for name, (file, sha256) in wanted.items()
        if not (folder / file).is_file() or file_sha256(folder / file) != sha256
    }
    if missing:
        if progress is not None:
            progress(f"downloading {len(missing)} Debian packages")
        with store.work() as scratch:
            apt.download(sorted(missing), scratch)
            for name, (file, sha256) in missing.items():
                got = scratch / file
                if not got.is_file() or file_sha256(got) != sha256:
                    raise FetchError(
                        f"Debian package {name}: apt did not leave {file} with SHA-256 {sha256}. "
                        "Run the command again; if it stays, the mirror is inconsistent."
                    )
                got.replace(folder / file)
    packages = []
    for name, (file, sha256) in sorted(wanted.items()):
        fields = control_fields(control(folder / file)[0])
        packages.append(DebianPackage(name, fields["Version"], fields["Architecture"], file, sha256))
    store.write_record("bases", key, {"packages": [asdict(package) for package in packages]})
    return tuple(packages)


def named_key(spec: BaseSpec, names: Sequence[str]) -> str:
    """The name under which the versions of single packages are kept."""
    return key_of("named", spec.codename, spec.architecture, sorted(names))


def resolved_named(store: Store, spec: BaseSpec, names: Sequence[str]) -> tuple[DebianPackage, ...] | None:
    """Single packages of a base's release, as they were resolved before, or None."""
    return _remembered(store, named_key(spec, names))


def resolve_named(
    store: Store,
    spec: BaseSpec,
    names: Sequence[str],
    progress: Callable[[str], None] | None = None,
    *,
    update: bool = True,
) -> tuple[DebianPackage, ...]:
    """Ask apt for the newest versions of exactly these packages, download and remember them.

    Call it under the store's lock. Without `update` the index is taken as it is.

    Raises:
        MissingToolError, FetchError: as `resolve` does.
    """
    apt = _Apt(store, spec)
    if update:
        if progress is not None:
            progress(f"reading Debian {spec.release}'s package index")
        apt.update()
    return _fetch(store, apt, apt.uris(sorted(names)), named_key(spec, names), progress)


def download(store: Store, spec: BaseSpec, names: Sequence[str], folder: Path) -> list[Path]:
    """Fetch packages of a base's release alone, without what they depend on. Call it under the store's lock.

    Raises:
        MissingToolError, FetchError: as `resolve` does.
    """
    apt = _Apt(store, spec)
    apt.update()
    apt.download(sorted(names), folder)
    return sorted(folder.glob("*.deb"))


class _Apt:
    """apt-get with a state, a cache and sources of our own."""

    def __init__(self, store: Store, spec: BaseSpec) -> None:
        self._spec = spec
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise MissingToolError(
                f"apt-get and dpkg-deb are needed to build images, and this machine has none "
                f"({SUPPORTED}). {ELSEWHERE}"
            )
        keyring = next((path for path in KEYRINGS if path.is_file()), None)
        if keyring is None:
            raise MissingToolError(
                f"{KEYRINGS[0]} is absent, so Debian's signatures cannot be checked. "
                f"Install the package debian-archive-keyring. {ELSEWHERE}"
            )
        self._folder = store.folder("apt")
        for part in ("lists/partial", "cache/archives/partial"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        # As if nothing were installed: then the closure is the whole one.
        (self._folder / "status").write_bytes(b"")
        (self._folder / "apt.conf").write_text(_NO_HOOKS)
        (self._folder / "sources.list").write_text(
            "".join(
                # Only the package index: no translations, no contents, whatever else the host asks for.
                f"deb [arch={spec.architecture} target=Packages signed-by={keyring}] {mirror} {suite} main\n"
                for mirror, suite in self._archives()
            )
        )

    def _archives(self) -> list[tuple[str, str]]:
        """(mirror, suite) for this base's release, at the mirrors that the host is set up with."""
        release = _host_codename()
        found: dict[str, str] = {}
        for line in self._output(
            ["apt-get", "--print-uris", "update"], "read the host's sources"
        ).splitlines():
            match = _INDEX.match(line)
            if match is None:
                continue
            suite, _, suffix = match["suite"].partition("-")
            if suite in {release, "stable", "oldstable"} and suffix in {"", "updates", "security"}:
                found.setdefault(suffix, match["mirror"])
        if "" not in found:
            raise MissingToolError(
                f"apt's sources on this machine name no Debian archive for {release or 'this release'}; "
                f"images are built from one ({SUPPORTED}). Add the archive to "
                f"/etc/apt/sources.list.d. {ELSEWHERE}"
            )
        return [
            (mirror, f"{self._spec.codename}-{suffix}" if suffix else self._spec.codename)
            for suffix, mirror in sorted(found.items())
        ]

    def update(self) -> None:
        """Read the signed indexes."""
        # An index that could not be read is an error, not a warning: an old one would hide security updates.
        self._run(["update", "-o", "APT::Update::Error-Mode=any"], "read the package index")

    def closure(self) -> dict[str, tuple[str, str]]:
        """Package name → (file name, SHA-256), by apt's own resolver, without what the spec leaves out."""
        purpose = "find the packages of the base image"
        listing = self._run(
            ["install", "--simulate", "--no-install-recommends", "--yes", *self._spec.packages], purpose
        )
        names = set(_INSTALL.findall(listing)) - set(self._spec.leave_out)
        found = self.uris(sorted(names))
        if absent := sorted(set(self._spec.packages) - set(found)):
            raise FetchError(
                f"apt named no file with a SHA-256 for {', '.join(absent)} of Debian {self._spec.release}; "
                f"it said:\n{_tail(listing)}"
            )
        return found

    def uris(self, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Package name → (file name, SHA-256) of single packages."""
        purpose = "find the packages of an image"
        # `install` prints MD5 sums only; `download` prints what it will verify.
        uris = self._run(["download", "--print-uris", *names], purpose)
        found = {
            match["file"].partition("_")[0]: (match["file"], match["sha256"])
            for match in map(_DOWNLOAD.match, uris.splitlines())
            if match is not None
        }
        if absent := sorted(set(names) - set(found)):
            raise FetchError(
                f"apt named no file with a SHA-256 for {', '.join(absent)} of Debian {self._spec.release}; "
                f"it said:\n{_tail(uris)}"
            )
        return found

    def download(self, names: list[str], target: Path) -> None:
        """Fetch packages into a folder; apt verifies each against the signed index."""
        self._run(["download", *names], f"download {len(names)} Debian packages", cwd=target)

    def _run(self, arguments: list[str], purpose: str, cwd: Path | None = None) -> str:
        options = {
            "Dir::State": self._folder,
            "Dir::State::lists": self._folder / "lists",
            "Dir::State::status": self._folder / "status",
            "Dir::Cache": self._folder / "cache",
            "Dir::Etc::sourcelist": self._folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": self._spec.architecture,
            "APT::Architectures": self._spec.architecture,
            # As root apt would change to a user that cannot enter the cache folder.
            "APT::Sandbox::User": "",
            "Acquire::Retries": "3",
        }
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        # Read last, so that it can take back what the host's configuration says.
        ours = ["-c", str(self._folder / "apt.conf")]
        return self._output(["apt-get", "-q", *ours, *flags, *arguments], purpose, cwd)

    def _output(self, command: list[str], purpose: str, cwd: Path | None = None) -> str:
        try:
            done = subprocess.run(
                command,
                cwd=cwd,
                env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
                timeout=_PATIENCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise FetchError(
                f"apt did not {purpose} within {_PATIENCE_SECONDS} s: {shlex.join(command[:3])} … was ended. "
                "Check the network and run the command again."
            ) from error
        if done.returncode != 0:
            raise FetchError(
                f"apt could not {purpose} (Debian {self._spec.release}); it said:\n"
                f"{_tail(done.stderr or done.stdout)}\n"
                "Check the network and apt's sources, then run the command again."
            )
        return done.stdout


def _host_codename() -> str:
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return ""
    match = re.search(r"^VERSION_CODENAME=\"?([a-z]+)\"?$", text, re.MULTILINE)
    return match[1] if match is not None else ""


def _tail(text: str, lines: int = 8) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def control(package: Path) -> tuple[str, bytes]:
    """A package's control paragraph, and its files as a tar."""
    meta = subprocess.run(["dpkg-deb", "--ctrl-tarfile", package], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(meta)) as archive:
        member = archive.extractfile("./control")
        text = member.read().decode() if member is not None else ""
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
    return text, files


def control_fields(text: str) -> dict[str, str]:
    """The one-line fields of a control paragraph."""
    return dict(
        line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith(" ")
    )
