"""A stand-in API server for agents that follow collections: it can be broken, and told what is there."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents.router_world import Gateway

Json = dict[str, Any]
CONFIG_MAPS = "/api/v1/namespaces/models/configmaps"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/models/endpointslices"
PODS = "/api/v1/namespaces/models/pods"


@dataclass
class Api:
    """Lists, watches, single objects and server-side apply of some collections."""

    port: int = 0
    items: dict[str, dict[str, Json]] = field(default_factory=lambda: {CONFIG_MAPS: {}, SLICES: {}, PODS: {}})
    asked: list[Any] = field(default_factory=list)
    applied: list[tuple[str | None, Json]] = field(default_factory=list)
    broken: bool = False
    _version: int = 1
    _watchers: list[tuple[str, str, asyncio.Queue[Json | None]]] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    async def start(self, certificate: Path) -> None:
        app = web.Application()
        for path in self.items:
            app.router.add_get(path, self._collection)
            app.router.add_get(f"{path}/{{name}}", self._one)
            app.router.add_patch(f"{path}/{{name}}", self._apply)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for *_, queue in self._watchers:
            queue.put_nowait(None)
        if self._runner:
            await self._runner.cleanup()

    def put(self, path: str, name: str, item: Json) -> None:
        self._version += 1
        metadata = {"name": name, "uid": name, "resourceVersion": str(self._version)}
        whole = {**item, "metadata": {**item.get("metadata", {}), **metadata}}
        kind = "MODIFIED" if name in self.items[path] else "ADDED"
        self.items[path][name] = whole
        for watched, wanted, queue in self._watchers:
            if watched == path and wanted in {"", name}:
                queue.put_nowait({"type": kind, "object": whole})

    def weigh(self, text: str) -> None:
        self.put(CONFIG_MAPS, "front-weights", {"data": {"weights.json": text}})

    def tell(self, **parts: Any) -> None:
        self.put(CONFIG_MAPS, "front", {"data": {"router.json": parts.pop("text", json.dumps(parts))}})

    def pods(self, service: str, *gateways: Gateway, ready: bool = True) -> None:
        # Stand-ins share an address, so each has a slice with its own port.
        for gateway in gateways:
            self.put(
                SLICES,
                f"{service}-{gateway.name}",
                {
                    "metadata": {"labels": {"kubernetes.io/service-name": service}},
                    "addressType": "IPv4",
                    "ports": [{"name": "http", "port": gateway.port}, {"name": "metrics", "port": 1}],
                    "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": ready}}],
                },
            )

    def remove(self, path: str, name: str) -> None:
        self._version += 1
        gone = self.items[path].pop(name)
        gone["metadata"]["resourceVersion"] = str(self._version)
        for watched, wanted, queue in self._watchers:
            if watched == path and wanted in {"", name}:
                queue.put_nowait({"type": "DELETED", "object": gone})

    async def _one(self, request: web.Request) -> web.StreamResponse:
        path, _, name = request.path.rpartition("/")
        if self.broken or name not in self.items[path]:
            return web.json_response({"reason": "NotFound"}, status=500 if self.broken else 404)
        return web.json_response(self.items[path][name])

    async def _apply(self, request: web.Request) -> web.StreamResponse:
        """Server-side apply to what exists; who may only patch cannot make it."""
        path, _, name = request.path.rpartition("/")
        body = json.loads(await request.read())
        assert request.content_type == "application/apply-patch+yaml"
        self.applied.append((request.query.get("fieldManager"), body))
        if self.broken or name not in self.items[path]:
            return web.json_response({"reason": "Forbidden"}, status=500 if self.broken else 403)
        before = self.items[path][name]
        self.put(path, name, {**before, "data": {**before.get("data", {}), **body["data"]}})
        return web.json_response(self.items[path][name])

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, request.query.get("fieldSelector")))
        if self.broken:
            return web.json_response({"reason": "InternalError"}, status=500)
        wanted = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        items = [item for name, item in self.items[request.path].items() if wanted in {"", name}]
        if request.query.get("watch") != "true":
            metadata = {"resourceVersion": str(self._version)}
            return web.json_response({"metadata": metadata, "items": items})
        queue: asyncio.Queue[Json | None] = asyncio.Queue()
        since = int(request.query["resourceVersion"])
        for item in items:
            if int(item["metadata"]["resourceVersion"]) > since:
                queue.put_nowait({"type": "MODIFIED", "object": item})
        self._watchers.append((request.path, wanted, queue))
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while event := await queue.get():
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self._watchers.remove((request.path, wanted, queue))
        return response
