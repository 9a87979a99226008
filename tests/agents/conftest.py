"""A stand-in cluster with gateways, and adapters that run in it as processes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import ssl
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.agents.stand_ins import (
    NAMESPACE,
    ROUTER_LABELS,
    SERVICE,
    Authority,
    Json,
    StandInGateway,
    StandInKube,
    StandInRouter,
    pod,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

API = "/apis/external.metrics.k8s.io/v1beta1"


@dataclass
class AdapterProcess:
    """The adapter, as a process; asked as the API server's front proxy asks it."""

    process: asyncio.subprocess.Process
    port: int
    log: list[Json]
    _kube: StandInKube
    _certificate: Path

    async def get(
        self, path: str, *, certificate: Path | None = None, anonymous: bool = False, verify: bool = False
    ) -> tuple[int, Any]:
        """Ask over a connection of its own; return the status and the body (parsed where it is JSON)."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if verify:
            context = ssl.create_default_context(cadata=self.trusted())
        if not anonymous:
            context.load_cert_chain(certificate or self._certificate)
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"https://127.0.0.1:{self.port}{path}",
                ssl=context,
                server_hostname=f"{SERVICE}.{NAMESPACE}.svc",
                timeout=aiohttp.ClientTimeout(total=10),
            ) as response,
        ):
            return response.status, (
                await response.json()
                if response.content_type == "application/json"
                else await response.text()
            )

    def trusted(self) -> str:
        """Return the CA that the APIService trusts; nothing as long as it trusts none."""
        assert self._kube.apiservice
        return base64.b64decode(self._kube.apiservice["spec"].get("caBundle", "")).decode()

    async def metric(
        self, metric: str = "berth_queue_depth", namespace: str = "models", **selector: str
    ) -> Any:
        wanted = ",".join(f"{key}={value}" for key, value in selector.items())
        return await self.get(f"{API}/namespaces/{namespace}/{metric}?labelSelector={wanted}")

    async def value(self, metric: str = "berth_queue_depth", **selector: str) -> int | None:
        status, body = await self.metric(metric, **selector)
        return int(body["items"][0]["value"]) if status == 200 else None

    async def ready(self) -> bool:
        try:
            return (await self.get("/readyz", anonymous=True))[0] == 200
        except aiohttp.ClientError:
            return False

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@dataclass
class World:
    """A stand-in cluster with its gateways, and adapters that run in it."""

    folder: Path
    kube: StandInKube
    proxy: Authority
    gateway_port: int
    stack: AsyncExitStack
    _readers: list[asyncio.Task[None]] = field(default_factory=list)

    async def gateway(self, number: int, **pod_fields: Any) -> StandInGateway:
        """Start a gateway on 127.0.0.<number> and put its Ready pod into the cluster."""
        gateway = StandInGateway(f"127.0.0.{number}", self.gateway_port)
        await gateway.start()
        self.stack.push_async_callback(gateway.stop)
        self.kube.put(pod(f"gateway-{number}", gateway.address, **pod_fields))
        return gateway

    async def router(self, number: int, **pod_fields: Any) -> StandInRouter:
        """Start a router that holds requests, on 127.0.0.<number>, and put its Ready pod into the cluster."""
        router = StandInRouter(f"127.0.0.{number}")
        await router.start()
        self.stack.push_async_callback(router.stop)
        fields = {"labels": ROUTER_LABELS, "load_port": router.port, **pod_fields}
        self.kube.put(pod(f"router-{number}", router.address, **fields))
        return router

    def trust_proxy(self, authority: Authority, names: list[str]) -> None:
        """Publish the front proxy as an API server does."""
        self.kube.config_map = {
            "data": {
                "requestheader-client-ca-file": authority.pem,
                "requestheader-allowed-names": json.dumps(names),
            }
        }

    async def adapter(self, *, certificate: Path | None = None, ready: bool = True) -> AdapterProcess:
        """Start an adapter and wait until it listens and, unless told otherwise, is ready."""
        environment = {
            **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
            "KUBERNETES_SERVICE_HOST": "localhost",
            "KUBERNETES_SERVICE_PORT": str(self.kube.port),
            "BERTH_SERVICE_ACCOUNT_DIR": str(self.folder),
            "BERTH_ADAPTER_NAMESPACE": NAMESPACE,
            "BERTH_ADAPTER_SERVICE": SERVICE,
            "BERTH_ADAPTER_HOST": "127.0.0.1",
            "BERTH_ADAPTER_PORT": "0",
            "BERTH_ADAPTER_METRICS_PORT": "0",
            "BERTH_ADAPTER_GATEWAY_PORT": str(self.gateway_port),
            "BERTH_ADAPTER_LOOK_SECONDS": "0.2",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "berth_agents.metrics_adapter",
            env=environment,
            stderr=asyncio.subprocess.PIPE,
        )
        log: list[Json] = []
        listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        telling: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def read() -> None:
            assert process.stderr
            async for line in process.stderr:
                entry = json.loads(line)
                log.append(entry)
                if entry["message"] == "Telling metrics":
                    telling.set_result(entry["port"])
                if entry["message"] == "Listening":
                    listening.set_result(entry["port"])

        self._readers.append(asyncio.create_task(read()))
        port = await asyncio.wait_for(listening, 20)
        adapter = AdapterProcess(
            process, port, log, self.kube, certificate or self.proxy.sign("front-proxy-client")
        )
        adapter.metrics_port = await asyncio.wait_for(telling, 20)
        self.stack.push_async_callback(adapter.stop)
        if ready:
            await until(adapter.ready)
        return adapter


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
    """Wait for a condition to hold and return what it gave."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.05)
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Give a stand-in cluster that trusts a front proxy and has our APIService."""
    authority = Authority(tmp_path, "ca")
    (tmp_path / "token").write_text("token-1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gateway_port = probe.getsockname()[1]
    kube = StandInKube("token-1")
    await kube.start(authority.sign("localhost", server=True))
    kube.own_apiservice()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(kube.stop)
        made = World(tmp_path, kube, Authority(tmp_path, "front-proxy-ca"), gateway_port, stack)
        made.trust_proxy(made.proxy, ["front-proxy-client"])
        yield made
    await asyncio.gather(*made._readers)


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
    """Give the function that waits for a condition."""
    return until


@pytest.fixture
def make_pod() -> Callable[..., Json]:
    """Give the function that makes pods."""
    return pod


@pytest.fixture
def authority(tmp_path: Path) -> Callable[[str], Authority]:
    """Give a maker of certificate authorities."""
    return lambda name: Authority(tmp_path, name)


@pytest.fixture
def run_adapter() -> Callable[[dict[str, str]], Awaitable[tuple[int, str]]]:
    """Give a function that runs the adapter to its end with these variables alone."""

    async def run(variables: dict[str, str]) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "berth_agents.metrics_adapter",
            env=variables,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        return process.returncode or 0, errors.decode()

    return run
