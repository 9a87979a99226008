"""The process: follows the document and the endpoints, tells Envoy, answers probes, and drains at the end.

Beside its probes it tells Prometheus `berth_router_refused{what}`: 1 while the router goes on with what it
had, since the document is wrong or cannot be had (document), or others' weights are passed over (weights).
"""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime

from aiohttp import web

from berth_agents.backoff import Backoff
from berth_agents.errors import AgentError
from berth_agents.kube import ClusterAccess, Json, KubeClient
from berth_agents.listening import exposition, listening, probes
from berth_agents.process import stop_event
from berth_agents.reflector import Reflector
from berth_agents.router import held, overlay, resources
from berth_agents.router.delivery import Delivery
from berth_agents.router.document import Document, parse
from berth_agents.router.endpoints import ReadyEndpoints
from berth_agents.router.envoy import Envoy, EnvoySilent
from berth_agents.router.reading import DocumentError
from berth_agents.router.settings import Settings
from berth_agents.router.waiting import WaitingRooms

log = logging.getLogger(__name__)

ENTRY = "router.json"
"""Entry of the ConfigMap that is the document."""
_LOOK_SECONDS = 5.0
_DRAIN_POLL_SECONDS = 0.2


class Controller:
    """One router's controller; `run` runs until it is cancelled."""

    def __init__(self, settings: Settings, client: KubeClient, envoy: Envoy) -> None:
        self._settings, self._envoy = settings, envoy
        self._changed = asyncio.Event()
        self._documents: Reflector[str] = Reflector(
            client,
            f"/api/v1/namespaces/{settings.namespace}/configmaps",
            {"fieldSelector": f"metadata.name={settings.config_map}"},
            _entry,
            lambda _: None,
            on_change=self._changed.set,
        )
        self._overlays: Reflector[str] = Reflector(
            client,
            f"/api/v1/namespaces/{settings.namespace}/configmaps",
            {"fieldSelector": f"metadata.name={settings.config_map}{overlay.SUFFIX}"},
            _weights_entry,
            lambda _: None,
            on_change=self._changed.set,
        )
        self._endpoints = ReadyEndpoints(client, self._changed.set)
        self._delivery = Delivery(settings.folder, envoy)
        self._rooms = WaitingRooms(settings.keys)
        self._document: Document | None = None
        self._text = ""
        self._problem = ""
        self._delivered = False
        self._stopping = False
        self._refused = {"document": False, "weights": False}

    def stop_being_ready(self) -> None:
        """Answer /ready with 503 from now on."""
        self._stopping = True

    async def run(self) -> None:
        """Keep Envoy told until cancelled.

        Raises:
            OSError: a port cannot be listened on.
        """
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            host, port = await stack.enter_async_context(
                listening(self._probes(), settings.host, settings.port)
            )
            log.info("Listening", extra={"host": host, "port": port})
            if settings.load_port is not None:
                telling = held.application(lambda: self._rooms.held)
                host, port = await stack.enter_async_context(
                    listening(telling, settings.host, settings.load_port)
                )
                log.info("Telling what is held", extra={"host": host, "port": port})
            stack.callback(self._endpoints.stop)
            stack.push_async_callback(self._rooms.close)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._documents.run())
                tasks.create_task(self._overlays.run())
                tasks.create_task(self._keep_told())

    async def _keep_told(self) -> None:
        backoff = Backoff()
        while True:
            self._changed.clear()
            try:
                if self._documents.listed:
                    self._read()
                    await self._tell()
            except AgentError as error:
                if str(error) != self._problem:
                    log.error(  # noqa: TRY400 - its message is all there is to say
                        "The router keeps what it had", extra={"error": str(error)}
                    )
                self._problem = str(error)
                self._refused["document"] = True
                retry = backoff.next()
            else:
                self._refused["document"] = False
                backoff.reset()
                retry = _LOOK_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), retry)

    def _read(self) -> None:
        """Take the document over, where it is a new one.

        Raises:
            DocumentError: there is none, or it is wrong; the one before stays.
        """
        text = next(iter(self._documents.objects.values()), "")
        where = f"ConfigMap {self._settings.namespace}/{self._settings.config_map}"
        if not text:
            raise DocumentError(f"{where} does not exist, or has no entry {ENTRY}")
        if text == self._text:
            return
        try:
            document = parse(text)
        except DocumentError as error:
            raise DocumentError(f"{where}, {ENTRY}: {error}") from error
        if self._document and document.listener != self._document.listener:
            log.warning("The listener's settings count for new pods only")
        self._document, self._text = document, text
        self._endpoints.follow(document)

    async def _tell(self) -> None:
        # Weights of others that were never read would be forgotten for a moment at every start.
        if self._document is None or not self._endpoints.known or not self._overlays.listed:
            return
        document, wrong = self._overlaid(self._document)
        self._refused["weights"] = bool(wrong)
        ready = self._endpoints.ready(document)
        await self._rooms.open(document)
        there = {name for name, hosts in ready.items() if hosts}
        self._rooms.asleep(resources.waking(document) - there)
        if await self._delivery.deliver(
            document, ready, self._rooms.hosts, lambda names: self._rooms.let_go(names & there)
        ):
            log.info("Told", extra={"routes": _weights(document)})
        await self._rooms.keep(document)
        self._delivered = True
        if wrong and wrong != self._problem:
            log.error("Weights are passed over", extra={"error": wrong})
        self._problem = wrong

    def _overlaid(self, document: Document) -> tuple[Document, str]:
        """The document with others' weights, and what is wrong with those."""
        text = next(iter(self._overlays.objects.values()), "")
        if not text:
            return document, ""
        try:
            return overlay.overlaid(document, text, datetime.now(UTC)), ""
        except DocumentError as error:
            settings = self._settings
            where = f"ConfigMap {settings.namespace}/{settings.config_map}{overlay.SUFFIX}, {overlay.ENTRY}"
            return document, f"{where}: {error}"

    def _probes(self) -> web.Application:
        application = probes(self._answer_ready)
        application.router.add_get("/metrics", self._answer_metrics)
        return application

    async def _answer_metrics(self, _: web.Request) -> web.Response:
        lines = [
            "# HELP berth_router_refused 1 while the router goes on with what it had",
            "# TYPE berth_router_refused gauge",
            *(f'berth_router_refused{{what="{what}"}} {int(is_so)}' for what, is_so in self._refused.items()),
        ]
        return exposition("\n".join([*lines, ""]))

    async def _answer_ready(self, _: web.Request) -> web.Response:
        reason = ""
        if self._stopping:
            reason = "stopping"
        elif not self._delivered:
            unread = self._documents.problem or self._endpoints.problem or self._overlays.problem
            reason = self._problem or unread or "nothing was delivered yet"
        elif not await self._envoy.is_live():
            reason = "Envoy does not serve"
        # What is wrong with a later document is said, and is no reason to stop serving the former one.
        return web.Response(text=f"{reason or self._problem or 'ready'}\n", status=503 if reason else 200)


def _entry(item: Json) -> str | None:
    return (item.get("data") or {}).get(ENTRY)


def _weights_entry(item: Json) -> str | None:
    return (item.get("data") or {}).get(overlay.ENTRY)


def _weights(document: Document) -> dict[str, dict[str, float]]:
    return {
        route.name: {variant: weight / 100 for variant, weight in route.weights.items()}
        for route in document.routes
    }


async def drain(settings: Settings, envoy: Envoy) -> None:
    """Let every client go: asked to close with its next answer, then waited for.

    Endpoints of Services take some seconds to follow a pod's end, so for `pre_stop_seconds` all goes on.
    """
    loop = asyncio.get_running_loop()
    with contextlib.suppress(EnvoySilent):
        await envoy.fail_health()
    await asyncio.sleep(settings.pre_stop_seconds)
    end = loop.time() + settings.drain_seconds
    try:
        while (active := await envoy.active_requests()) and loop.time() < end:  # noqa: ASYNC110 - another process
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        log.info("Drained", extra={"cut_off": active})
    except EnvoySilent as error:
        log.warning("Envoy is gone before it was drained", extra={"error": str(error)})


async def serve(settings: Settings, access: ClusterAccess) -> None:
    """Run until SIGTERM or SIGINT, then drain.

    Raises:
        OSError: the port cannot be listened on.
    """
    stop = stop_event()
    async with KubeClient(access) as client, Envoy(settings.folder) as envoy:
        # One before this, in the same pod, may have asked it to say good-bye.
        with contextlib.suppress(EnvoySilent):
            await envoy.pass_health()
        controller = Controller(settings, client, envoy)
        running = asyncio.create_task(controller.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            log.info("Stopping")
            controller.stop_being_ready()
            # Pods come and go while clients are waited for, so Envoy is told until the end.
            await drain(settings, envoy)
            running.cancel()
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
