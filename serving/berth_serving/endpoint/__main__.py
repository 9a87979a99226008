"""One container with gateway and engine, as SageMaker (`docker run <image> serve`) and Vertex AI start it.

The gateway comes first and says that nothing is ready. The weights are verified, or brought; then the engine
is started, and both are kept alive. SIGTERM drains the gateway and ends the engine within BERTH_STOP_SECONDS.

Exit codes: 0 after a stop that was asked for, 1 for weights that cannot be served and for what dies again and
again, 2 for wrong settings.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import urllib.request
from functools import partial
from typing import TYPE_CHECKING

from berth_serving import logs
from berth_serving.endpoint import orphans
from berth_serving.endpoint.settings import EndpointSettings, ours
from berth_serving.engines import probe
from berth_serving.environment import SettingsError, refuse
from berth_serving.supervisor import (
    WRONG_SETTINGS,
    Child,
    Event,
    Forwarded,
    Supervisor,
    SupervisorError,
    Watch,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "berth-endpoint"
log = logging.getLogger("berth.endpoint")

# SGLang's /health generates a token, which waits its turn.
_HEALTH_SECONDS = 15.0


async def serve(settings: EndpointSettings, output: Forwarded) -> None:
    """Serve until SIGTERM.

    Raises:
        SupervisorError: it cannot, or not any more.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    environ = settings.environ
    gateway = Child("gateway", ours("berth_serving.gateway"), environ, output, settings.gateway_user)
    fetcher = Child("weights fetcher", ours("berth_serving.weights"), environ, output)
    engine = Child("engine", settings.engine_command, settings.engine_environment, output)

    def known() -> set[int]:
        started = (child.process for child in (gateway, fetcher, engine))
        return {process.pid for process in started if process is not None}

    watch = Watch(
        engine_url=f"http://127.0.0.1:{settings.metrics_port}/engine",
        alive=(
            partial(probe.liveness, settings.engine_port)
            if settings.engine_is_ours
            else partial(_is_alive, settings.engine_port)
        ),
        drain_seconds=settings.drain_seconds,
        clear=partial(orphans.kill, known),
    )
    supervisor = Supervisor(engine, gateway, watch, _tell)
    reaping = asyncio.create_task(orphans.reap(known))
    try:
        await gateway.start()
        await _have_weights(fetcher, gateway, stop)
        if not stop.is_set():
            await engine.start()
            _tell(Event("starting", "weights are verified, the engine starts"))
            await supervisor.watch(stop)
    finally:
        reaping.cancel()
        _tell(Event("stopping", "finishing what is running", {"up_to_seconds": settings.drain_seconds}))
        fetcher.kill()
        stop.clear()
        await supervisor.end(stop)


async def _have_weights(fetcher: Child, gateway: Child, stop: asyncio.Event) -> None:
    """Run the fetcher to its end; without weights that are the right ones no engine is started."""
    await fetcher.start()
    fetched, ended, stopped = (
        asyncio.create_task(wait) for wait in (fetcher.ended(), gateway.ended(), stop.wait())
    )
    await asyncio.wait((fetched, ended, stopped), return_when=asyncio.FIRST_COMPLETED)
    for task in (fetched, ended, stopped):
        task.cancel()
    if stop.is_set():
        return
    if not gateway.running:
        code = gateway.exit_code
        said = f"the gateway ended (exit code {code}): {gateway.last_words()}"
        raise SupervisorError(said, WRONG_SETTINGS if code == WRONG_SETTINGS else 1)
    if (code := fetcher.exit_code) != 0:
        said = f"no weights to serve: {fetcher.last_words()}"
        raise SupervisorError(said, WRONG_SETTINGS if code == WRONG_SETTINGS else 1)


def _is_alive(port: int, pid: int) -> tuple[bool, str]:
    """Whether an engine that is not ours says that it is well."""
    del pid
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=_HEALTH_SECONDS) as answer:
            return True, f"engine /health says {answer.status}"
    except OSError as error:
        return False, f"engine /health: {error or type(error).__name__}"


def _tell(event: Event) -> None:
    level = logging.WARNING if event.kind in {"restarted", "killed"} else logging.INFO
    # A log record has a `process` of its own.
    facts = {"child" if key == "process" else key: value for key, value in event.facts.items()}
    log.log(level, event.message, extra=facts)


def main(arguments: Sequence[str]) -> int:
    """Serve what the environment says; the word `serve`, which SageMaker adds, changes nothing."""
    if list(arguments) not in ([], ["serve"]):
        print(f"usage: {PROGRAM} [serve]; its settings are environment variables", file=sys.stderr)  # noqa: T201 - for the person who started it
        return 2
    try:
        settings = EndpointSettings.from_environment(os.environ)
    except SettingsError as error:
        refuse(PROGRAM, error)
    logs.configure(settings.log_level)
    if settings.drain_seconds < settings.asked_drain_seconds:
        log.warning(
            "the drain is shortened: the platform kills soon after it asks to end",
            extra={
                "seconds": settings.drain_seconds,
                "asked_seconds": settings.asked_drain_seconds,
                "stop_seconds": settings.stop_seconds,
            },
        )
    orphans.adopt()
    output = Forwarded(sys.stdout.fileno())
    try:
        asyncio.run(serve(settings, output))
    except SupervisorError as error:
        output.close()
        refuse(PROGRAM, error, code=error.exit_code)
    output.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
