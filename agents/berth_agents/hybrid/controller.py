"""The process beside the router: hears the sites, decides, and writes weights."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import aiohttp
from aiohttp import web

from berth_agents.backoff import Backoff
from berth_agents.errors import KubeError
from berth_agents.hybrid import metrics
from berth_agents.hybrid.asking import Ear
from berth_agents.hybrid.decision import Decision, Past, decide
from berth_agents.hybrid.documents import Hybrid, hybrid
from berth_agents.hybrid.settings import ControllerSettings, text_of
from berth_agents.hybrid.weights import LAST_SECONDS, RENEW_SECONDS, WeightsMap
from berth_agents.kube import ClusterAccess, KubeClient
from berth_agents.listening import exposition, listening, probes
from berth_agents.process import until_signalled
from berth_agents.router.reading import DocumentError

log = logging.getLogger(__name__)


class Controller:
    """One router's controller of sites; `run` runs until it is cancelled, and leaves the weights."""

    def __init__(
        self, settings: ControllerSettings, what: Hybrid, ears: Sequence[Ear], weights: WeightsMap
    ) -> None:
        self._settings, self._hybrid, self._ears, self._weights = settings, what, ears, weights
        self._told = metrics.Told(what)
        self._past = Past()
        self._written: dict[str, int] | None = None
        self._written_at = float("-inf")
        self._problem = "nothing was written yet"
        self._stopping = False

    def stop_being_ready(self) -> None:
        """Answer /ready with 503 from now on."""
        self._stopping = True

    async def run(self) -> None:
        """Divide until cancelled.

        Raises:
            OSError: a port cannot be listened on.
        """
        settings = self._settings
        async with AsyncExitStack() as ports:
            host, told = await ports.enter_async_context(
                listening(self._telling(), settings.host, settings.metrics_port)
            )
            _, asked_at = await ports.enter_async_context(
                listening(probes(self._ready), settings.host, settings.probes_port)
            )
            log.info("Listening", extra={"host": host, "port": told, "probes": asked_at})
            async with asyncio.TaskGroup() as tasks:
                for ear in self._ears:
                    tasks.create_task(ear.run())
                tasks.create_task(self._divide())

    async def _divide(self) -> None:
        # Without what is in force every start would send everything home at once.
        self._past = Past(await self._in_force())
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            heard = {ear.name: ear.heard() for ear in self._ears}
            before = self._told.decision
            decision = decide(self._hybrid.sites, self._hybrid.policy, heard, self._past)
            self._past, self._told.heard, self._told.decision = decision.past, heard, decision
            self._told.decisions[decision.reason] += 1
            _say(before, decision)
            await self._keep_written(dict(decision.weights))
            await asyncio.sleep(max(0.0, began + self._hybrid.every_seconds - loop.time()))

    async def _in_force(self) -> dict[str, int]:
        backoff = Backoff()
        while True:
            try:
                found = await self._weights.read(datetime.now(UTC))
            except KubeError as error:
                self._failed("The weights in force are not known", error)
                await asyncio.sleep(backoff.next())
            else:
                log.info("Begins", extra={"weights": _percent(found) or "as the router's document says"})
                return found

    async def _keep_written(self, weights: dict[str, int]) -> None:
        now = time.monotonic()
        if weights == self._written and now - self._written_at < RENEW_SECONDS:
            return
        try:
            await self._weights.write(weights, datetime.now(UTC))
        except KubeError as error:
            self._failed("The weights could not be written", error)
            return
        if self._problem:
            log.info("Written", extra={"weights": _percent(weights)})
        self._written, self._written_at, self._problem = weights, now, ""
        self._told.written = time.time()

    def _failed(self, what: str, error: KubeError) -> None:
        if str(error) != self._problem:
            log.error(what, extra={"error": str(error)})
        self._problem = str(error)

    def _telling(self) -> web.Application:
        async def tell(_: web.Request) -> web.Response:
            return exposition(metrics.render(self._told))

        application = web.Application(client_max_size=1024)
        application.router.add_get("/metrics", tell)
        return application

    async def _ready(self, _: web.Request) -> web.Response:
        """Ready while its weights count; what is wrong with a site is said, and no reason not to be."""
        reason = ""
        if self._stopping:
            reason = "stopping"
        elif time.monotonic() - self._written_at > LAST_SECONDS:
            reason = self._problem or "its weights have ended"
        silent = "".join(f"{ear.name} is silent: {ear.problem}\n" for ear in self._ears if ear.problem)
        return web.Response(text=f"{reason or 'ready'}\n{silent}", status=503 if reason else 200)


def _say(before: Decision | None, now: Decision) -> None:
    same = before and before.weights == now.weights and before.capped == now.capped
    if same:
        return
    log.info(
        "Decided",
        extra={
            "reason": now.reason,
            "words": now.words,
            "weights": _percent(now.weights),
            "cost_per_hour": round(now.cost_per_hour, 4),
            "capped": now.capped,
        },
    )


def _percent(weights: Mapping[str, int]) -> dict[str, float]:
    return {name: share / 100 for name, share in weights.items()}


def serve(settings: ControllerSettings, access: ClusterAccess) -> Coroutine[None, None, None]:
    """What runs until SIGTERM or SIGINT.

    Raises:
        SettingsError: the document is wrong.
    """
    try:
        what = hybrid(text_of(settings.document))
    except DocumentError as error:
        raise DocumentError(f"{settings.document}: {error}") from error
    return _serve(settings, access, what)


async def _serve(settings: ControllerSettings, access: ClusterAccess, what: Hybrid) -> None:
    # A reporter closes idle connections after 75 s; who closes first never meets one that just closed.
    connector = aiohttp.TCPConnector(keepalive_timeout=30, limit=0)
    async with (
        KubeClient(access, timeout_seconds=5) as client,
        aiohttp.ClientSession(connector=connector, trust_env=False) as session,
    ):
        ears = [
            Ear(place, what.model, settings.token_file, session, every=what.every_seconds)
            for place in what.places
        ]
        controller = Controller(settings, what, ears, WeightsMap(client, what))
        await until_signalled(controller.run(), log, controller.stop_being_ready)
