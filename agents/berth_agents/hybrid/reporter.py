"""The process at each site: tells whoever has the token what its cluster knows of its models."""

import asyncio
import hmac
import logging
import time
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack

import aiohttp
from aiohttp import web

from berth_agents.errors import SettingsError
from berth_agents.hybrid.census import Census
from berth_agents.hybrid.certificate import MountedCertificate
from berth_agents.hybrid.documents import VERSION, Served, served
from berth_agents.hybrid.settings import ReporterSettings, text_of, token_of
from berth_agents.kube import ClusterAccess, KubeClient
from berth_agents.listening import listening, probes
from berth_agents.metrics_adapter.readings import GatewayReader
from berth_agents.process import until_signalled
from berth_agents.router.reading import DocumentError

log = logging.getLogger(__name__)

PATH = "/v1/site"
_SCHEME = "Bearer "
_SECONDS_BETWEEN_REFUSALS_LOGGED = 60.0


class Reporter:
    """One site's reporter; `run` runs until it is cancelled."""

    def __init__(
        self,
        settings: ReporterSettings,
        models: Mapping[str, Served],
        census: Census,
        certificate: MountedCertificate | None,
    ) -> None:
        self._settings, self._models, self._census = settings, models, census
        self._certificate = certificate
        self._refusal_logged = float("-inf")
        self._stopping = False

    def stop_being_ready(self) -> None:
        """Answer /ready with 503 from now on."""
        self._stopping = True

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            OSError: a port cannot be listened on.
        """
        settings = self._settings
        tls = self._certificate.listener if self._certificate else None
        async with AsyncExitStack() as ports:
            host, port = await ports.enter_async_context(
                listening(self._asked(), settings.host, settings.port, tls=tls)
            )
            _, asked_at = await ports.enter_async_context(
                listening(probes(self._ready), settings.host, settings.probes_port)
            )
            log.info(
                "Listening", extra={"host": host, "port": port, "probes": asked_at, "tls": tls is not None}
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._census.pods.run())
                tasks.create_task(self._census.slices.run())
                if self._certificate:
                    tasks.create_task(self._certificate.follow())

    def _asked(self) -> web.Application:
        application = web.Application(client_max_size=1024)
        application.router.add_get(PATH, self._report)
        return application

    async def _report(self, request: web.Request) -> web.Response:
        if refusal := self._refused(request):
            return refusal
        if problem := self._census.problem:
            return _error(503, f"the cluster is not known: {problem}")
        found = await asyncio.gather(*(self._census.of(model) for model in self._models.values()))
        models = dict(zip(self._models, found, strict=True))
        return web.json_response({"version": VERSION, "site": self._settings.site, "models": models})

    def _refused(self, request: web.Request) -> web.Response | None:
        try:
            token = token_of(self._settings.token_file)
        except SettingsError as error:
            log.error("Nobody can ask", extra={"error": str(error)})  # noqa: TRY400 - its message is all there is to say
            return _error(503, "the reporter has no token")
        given = request.headers.get("Authorization", "")
        wanted = f"{_SCHEME}{token}"
        # Digests are of equal length, so that the time tells nothing of the token's.
        if hmac.compare_digest(_digest(given), _digest(wanted)):
            return None
        now = time.monotonic()
        if now - self._refusal_logged > _SECONDS_BETWEEN_REFUSALS_LOGGED:
            self._refusal_logged = now
            log.warning("Refused a caller", extra={"peer": request.remote, "authorized": bool(given)})
        refusal = _error(401, "the token is missing or not the site's")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    async def _ready(self, _: web.Request) -> web.Response:
        reason = "stopping" if self._stopping else self._census.problem
        return web.Response(text=f"{reason or 'ready'}\n", status=503 if reason else 200)


def _digest(text: str) -> bytes:
    return hmac.digest(b"site", text.encode(errors="surrogateescape"), "sha256")


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def serve(settings: ReporterSettings, access: ClusterAccess) -> Coroutine[None, None, None]:
    """What runs until SIGTERM or SIGINT.

    Raises:
        SettingsError: the document or the certificate is wrong.
    """
    try:
        models = served(text_of(settings.document))
    except DocumentError as error:
        raise DocumentError(f"{settings.document}: {error}") from error
    return _serve(settings, access, models, _certificate(settings))


async def _serve(
    settings: ReporterSettings,
    access: ClusterAccess,
    models: Mapping[str, Served],
    certificate: MountedCertificate | None,
) -> None:
    # A fresh connection for each reading: gateways close idle ones at times of their own choosing.
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with (
        KubeClient(access) as client,
        aiohttp.ClientSession(connector=connector, trust_env=False) as session,
    ):
        census = Census(client, settings.namespace, GatewayReader(session, 0))
        reporter = Reporter(settings, models, census, certificate)
        await until_signalled(reporter.run(), log, reporter.stop_being_ready)


def _certificate(settings: ReporterSettings) -> MountedCertificate | None:
    if settings.tls is None:
        return None
    try:
        return MountedCertificate(settings.tls)
    except OSError as error:  # ssl.SSLError is one
        folder = str(settings.tls)
        raise SettingsError(f"BERTH_SITE_TLS is {folder!r}, with no usable certificate: {error}") from error
