"""A project's and a stack's files, read as the Pulumi CLI reads them; secrets by passphrase."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROUNDS = 1_000_000
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 8, 12, 32
_VARIABLE = "PULUMI_CONFIG_PASSPHRASE"
_PROOF = "pulumi"  # what a stack's salt line carries encrypted, to recognise a wrong passphrase


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core types, as Go reads them: `yes`, `on` and dates are text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("tag:yaml.org,2002:int", r"^[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
        list("-+.0123456789"),
    ),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:merge", r"^(?:<<)$", ["<"]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


@dataclass(frozen=True)
class Project:
    """A `Pulumi.yaml`: where the program and the stacks' files are, and what it sets for every stack."""

    folder: Path
    name: str
    program: Path
    stack_folder: Path
    python: Path | None
    config: Mapping[str, str] = field(default_factory=dict)


def read_yaml(path: Path) -> dict[str, Any]:
    """A file's mapping; an empty file is an empty one.

    Raises:
        ConfigError: it cannot be read, is not YAML, or is no mapping.
    """
    try:
        node = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506 - a SafeLoader with fewer types
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(node or {}, dict):
        raise ConfigError(f"{path}: expected a mapping at the top, found {type(node).__name__}")
    return node or {}


def load_project(folder: Path) -> Project:
    """Read a project's `Pulumi.yaml`.

    Raises:
        ConfigError: it is missing or malformed, or is not for Python.
    """
    path = folder / "Pulumi.yaml"
    document = read_yaml(path)
    runtime = document.get("runtime")
    options = (runtime.get("options") or {}) if isinstance(runtime, dict) else {}
    kind = runtime.get("name") if isinstance(runtime, dict) else runtime
    if kind != "python":
        raise ConfigError(f"{path}: runtime is {kind!r}; the deployer runs python programs")
    if not document.get("name"):
        raise ConfigError(f"{path}: `name` is missing")
    name = str(document["name"])
    python = folder / str(options["virtualenv"]) / "bin" / "python" if options.get("virtualenv") else None
    return Project(
        folder=folder,
        name=name,
        program=folder / str(document.get("main") or "."),
        stack_folder=folder / str(document.get("stackConfigDir") or "."),
        python=python if python and python.exists() else None,
        config=_project_config(document, name, path),
    )


def _project_config(document: Mapping[str, Any], name: str, path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, entry in (document.get("config") or {}).items():
        value = entry
        if isinstance(entry, dict):
            value = entry.get("value", entry.get("default"))
            if entry.get("secret"):
                raise ConfigError(f"{path}: config.{key}: a secret has no place in Pulumi.yaml")
        if value is not None:
            found[_full(str(key), name)] = _text(value)
    return found


def _full(key: str, project: str) -> str:
    return key if ":" in key else f"{project}:{key}"


def _text(value: Any) -> str:
    """A value as a program's configuration holds it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def load_config(
    project_dir: Path, stack: str, passphrase: str | None = None, *, closed: str | None = None
) -> tuple[dict[str, str], frozenset[str]]:
    """A stack's configuration, as the Pulumi CLI hands it to a program.

    Args:
        project_dir: the folder of `Pulumi.yaml`.
        stack: the stack's name; `Pulumi.<stack>.yaml` is looked for where the project says.
        passphrase: for secrets; without it `$PULUMI_CONFIG_PASSPHRASE`, then the file that
            `$PULUMI_CONFIG_PASSPHRASE_FILE` names. Asked for only where there is a secret.
        closed: for previews that compare nothing: what stands for a secret that cannot be opened here, since
            there is no passphrase or a key service keeps it. Without it, that is an error.

    Returns:
        The values by full key, objects as JSON, and the keys whose values are secret.

    Raises:
        ConfigError: a file, a value or the passphrase is wrong; the message names the key.
    """
    project = load_project(project_dir)
    path = project.stack_folder / f"Pulumi.{stack}.yaml"
    if not path.exists():
        known = sorted(p.name[7:-5] for p in project.stack_folder.glob("Pulumi.*.yaml"))
        raise ConfigError(f"{path} does not exist; stacks here: {', '.join(known) or 'none'}")
    document = read_yaml(path)
    section = document.get("config") or {}
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: `config` is no mapping")
    box = _Box(document, path, passphrase, closed)
    config, secret_keys = dict(project.config), set()
    for key, value in section.items():
        full = _full(str(key), project.name)
        opened, was_secret = box.open(value, str(key))
        if opened is None:
            continue
        config[full] = _text(opened)
        if was_secret:
            secret_keys.add(full)
    return config, frozenset(secret_keys)


class _Box:
    """Opens a stack's secrets; derives the key when the first one comes."""

    def __init__(
        self, document: Mapping[str, Any], path: Path, passphrase: str | None, closed: str | None
    ) -> None:
        self._document, self._path, self._passphrase = document, path, passphrase
        self._closed = closed
        self._key: bytes | None = None

    def open(self, value: Any, key: str) -> tuple[Any, bool]:
        """A value with its secrets opened, and whether there were any."""
        if isinstance(value, dict) and set(value) == {"secure"}:
            return self._decrypt(str(value["secure"]), key), True
        if isinstance(value, dict):
            parts = {name: self.open(item, f"{key}.{name}") for name, item in value.items()}
            return {name: part for name, (part, _) in parts.items()}, any(s for _, s in parts.values())
        if isinstance(value, list):
            items = [self.open(item, f"{key}[{index}]") for index, item in enumerate(value)]
            return [item for item, _ in items], any(secret for _, secret in items)
        return value, False

    def _decrypt(self, text: str, key: str) -> str:
        if self._key is None:
            if self._closed is not None and not can_unlock(self._document, self._passphrase):
                return self._closed
            self._key = unlock(self._document, self._path, self._passphrase)
        try:
            return _open(text, self._key)
        except (ValueError, InvalidTag, binascii.Error):
            raise ConfigError(f"{self._path}: {key} cannot be decrypted: it was changed by hand?") from None


def find_passphrase(given: str | None) -> str | None:
    """The passphrase that was given, or that the environment names."""
    if given is not None or _VARIABLE in os.environ:
        return given if given is not None else os.environ[_VARIABLE]
    name = os.environ.get(f"{_VARIABLE}_FILE")
    if not name:
        return None
    try:
        return Path(name).read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{_VARIABLE}_FILE names {name}, which cannot be read") from None


def can_unlock(document: Mapping[str, Any], given: str | None) -> bool:
    """Whether a stack's secrets are kept by passphrase, and there is one, right or wrong."""
    provider = document.get("secretsprovider") or "passphrase"
    return provider == "passphrase" and "encryptionsalt" in document and find_passphrase(given) is not None


def unlock(document: Mapping[str, Any], path: Path, given: str | None) -> bytes:
    """The key of a stack's secrets.

    Raises:
        ConfigError: there is no passphrase, it is wrong, or the secrets are kept by a cloud's key service.
    """
    provider = document.get("secretsprovider") or "passphrase"
    if provider != "passphrase" or "encryptionsalt" not in document:
        raise ConfigError(
            f"{path}: its secrets are kept by {provider!r}; the deployer opens secrets by passphrase only "
            "(`pulumi stack change-secrets-provider passphrase`); a preview needs none of them with --offline"
        )
    passphrase = find_passphrase(given)
    if passphrase is None:
        raise ConfigError(
            f"{path} has secrets: set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE "
            "(a preview without any cluster needs none: --offline)"
        )
    try:
        version, salt, proof = str(document["encryptionsalt"]).split(":", 2)
        key = _derive(passphrase, base64.b64decode(salt))
        right = version == "v1" and _open(proof, key) == _PROOF
    except InvalidTag:
        right = False
    except (ValueError, binascii.Error):
        raise ConfigError(f"{path}: encryptionsalt is malformed") from None
    if not right:
        raise ConfigError(f"{path}: the passphrase is wrong")
    return key


def _derive(passphrase: str, salt: bytes) -> bytes:
    return PBKDF2HMAC(hashes.SHA256(), _KEY_BYTES, salt, _ROUNDS).derive(passphrase.encode())


def _open(text: str, key: bytes) -> str:
    version, nonce, data = text.split(":")
    if version != "v1":
        raise ValueError(text)
    return AESGCM(key).decrypt(base64.b64decode(nonce), base64.b64decode(data), None).decode()


def _seal(text: str, key: bytes) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    data = AESGCM(key).encrypt(nonce, text.encode(), None)
    return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(data).decode()}"


def set_secret(project_dir: Path, stack: str, key: str, value: str, passphrase: str | None = None) -> None:
    """Put an encrypted value into a stack's file, as `pulumi config set --secret` does.

    Every other line of the file stays as it is, comments included.

    Raises:
        ConfigError: as for `load_config`.
    """
    project = load_project(project_dir)
    path = project.stack_folder / f"Pulumi.{stack}.yaml"
    document = read_yaml(path) if path.exists() else {}
    text = path.read_text() if path.exists() else ""
    if "encryptionsalt" not in document and not document.get("secretsprovider"):
        words = find_passphrase(passphrase)
        if words is None:
            raise ConfigError(f"set {_VARIABLE} or {_VARIABLE}_FILE first")
        salt = os.urandom(_SALT_BYTES)
        sealed = _derive(words, salt)
        line = f"encryptionsalt: v1:{base64.b64encode(salt).decode()}:{_seal(_PROOF, sealed)}\n"
        text = line + text
    else:
        sealed = unlock(document, path, passphrase)
    entry = [f"  {_full(key, project.name)}:", f"    secure: {_seal(value, sealed)}"]
    temporary = path.with_suffix(".yaml.new")
    try:
        temporary.write_text("\n".join(_put(text.splitlines(), _full(key, project.name), entry)) + "\n")
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def _put(lines: list[str], key: str, entry: list[str]) -> list[str]:
    """The lines with a key of `config` replaced, or added at its end."""
    if "config:" not in [line.rstrip() for line in lines]:
        return [*[line for line in lines if line.strip() != "config: {}"], "config:", *entry]
    start = next(index for index, line in enumerate(lines) if line.rstrip() == "config:") + 1
    end = start
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " #"):
        end += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    pattern = re.compile(rf"""^(\s+)["']?{re.escape(key)}["']?\s*:""")
    for index in range(start, end):
        found = pattern.match(lines[index])
        if found:
            after = index + 1
            while after < end and lines[after].startswith(found[1] + " "):
                after += 1
            fresh = [line.replace("  ", found[1], 1) for line in entry]
            return [*lines[:index], *fresh, *lines[after:]]
    return [*lines[:end], *entry, *lines[end:]]
