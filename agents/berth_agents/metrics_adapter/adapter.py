"""The process: listener, pods, and the look at certificate, front proxy and APIService every few seconds."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import aiohttp

from berth_agents.backoff import Backoff
from berth_agents.errors import AgentError
from berth_agents.kube import ClusterAccess, KubeClient
from berth_agents.listening import listening
from berth_agents.metrics_adapter import certificate
from berth_agents.metrics_adapter.api import MetricsApi
from berth_agents.metrics_adapter.apiservice import Registration
from berth_agents.metrics_adapter.frontproxy import read_trust
from berth_agents.metrics_adapter.gateways import Gateways
from berth_agents.metrics_adapter.metrics import AdapterMetrics
from berth_agents.metrics_adapter.readings import GatewayReader, held_by
from berth_agents.metrics_adapter.secret import CertificateSecret
from berth_agents.metrics_adapter.settings import Settings
from berth_agents.metrics_adapter.signal import QueueSignal
from berth_agents.metrics_adapter.tls import ServingTls
from berth_agents.process import until_signalled

log = logging.getLogger(__name__)


class Adapter:
    """One metrics adapter; `run` runs until it is cancelled."""

    def __init__(self, settings: Settings, client: KubeClient, session: aiohttp.ClientSession) -> None:
        self._settings, self._client = settings, client
        # Served until the Secret says otherwise, so that probes are answered from the first moment.
        self._tls = ServingTls(certificate.issue(settings.server_names, datetime.now(UTC)))
        self._secret = CertificateSecret(client, settings)
        self._registration = Registration(client, settings)
        self._reader = GatewayReader(session, settings.gateway_port)
        self._routers = GatewayReader(session, 0, understand=held_by)
        self._gateways = Gateways(client, self._forget)
        queue = QueueSignal(self._gateways, self._reader, self._routers)
        self._metrics = AdapterMetrics(
            self._gateways.count, self._unready, lambda: self._registration.problem
        )
        self._api = MetricsApi(
            queue, self._tls, self._unready, lambda: self._registration.problem, self._metrics.answered
        )
        self._settled = False
        self._stopping = False
        self._problems: dict[str, str] = {}

    def stop_being_ready(self) -> None:
        """Answer /readyz with 503 from now on."""
        self._stopping = True

    def _forget(self, uid: str) -> None:
        self._reader.forget(uid)
        self._routers.forget(uid)

    def _unready(self) -> list[str]:
        """Say everything that stands in the way of being asked.

        Not who owns the APIService: a moved adapter's new pods have to be Ready before a deployment changes
        it, so each would wait for the other.
        """
        found = [self._gateways.problem]
        if not self._settled:
            found.append(
                f"the certificate is not settled: {self._problems.get('certificate', 'not looked at yet')}"
            )
        if self._tls.trust is None:
            found.append(
                f"the front proxy is not known: {self._problems.get('front proxy', 'not looked at yet')}"
            )
        if self._stopping:
            found.append("stopping")
        return [reason for reason in found if reason]

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            OSError: the port cannot be listened on.
            ExceptionGroup: a loop failed in a way nobody foresaw; the process should end and be restarted.
        """
        settings = self._settings
        async with AsyncExitStack() as ports:
            host, port = await ports.enter_async_context(
                listening(self._api.application(), settings.host, settings.port, tls=self._tls.listener)
            )
            log.info("Listening", extra={"host": host, "port": port})
            if settings.metrics_port is not None:
                host, port = await ports.enter_async_context(
                    listening(self._metrics.application(), settings.host, settings.metrics_port)
                )
                log.info("Telling metrics", extra={"host": host, "port": port})
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._gateways.run())
                tasks.create_task(self._look_forever())

    async def _look_forever(self) -> None:
        backoff = Backoff(last=max(1.0, self._settings.look_seconds))
        while True:
            if await self._look():
                backoff.reset()
                await asyncio.sleep(self._settings.look_seconds)
            else:
                await asyncio.sleep(backoff.next())

    async def _look(self) -> bool:
        """Look at everything once, whatever fails; say whether all of it went well."""
        well = await self._attempt("front proxy", self._look_at_front_proxy())
        well &= await self._attempt("certificate", self._look_at_certificate())
        if self._settled:
            well &= await self._attempt("APIService", self._registration.settle(self._tls.material.ca_bundle))
        return well

    async def _attempt(self, what: str, look: Coroutine[Any, Any, None]) -> bool:
        try:
            await look
        except (AgentError, OSError) as error:
            if self._problems.get(what) != str(error):
                log.warning("A look failed; trying again", extra={"at": what, "error": str(error)})
            self._problems[what] = str(error)
            return False
        if self._problems.pop(what, None):
            log.info("A look succeeds again", extra={"at": what})
        return True

    async def _look_at_front_proxy(self) -> None:
        trust = await read_trust(self._client)
        if self._tls.update(trust=trust):
            log.info(
                "Front proxy known", extra={"allowed_names": sorted(trust.names) or "all that its CA signed"}
            )

    async def _look_at_certificate(self) -> None:
        material = await self._secret.settle(self._tls.material)
        if self._tls.update(material=material) or not self._settled:
            log.info("Serving certificate", extra={"valid_until": certificate.expiry(material)})
        self._settled = True


async def serve(settings: Settings, access: ClusterAccess) -> None:
    """Run an adapter until SIGTERM or SIGINT, then let it answer what it was asked.

    Raises:
        OSError: the port cannot be listened on.
    """
    # A fresh connection for each reading: gateways close idle ones at times of their own choosing.
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with (
        KubeClient(access) as client,
        aiohttp.ClientSession(connector=connector, trust_env=False) as session,
    ):
        adapter = Adapter(settings, client, session)
        await until_signalled(adapter.run(), log, adapter.stop_being_ready)
