"""Whether the engine can be trusted with a request: proven by an answer, doubted at a sign, proven again.

starting ──one token answered──▶ ready ──refused, stalled, silent──▶ lost ──one token answered──▶ ready
                                                                       └─ says that it is well, and
                                                                          answers no prompt: wedged

A single answer that makes no sense is a doubt: the engine is asked for a token while it goes on with the
rest, and lost if none comes. The same where no token came for a while: a server may say that it is well while
its core hangs, and with nobody asking nobody would notice. What is wedged is for the kubelet to restart; the
liveness probes of engines that cannot tell it themselves ask the gateway (`/engine` on the metrics port).
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from berth_serving.engines.protocol import (
    EngineError,
    EngineGarbled,
    EngineRequest,
    EngineStalled,
    Finished,
    TokenEvent,
)
from berth_serving.errors import NotReady

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth_serving.engines.protocol import Engine, EngineDescription
    from berth_serving.settings import GatewaySettings

log = logging.getLogger("berth.monitor")

_PROBE_PROMPT = "Hello"
_PROOF_SECONDS = 60.0
# How long an engine that has answered before may take, as a multiple of the time between two proofs.
_AGAIN, _AGAIN_LEAST = 1.5, 1.0
_CHECK_SECONDS = 1.0
_RETRY_FIRST, _RETRY_MOST = 0.05, 0.5
# Silent checks in a row before a ready engine counts as lost, unless tokens kept coming meanwhile.
_SILENCES = 2
_RETRY_AFTER = 2


class EngineMonitor:
    """Watches one engine.

    Args:
        engine: whose health is asked for.
        settings: slots and context that the engine has to have.
        on_ready: called whenever it is proven.
        on_lost: called with the reason whenever it is lost.
        has_place: whether one more prompt would be begun at once.
    """

    def __init__(
        self,
        engine: Engine,
        settings: GatewaySettings,
        *,
        on_ready: Callable[[], None],
        on_lost: Callable[[str], None],
        has_place: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._has_place = has_place
        self._again = max(_AGAIN_LEAST, _AGAIN * settings.engine_proof)
        self._look = asyncio.Event()
        self._doubted = False
        self._last_token = 0.0
        self.ready = False
        self.wedged = False
        self.reason = "the engine has not answered yet"
        self.description: EngineDescription | None = None

    def require_ready(self) -> None:
        """Refuse at once while the engine cannot be trusted.

        Raises:
            NotReady: with what is known about why.
        """
        if not self.ready:
            raise NotReady(f"Model is not ready: {self.reason}", retry_after=_RETRY_AFTER)

    def progressed(self) -> None:
        """A token came: proof of life that needs no check."""
        self._last_token = time.monotonic()

    def doubt(self) -> None:
        """Somebody got an answer that makes no sense: check now whether the engine still answers a prompt."""
        self._doubted = True
        self._look.set()

    def lose(self, reason: str) -> None:
        """Somebody met an engine that is gone or stuck; nothing is sent to it until it is proven again."""
        if not self.ready:
            return
        self.ready = False
        self.reason = reason
        log.warning("engine lost", extra={"reason": reason})
        self._on_lost(reason)
        self._look.set()

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            await self._prove()
            await self._watch()

    async def _prove(self) -> None:
        pause = _RETRY_FIRST
        while True:
            well = False
            try:
                await self._engine.health()
                well = True
                async with asyncio.timeout(self._again if self.wedged else _PROOF_SECONDS):
                    self.description = await self._engine.describe()
                    self._check_fit(self.description)
                    await self._one_token()
            except (EngineError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
                if reason != self.reason:
                    log.info("engine not ready", extra={"reason": reason})
                self.reason = reason
                # One that is gone is no longer wedged: it was, or is being, restarted.
                self.wedged = self.wedged and well
                await asyncio.sleep(pause)
                pause = min(_RETRY_MOST, pause * 2)
                continue
            self._look.clear()
            self._doubted = self.wedged = False
            self._last_token = time.monotonic()
            self.ready = True
            log.info("engine proven", extra={"slots": self.description.slots})
            self._on_ready()
            return

    def _check_fit(self, found: EngineDescription) -> None:
        wanted = self._settings
        if found.context_tokens < wanted.max_total_tokens:
            raise EngineGarbled(
                f"its context per slot is {found.context_tokens} tokens, "
                f"MAX_TOTAL_TOKENS={wanted.max_total_tokens} needs more"
            )
        if found.slots < wanted.engine_slots:
            raise EngineGarbled(f"it runs {found.slots} slots, BERTH_ENGINE_SLOTS={wanted.engine_slots}")

    async def _one_token(self) -> None:
        request = EngineRequest(prompt=_PROBE_PROMPT, max_new_tokens=1, temperature=0.0)
        tokens = 0
        async for event in self._engine.generate(request):
            if isinstance(event, TokenEvent):
                tokens += 1
            elif isinstance(event, Finished):
                tokens = max(tokens, event.output_tokens)
        if tokens == 0:
            raise EngineGarbled("it answered a prompt with no token at all")

    async def _watch(self) -> None:
        silences = 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._look.wait()
            if not self.ready:
                return
            self._look.clear()
            began = time.monotonic()
            doubted, self._doubted = self._doubted or self._silent(began), False
            well = False
            try:
                await self._engine.health()
                well = True
                if doubted:
                    # It says that it is well even where every generation fails.
                    async with asyncio.timeout(self._again):
                        await self._one_token()
                    self._last_token = time.monotonic()
                silences = 0
            except (EngineError, TimeoutError) as error:
                alive = self._last_token > began
                silences = 0 if alive else silences + 1
                if silences >= (1 if doubted else _SILENCES):
                    self.wedged = well and isinstance(error, (EngineStalled, TimeoutError))
                    reason = "it says that it is well, and answers no prompt" if self.wedged else str(error)
                    self.lose(reason or type(error).__name__)

    def _silent(self, now: float) -> bool:
        """Whether no token came for so long that one should be asked for."""
        return now - self._last_token > self._settings.engine_proof and self._has_place()
