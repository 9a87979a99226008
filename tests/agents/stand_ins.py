"""Stand-ins for what the metrics adapter talks to, on real sockets: gateways, and parts of an API server.

The stand-in API server is for what a real one cannot be brought to do at will (an expired watch, a lost
race); test_adapter_cluster.py runs the adapter against the real one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

Json = dict[str, Any]
NAMESPACE, SERVICE = "berth-system", "berth-metrics-adapter"
ROUTER_LABELS = {"berth.dev/queue-metrics": "router", "app.kubernetes.io/instance": "front"}
LABELS = {"berth.dev/queue-metrics": "true", "app.kubernetes.io/instance": "chat"}


class Authority:
    """A certificate authority of a test, with the files that it signs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._subject, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.file = folder / f"{name}.crt"
        self.file.write_text(self.pem)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def sign(self, common_name: str, *, server: bool = False) -> Path:
        """Return a file with a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]), key)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if server:
            names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        pem += key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._folder / f"{self._name}-{common_name}.pem"
        file.write_bytes(pem)
        return file


@dataclass
class StandInGateway:
    """A gateway's metrics port. `mode`: ok, hang, error, garbage or down."""

    address: str
    port: int
    depth: int = 0
    running: int = 0
    mode: str = "ok"
    asked: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/load", self._load)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, self.port).start()

    async def stop(self) -> None:
        self._released.set()
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _load(self, _: web.Request) -> web.Response:
        self.asked += 1
        match self.mode:
            case "hang":
                await self._released.wait()
            case "error":
                return web.Response(status=500)
            case "garbage":
                return web.json_response({"berth_queue_depth": "many", "berth_running_requests": 1})
            case "huge":
                return web.Response(body=b" " * 1_000_000)
        return web.json_response(
            {
                "berth_queue_depth": self.depth,
                "berth_running_requests": self.running,
                "slots": 4,
                "draining": False,
            }
        )


@dataclass
class StandInRouter:
    """Where a router tells what it holds. `mode`: ok, hang or garbage."""

    address: str
    held: dict[str, int] = field(default_factory=dict)
    port: int = 0
    mode: str = "ok"
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/load", self._load)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self._released.set()
        if self._runner:
            await self._runner.cleanup()

    async def _load(self, _: web.Request) -> web.Response:
        match self.mode:
            case "hang":
                await self._released.wait()
            case "garbage":
                return web.json_response({"held": {"chat": "many"}})
        return web.json_response({"held": self.held})


def pod(
    name: str,
    address: str,
    *,
    namespace: str = "models",
    ready: bool = True,
    labels: dict[str, str] | None = None,
    terminating: bool = False,
    load_port: int | None = None,
) -> Json:
    """Return a pod as an API server shows it."""
    metadata: Json = {
        "uid": f"uid-{namespace}-{name}",
        "name": name,
        "namespace": namespace,
        "labels": LABELS if labels is None else labels,
        # Managed fields are most of a real pod; 100 kB shows that long lines are read.
        "annotations": {"padding": "x" * 100_000},
    }
    if terminating:
        metadata["deletionTimestamp"] = "2026-11-01T00:00:00Z"
    load = [{"name": "load", "containerPort": load_port}] if load_port else []
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8000}, *load]}]},
        "status": {"podIP": address, "conditions": conditions},
    }


@dataclass
class StandInKube:
    """The parts of an API server that the adapter calls. Failures are switched on by name in `failing`."""

    token: str
    port: int = 0
    pods: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, Json] = field(default_factory=dict)
    apiservice: Json | None = None
    config_map: Json = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    lists: int = 0
    watches: int = 0
    bookmarks: bool = True
    applies: list[tuple[str | None, Json]] = field(default_factory=list)
    version: int = 100
    _events: list[tuple[int, Json]] = field(default_factory=list)
    _listeners: list[asyncio.Queue[Json | None]] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    async def start(self, certificate: Path) -> None:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/api/v1/pods", self._pods)
        app.router.add_get("/api/v1/namespaces/kube-system/configmaps/{name}", self._get_config_map)
        app.router.add_get("/api/v1/namespaces/{ns}/secrets/{name}", self._get_secret)
        app.router.add_post("/api/v1/namespaces/{ns}/secrets", self._post_secret)
        app.router.add_put("/api/v1/namespaces/{ns}/secrets/{name}", self._put_secret)
        app.router.add_get("/apis/apiregistration.k8s.io/v1/apiservices/{name}", self._get_apiservice)
        app.router.add_patch("/apis/apiregistration.k8s.io/v1/apiservices/{name}", self._apply_apiservice)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for listener in self._listeners:
            listener.put_nowait(None)
        if self._runner:
            await self._runner.cleanup()

    def put(self, item: Json) -> None:
        kind = "MODIFIED" if item["metadata"]["uid"] in self.pods else "ADDED"
        self.pods[item["metadata"]["uid"]] = item
        self._tell(kind, item)

    def remove(self, item: Json) -> None:
        del self.pods[item["metadata"]["uid"]]
        self._tell("DELETED", item)

    def expire_watches(self) -> None:
        """End every watch as an API server does that no longer knows the version."""
        for listener in self._listeners:
            listener.put_nowait(
                {
                    "type": "ERROR",
                    "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
                }
            )

    def cut_watches(self) -> None:
        for listener in self._listeners:
            listener.put_nowait(None)

    def own_apiservice(self, namespace: str = NAMESPACE, service: str = SERVICE) -> None:
        self.version += 1
        self.apiservice = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {
                "name": "v1beta1.external.metrics.k8s.io",
                "uid": f"apiservice-{self.version}",
                "resourceVersion": str(self.version),
            },
            "spec": {"service": {"namespace": namespace, "name": service}},
        }

    def _tell(self, kind: str, item: Json) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        event = {"type": kind, "object": item}
        self._events.append((self.version, event))
        for listener in self._listeners:
            listener.put_nowait(event)

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        for name in self.failing:
            if name in request.path:
                return _status(500, "InternalError")
        return await handler(request)

    async def _pods(self, request: web.Request) -> web.StreamResponse:
        assert request.query["labelSelector"] == "berth.dev/queue-metrics in (true,router)"
        if request.query.get("watch") != "true":
            self.lists += 1
            limit, start = int(request.query["limit"]), int(request.query.get("continue", "0"))
            # Two a page, so that every list here has pages.
            limit = min(limit, 2)
            items = list(self.pods.values())
            more = start + limit < len(items)
            metadata = {
                "resourceVersion": str(self.version),
                **({"continue": str(start + limit)} if more else {}),
            }
            return web.json_response({"metadata": metadata, "items": items[start : start + limit]})
        self.watches += 1
        listener: asyncio.Queue[Json | None] = asyncio.Queue()
        for version, event in self._events:
            if version > int(request.query["resourceVersion"]):
                listener.put_nowait(event)
        self._listeners.append(listener)
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            bookmark = {"metadata": {"resourceVersion": request.query["resourceVersion"]}, "kind": "Pod"}
            if self.bookmarks:
                await response.write(json.dumps({"type": "BOOKMARK", "object": bookmark}).encode() + b"\n")
            while event := await listener.get():
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self._listeners.remove(listener)
        return response

    async def _get_config_map(self, _: web.Request) -> web.Response:
        return web.json_response(self.config_map)

    async def _get_secret(self, request: web.Request) -> web.Response:
        found = self.secrets.get(request.match_info["name"])
        return web.json_response(found) if found else _status(404, "NotFound")

    async def _post_secret(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["metadata"]["name"] in self.secrets:
            return _status(409, "AlreadyExists")
        return self._store(body)

    async def _put_secret(self, request: web.Request) -> web.Response:
        body = await request.json()
        found = self.secrets.get(request.match_info["name"])
        if not found or found["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            return _status(409, "Conflict")
        return self._store(body)

    def _store(self, body: Json) -> web.Response:
        self.version += 1
        stored: Json = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        self.secrets[body["metadata"]["name"]] = stored
        return web.json_response(stored)

    async def _get_apiservice(self, _: web.Request) -> web.Response:
        return web.json_response(self.apiservice) if self.apiservice else _status(404, "NotFound")

    async def _apply_apiservice(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/apply-patch+yaml"
        body = json.loads(await request.read())
        found = self.apiservice
        if not found or body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            return _status(409, "Conflict")
        self.applies.append((request.query.get("fieldManager"), body))
        found["spec"].update(body["spec"])
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        return web.json_response(found)


def _status(code: int, reason: str) -> web.Response:
    return web.json_response(
        {"kind": "Status", "code": code, "reason": reason, "message": reason}, status=code
    )
