"""Where a cluster is and who we are there: kubeconfig files, contexts and credentials."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import datetime as dt
import json
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from .errors import ConfigError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_EXEC_SECONDS = 60.0  # an exec plugin may open a cloud's token endpoint; none needs longer
_EARLY = dt.timedelta(seconds=60)  # renew a token this long before it expires
_TOKEN_FILE_SECONDS = (
    60.0  # bound service account tokens are rotated by the kubelet; client-go rereads as often
)


@dataclass(frozen=True)
class Target:
    """One context of a kubeconfig, resolved. Secrets are kept out of `repr`."""

    server: str
    context: str = ""
    namespace: str = "default"
    source: str = ""
    ca: str = field(default="", repr=False)
    insecure: bool = False
    tls_server_name: str = ""
    proxy: str = field(default="", repr=False)
    client_cert: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""
    basic: tuple[str, str] | None = field(default=None, repr=False)
    plugin: str = field(default="", repr=False)  # the exec section as JSON, so that a Target can be a key
    impersonate: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """How messages name this cluster."""
        name = f"context {self.context!r}" if self.context else "in-cluster"
        return f"{name} ({self.server})"

    def secrets(self) -> list[str]:
        """Everything here that must never be printed."""
        password = self.basic[1] if self.basic else ""
        return [text for text in (self.token, self.client_key, password) if text]


def load(kubeconfig: str | None = None, context: str | None = None, cluster: str | None = None) -> Target:
    """The cluster that a Kubernetes provider means.

    Args:
        kubeconfig: a path, several paths joined by `:`, or the contents of a file; without one
            `$KUBECONFIG`, then `~/.kube/config`, then the pod's own service account.
        context: a context's name; the file's current context without one.
        cluster: a cluster's name that overrides the context's.

    Raises:
        ConfigError: a file, context, cluster or user is missing or malformed.
    """
    if kubeconfig and ("\n" in kubeconfig or kubeconfig.lstrip().startswith("{")):
        merged, source = _merge([(_parse(kubeconfig, "kubeconfig contents"), Path.cwd())]), "contents"
        return _resolve(merged, source, context, cluster)
    paths = kubeconfig or os.environ.get("KUBECONFIG") or ""
    files = [Path(part).expanduser() for part in paths.split(os.pathsep) if part]
    if not files:
        files = [Path("~/.kube/config").expanduser()]
        if not files[0].exists() and (_IN_CLUSTER / "token").exists():
            return _in_cluster()
    source = os.pathsep.join(str(path) for path in files)
    found = [path for path in files if path.exists()]
    if not found:
        if kubeconfig:
            raise ConfigError(
                f"no kubeconfig: {source}, which the provider's `kubeconfig` names, does not exist. Make "
                "that file, or name another one there (a path or the contents); KUBECONFIG is not read then."
            )
        raise ConfigError(
            f"no kubeconfig: {source} does not exist. Set the provider's `kubeconfig` (a path or the "
            "contents), the config key kubernetes:kubeconfig, or the variable KUBECONFIG."
        )
    merged = _merge([(_parse(_read(path), str(path)), path.parent) for path in found])
    return _resolve(merged, source, context, cluster)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {_why(error)}") from None


def _why(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{source} is not YAML{where}; expected a kubeconfig") from None
    if not isinstance(document, dict) or "clusters" not in document:
        raise ConfigError(f"{source} is not a kubeconfig: it has no `clusters`")
    return document


def _merge(documents: list[tuple[dict[str, Any], Path]]) -> dict[str, Any]:
    """One kubeconfig from several, as kubectl does it: the first to set a name wins."""
    merged: dict[str, Any] = {"clusters": {}, "users": {}, "contexts": {}, "current-context": ""}
    for document, folder in documents:
        merged["current-context"] = merged["current-context"] or document.get("current-context") or ""
        for plural, singular in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
            for entry in document.get(plural) or []:
                merged[plural].setdefault(entry.get("name"), (entry.get(singular) or {}, folder))
    return merged


def _pick(merged: Mapping[str, Any], plural: str, name: str, source: str) -> tuple[dict[str, Any], Path]:
    if name not in merged[plural]:
        known = ", ".join(sorted(str(key) for key in merged[plural])) or "none"
        raise ConfigError(f"kubeconfig ({source}) has no {plural[:-1]} {name!r}; it has: {known}")
    entry: tuple[dict[str, Any], Path] = merged[plural][name]
    return entry


def _resolve(merged: Mapping[str, Any], source: str, context: str | None, cluster: str | None) -> Target:
    name = context or merged["current-context"]
    if not name:
        known = ", ".join(sorted(merged["contexts"])) or "none"
        raise ConfigError(
            f"kubeconfig ({source}) has no current context; set the provider's `context` to one of: {known}"
        )
    chosen, _ = _pick(merged, "contexts", name, source)
    entry, folder = _pick(merged, "clusters", cluster or chosen.get("cluster") or "", source)
    if urlsplit(str(entry.get("server"))).scheme not in {"http", "https"}:
        raise ConfigError(
            f"kubeconfig ({source}): the cluster of context {name!r} has server {entry.get('server')!r}; "
            "expected https://address:port"
        )
    user, user_folder = _pick(merged, "users", chosen["user"], source) if chosen.get("user") else ({}, folder)
    if "auth-provider" in user:
        raise ConfigError(
            f"kubeconfig ({source}): user {chosen['user']!r} uses auth-provider, which Kubernetes removed in "
            "1.26; use an exec plugin (for Google Cloud: gke-gcloud-auth-plugin)"
        )
    return Target(
        server=str(entry["server"]).rstrip("/"),
        context=name,
        namespace=chosen.get("namespace") or "default",
        source=source,
        ca=_material(entry, "certificate-authority", folder),
        insecure=bool(entry.get("insecure-skip-tls-verify")),
        tls_server_name=entry.get("tls-server-name") or "",
        proxy=entry.get("proxy-url") or "",
        client_cert=_material(user, "client-certificate", user_folder),
        client_key=_material(user, "client-key", user_folder),
        token=user.get("token") or "",
        token_file=str(user_folder / user["tokenFile"]) if user.get("tokenFile") else "",
        basic=(user["username"], user.get("password") or "") if user.get("username") else None,
        plugin=json.dumps(_plugin(user["exec"], user_folder)) if user.get("exec") else "",
        impersonate=_impersonation(user),
    )


def _material(entry: Mapping[str, Any], key: str, folder: Path) -> str:
    """A certificate or key, given inline as base64 or as a file beside the kubeconfig."""
    if entry.get(f"{key}-data"):
        try:
            return base64.b64decode(entry[f"{key}-data"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ConfigError(f"kubeconfig: {key}-data is not base64 of a PEM file") from None
    return _read(folder / entry[key]) if entry.get(key) else ""


def _plugin(section: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    command = section.get("command") or ""
    if os.sep in command and not Path(command).is_absolute():
        command = str(folder / command)
    return {**section, "command": command}


def _impersonation(user: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    headers = [("Impersonate-User", user["as"])] if user.get("as") else []
    headers += [("Impersonate-Uid", user["as-uid"])] if user.get("as-uid") else []
    headers += [("Impersonate-Group", group) for group in user.get("as-groups") or []]
    return tuple(headers)


def _in_cluster() -> Target:
    host, port = (
        os.environ.get("KUBERNETES_SERVICE_HOST", ""),
        os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
    )
    if not host:
        raise ConfigError("this pod has a service account token, but KUBERNETES_SERVICE_HOST is not set")
    return Target(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=_read(_IN_CLUSTER / "namespace").strip(),
        source="in-cluster",
        ca=_read(_IN_CLUSTER / "ca.crt"),
        token_file=str(_IN_CLUSTER / "token"),
    )


class Credentials:
    """The headers and the TLS context for one target; renews what expires."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._token = target.token
        self._cert, self._key = target.client_cert, target.client_key
        self._expires: float | None = None  # in the event loop's time
        self._started = not (target.plugin or target.token_file)
        self._lock = asyncio.Lock()
        self.secrets: list[str] = target.secrets()

    async def headers(self) -> dict[str, str]:
        """The headers that say who we are."""
        await self._fresh()
        if self._token:
            return {"Authorization": f"Bearer {self._token}"}
        if self._target.basic:
            pair = ":".join(self._target.basic).encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        return {}

    def forget(self) -> bool:
        """Drop what was obtained, after a 401; whether asking again can help."""
        self._started = False
        return bool(self._target.plugin or self._target.token_file)

    async def _fresh(self) -> None:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._started and (self._expires is None or now < self._expires):
                return
            if self._target.token_file:
                self._token = _read(Path(self._target.token_file)).strip()
                self._expires = now + _TOKEN_FILE_SECONDS
            elif self._target.plugin:
                await self._ask_plugin(now)
            self._started = True
            self.secrets.append(self._token)

    async def _ask_plugin(self, now: float) -> None:
        status = await run_plugin(json.loads(self._target.plugin), self._target)
        self._token = status.get("token") or ""
        self._cert = status.get("clientCertificateData") or self._cert
        self._key = status.get("clientKeyData") or self._key
        self.secrets.append(self._key)
        self._expires = None
        if stamp := status.get("expirationTimestamp"):
            left = dt.datetime.fromisoformat(stamp) - dt.datetime.now(dt.UTC) - _EARLY
            self._expires = now + max(left.total_seconds(), 1.0)

    async def tls(self) -> ssl.SSLContext | bool:
        """The TLS context: the target's CA, and our certificate where there is one."""
        await self._fresh()
        try:
            context = ssl.create_default_context(cadata=self._target.ca or None)
            if self._target.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self._cert and self._key:
                _load_pair(context, self._cert, self._key)
        except ssl.SSLError as error:
            raise ConfigError(
                f"{self._target.label}: certificate or key is not usable: {error.reason}"
            ) from None
        return context


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Give the context a certificate; OpenSSL reads files only, so a private one exists for a moment."""
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
            pair.write(f"{cert}\n{key}\n")
            pair.flush()
            context.load_cert_chain(pair.name)
    except ssl.SSLError:
        raise
    except OSError as error:
        raise ConfigError(
            f"cannot write a temporary file in {tempfile.gettempdir()}: {_why(error)}"
        ) from None


async def run_plugin(section: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Run a kubeconfig's exec plugin and return the `status` of its ExecCredential.

    Raises:
        ConfigError: the command is missing, or what it prints is not an ExecCredential.
        Unreachable: it failed or took longer than 60 s.
    """
    command = section["command"]
    spec: dict[str, Any] = {"interactive": False}
    if section.get("provideClusterInfo"):
        ca = base64.b64encode(target.ca.encode()).decode()
        spec["cluster"] = {"server": target.server, "certificate-authority-data": ca}
    info = {"apiVersion": section.get("apiVersion"), "kind": "ExecCredential", "spec": spec}
    given = {item["name"]: item["value"] for item in section.get("env") or []}
    environment = {**os.environ, **given, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *(section.get("args") or []),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        hint = section.get("installHint") or "install it, or use another user in the kubeconfig"
        raise ConfigError(f"{target.label}: cannot run {command!r}: {_why(error)}; {hint}") from None
    try:
        async with asyncio.timeout(_EXEC_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise Unreachable(f"{target.label}: {command!r} gave no token within {_EXEC_SECONDS:.0f} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise Unreachable(
            f"{target.label}: {command!r} failed with exit code {process.returncode}: {last[0]}"
        )
    try:
        status: dict[str, Any] = json.loads(out)["status"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{target.label}: {command!r} did not print an ExecCredential") from None
    return status
