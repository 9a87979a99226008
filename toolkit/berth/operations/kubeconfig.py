"""How to reach a cluster, from a kubeconfig: the address, whom to trust, and how to prove who we are."""

import asyncio
import base64
import binascii
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from berth.operations.errors import KubeconfigError

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """How one user reaches one cluster. Its `repr` shows no credential."""

    server: str
    tls: ssl.SSLContext = field(repr=False)
    headers: dict[str, str] = field(repr=False)


async def read_access(kubeconfig: str, context: str = "") -> Access:
    """Read a kubeconfig.

    Args:
        kubeconfig: path of a file, or the contents of one.
        context: its name; `""` takes the current one.

    Raises:
        KubeconfigError: it is missing or broken, or names what is not there or not supported.
    """
    source, document = _read(kubeconfig)
    name = context or document.get("current-context") or ""
    chosen = _named(document, "contexts", "context", name, source.where)
    cluster = _named(document, "clusters", "cluster", chosen.get("cluster") or "", source.where)
    user = _named(document, "users", "user", chosen["user"], source.where) if chosen.get("user") else {}
    for entry, key in ((cluster, "proxy-url"), (user, "auth-provider"), (user, "as")):
        if entry.get(key):
            raise KubeconfigError(
                f"{source.where} uses {key}, which is not supported here; use another context"
            )
    server = str(cluster.get("server") or "")
    if not server.startswith("https://"):
        raise KubeconfigError(f"{source.where}: server is {server!r}; it must begin with https://")
    if "exec" in user:
        user = await _run_plugin(source, user["exec"])
    return Access(server.rstrip("/"), _tls(source, cluster, user), _headers(source, user))


def context_entry(kubeconfig: str, context: str) -> Json:
    """Return what a kubeconfig says of a context, its extensions too.

    Raises:
        KubeconfigError: it cannot be read, or has no such context.
    """
    source, document = _read(kubeconfig)
    return _named(document, "contexts", "context", context, source.where)


def certificate_of(kubeconfig: str, context: str = "") -> bytes | None:
    """Return the client certificate of a kubeconfig's user, PEM; None where it logs in by other means.

    Raises:
        KubeconfigError: it cannot be read, or has no such context.
    """
    source, document = _read(kubeconfig)
    chosen = _named(
        document, "contexts", "context", context or document.get("current-context") or "", source.where
    )
    user = _named(document, "users", "user", chosen["user"], source.where) if chosen.get("user") else {}
    return source.bytes_of(user, "client-certificate")


def _read(kubeconfig: str) -> tuple["_Source", Json]:
    if "\n" in kubeconfig or kubeconfig.lstrip().startswith("{"):
        source, path = _Source("the given kubeconfig", Path()), None
    else:
        path = Path(kubeconfig).expanduser()
        source = _Source(kubeconfig, path.parent)
    try:
        document = yaml.safe_load(path.read_text() if path else kubeconfig)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{source.where} cannot be read as a kubeconfig: {error}") from error
    if not isinstance(document, dict):
        raise KubeconfigError(f"{source.where} is no kubeconfig: it holds no mapping")
    return source, document


@dataclass(frozen=True, slots=True)
class _Source:
    where: str
    folder: Path

    def bytes_of(self, entry: Json, key: str) -> bytes | None:
        """Return what an entry carries as `<key>-data`, or what is in the file that `<key>` names."""
        try:
            if entry.get(f"{key}-data"):
                return base64.b64decode(entry[f"{key}-data"], validate=True)
            return (self.folder / entry[key]).read_bytes() if entry.get(key) else None
        except (OSError, binascii.Error) as error:
            raise KubeconfigError(f"{self.where}: {key} cannot be read: {error}") from error


def _named(document: Json, collection: str, kind: str, name: str, where: str) -> Json:
    found = {
        entry.get("name"): entry.get(kind)
        for entry in document.get(collection) or []
        if isinstance(entry, dict)
    }
    chosen = found.get(name)
    if not isinstance(chosen, dict):
        names = ", ".join(sorted(str(one) for one in found)) or "none"
        raise KubeconfigError(f"{where} has no {kind} {name!r}; it has: {names}")
    return chosen


def _tls(source: _Source, cluster: Json, user: Json) -> ssl.SSLContext:
    ca = source.bytes_of(cluster, "certificate-authority")
    try:
        context = ssl.create_default_context(cadata=ca.decode() if ca else None)
        # Python 3.13 asks for more than Kubernetes' own clients: many clusters' CAs lack key identifiers.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        certificate = source.bytes_of(user, "client-certificate")
        key = source.bytes_of(user, "client-key")
        if certificate and key:
            # `ssl` reads a key from files only; this one is 0600 and gone at once.
            with tempfile.NamedTemporaryFile() as file:
                file.write(certificate + b"\n" + key)
                file.flush()
                context.load_cert_chain(file.name)
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise KubeconfigError(f"{source.where}: a certificate cannot be used: {error}") from error
    return context


def _headers(source: _Source, user: Json) -> dict[str, str]:
    token = user.get("token")
    if not token and user.get("tokenFile"):
        try:
            token = (source.folder / user["tokenFile"]).read_text().strip()
        except OSError as error:
            raise KubeconfigError(f"{source.where}: tokenFile cannot be read: {error}") from error
    if token:
        return {"Authorization": f"Bearer {token}"}
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


async def _run_plugin(source: _Source, plugin: Json) -> Json:
    """Run a credential plugin, as the clouds' kubeconfigs name one, and return the user it answers with."""
    command = [str(plugin.get("command")), *(str(word) for word in plugin.get("args") or [])]
    environment = {**os.environ, **{one["name"]: str(one["value"]) for one in plugin.get("env") or []}}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(
        {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise KubeconfigError(
            f"{source.where}: the credential plugin {command[0]!r} cannot be started: {error}. "
            f"{plugin.get('installHint') or 'Install it, or use a context without one.'}"
        ) from error
    output, errors = await process.communicate()
    if process.returncode:
        said = errors.decode(errors="replace").strip()[-300:]
        raise KubeconfigError(
            f"{source.where}: the credential plugin {command[0]!r} ended with {process.returncode}: {said}"
        )
    try:
        status = json.loads(output)["status"]
        return {
            "token": status.get("token"),
            "client-certificate-data": _encoded(status.get("clientCertificateData")),
            "client-key-data": _encoded(status.get("clientKeyData")),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KubeconfigError(
            f"{source.where}: the credential plugin {command[0]!r} answered with no ExecCredential: {error}"
        ) from error


def _encoded(pem: str | None) -> str | None:
    return base64.b64encode(pem.encode()).decode() if pem else None
