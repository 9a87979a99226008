"""Who we are to a registry: what ``docker login`` or ``podman login`` left, or a credential helper says."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from berth_images.errors import ImagesError

_HELPER_SECONDS = 60
_TOKEN_USER = "<token>"  # noqa: S105 - the name that helpers give when the secret is an identity token


@dataclass(frozen=True)
class Credentials:
    """A user with a password, or an identity token. Neither secret is ever shown."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of a basic Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find(registry: str, repository: str = "") -> Credentials | None:
    """The credentials for a registry, from the files and helpers that docker and podman use, or None.

    Looked up in this order: $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json or ~/.docker/config.json,
    $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json. Values are never printed.

    Raises:
        ImagesError: such a file is no JSON, or a helper that it names fails.
    """
    for path in _files():
        if not path.is_file():
            continue
        found = _from_file(path, registry, repository)
        if found is not None:
            return found
    return None


def _files() -> tuple[Path, ...]:
    home = Path.home()
    docker = Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    files = [docker, config]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        files.insert(1, Path(runtime) / "containers" / "auth.json")
    if chosen := os.environ.get("REGISTRY_AUTH_FILE"):
        files.insert(0, Path(chosen))
    return tuple(files)


def _from_file(path: Path, registry: str, repository: str) -> Credentials | None:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ImagesError(f"{path} is no JSON ({error}); repair it, or log in again") from None
    except OSError as error:
        raise ImagesError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(content, dict):
        raise ImagesError(f"{path}: expected a JSON object at the top; repair it, or log in again")
    names = _names(registry, repository)
    helpers = content.get("credHelpers") or {}
    for name in names:
        if name in helpers:
            return _from_helper(str(helpers[name]), name)
    auths = content.get("auths") or {}
    known = {_plain(name): entry for name, entry in auths.items() if isinstance(entry, dict)}
    for name in names:
        if (found := _from_entry(path, name, known.get(name) or {})) is not None:
            return found
    if store := content.get("credsStore"):
        # Docker Hub is kept under its first address; everything else under its name.
        asked = "https://index.docker.io/v1/" if registry == "docker.io" else registry
        return _from_helper(str(store), asked)
    return None


def _names(registry: str, repository: str) -> list[str]:
    """What an entry may be called, the most specific first: podman keeps credentials per path."""
    parts = repository.split("/") if repository else []
    names = ["/".join([registry, *parts[:count]]) for count in range(len(parts), -1, -1)]
    if registry == "docker.io":
        names += ["index.docker.io", "registry-1.docker.io"]
    return names


def _plain(name: str) -> str:
    bare = name.removeprefix("https://").removeprefix("http://").rstrip("/")
    return bare.removesuffix("/v1").removesuffix("/v2")


def _from_entry(path: Path, name: str, entry: dict[str, object]) -> Credentials | None:
    token = str(entry.get("identitytoken") or "")
    if entry.get("auth"):
        try:
            username, colon, password = (
                base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
            )
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise ImagesError(f"{path}: auths.{name}.auth is not base64 of user:password; log in again")
        return Credentials(username, password.rstrip("\0"), token)
    if entry.get("username"):
        return Credentials(str(entry["username"]), str(entry.get("password") or ""), token)
    return Credentials(identity_token=token) if token else None


def _from_helper(helper: str, server: str) -> Credentials | None:
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=server,
            capture_output=True,
            text=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise ImagesError(
            f"{program} is named in docker's configuration for {server}, and is not on PATH; "
            "install it, or log in again"
        ) from None
    except subprocess.TimeoutExpired:
        raise ImagesError(f"{program} did not answer for {server} within {_HELPER_SECONDS} s") from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        if "credentials not found" in said:
            return None
        raise ImagesError(f"{program} failed for {server} (exit {done.returncode}): {said[-300:]}")
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise ImagesError(f"{program} answered for {server} with something that is no credential") from None
    if username == _TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(username, secret)
