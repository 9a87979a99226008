"""Asks the sites' reporters, each by itself, so that none waits for another."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from berth_agents.errors import AgentError
from berth_agents.hybrid.decision import Heard, Observed
from berth_agents.hybrid.documents import Place, Report, report
from berth_agents.hybrid.reporter import PATH
from berth_agents.hybrid.settings import token_of

log = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
"""A reporter gives its gateways 1.5 s."""
MAX_BODY_BYTES = 256 * 1024


class NoReport(AgentError):  # noqa: N818 - the absence of an answer is what it says
    """A reporter gave no answer that can be used."""


class Ear:
    """Asks one site and keeps what it said last; `run` runs until it is cancelled.

    Args:
        model: of which it asks.
        token_file: read for each question.
        every: seconds between two questions.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        place: Place,
        model: str,
        token_file: Path,
        session: aiohttp.ClientSession,
        *,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place, self._model, self._token_file = place, model, token_file
        self._session, self._every, self._clock = session, every, clock
        self._tls: tuple[int, ssl.SSLContext] | None = None
        self._said: Observed | None = None
        self._since = clock()
        self._new = False
        self.problem = "was not asked yet"
        """Why its last answer is not there; "" where it is."""

    @property
    def name(self) -> str:
        """Of the site."""
        return self._place.site.name

    @property
    def silent_seconds(self) -> float:
        """Since its last good answer, or since it was asked first."""
        return self._clock() - self._since

    def heard(self) -> Heard:
        """What is known of the site. What it says is new once."""
        new, self._new = self._new, False
        return Heard(self._said, self.silent_seconds, new)

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            began = self._clock()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    found = await self._ask()
            except TimeoutError:
                self._failed(f"{self._place.url} did not answer within {ANSWER_SECONDS:g} s")
            except (AgentError, OSError) as error:
                self._failed(str(error))
            else:
                # What it says is as old as its oldest reading.
                self._said, self._since = found.seen, self._clock() - found.age_seconds
                self._new = True
                if self.problem:
                    log.info("A site answers", extra={"site": self.name, "after": self.problem})
                self.problem = ""
            await asyncio.sleep(max(0.0, began + self._every - self._clock()))

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("A site is silent", extra={"site": self.name, "error": problem})
        self.problem = problem

    async def _ask(self) -> Report:
        url = self._place.url + PATH
        headers = {"Authorization": f"Bearer {token_of(self._token_file)}"}
        try:
            async with self._session.get(
                url,
                headers=headers,
                allow_redirects=False,
                ssl=self._context(),
                server_hostname=self._place.server_name,
            ) as response:
                body = await response.content.read(MAX_BODY_BYTES)
                while len(body) < MAX_BODY_BYTES and (more := await response.content.read(MAX_BODY_BYTES)):
                    body += more
                status = response.status
        except aiohttp.ClientError as error:
            raise NoReport(f"{url}: {type(error).__name__}: {error}") from error
        if status == 401:  # noqa: PLR2004 - HTTP's Unauthorized
            raise NoReport(f"{url} refuses the token; all sites of a router need the same")
        if status != 200:  # noqa: PLR2004 - HTTP's OK
            raise NoReport(f"{url} answered {status}: {body[:200].decode(errors='replace')}")
        try:
            return report(body.decode(), self.name, self._model)
        except (AgentError, ValueError) as error:
            raise NoReport(f"{url}: {error}") from error

    def _context(self) -> ssl.SSLContext | bool:
        """Whom its certificate must be from; read again where the file changed."""
        if not self._place.url.startswith("https://"):
            return True  # aiohttp's word for its default, which plain HTTP does not use
        file = Path(self._place.ca_file) if self._place.ca_file else None
        changed = file.stat().st_mtime_ns if file else 0
        if self._tls is None or self._tls[0] != changed:
            context = ssl.create_default_context(cafile=str(file) if file else None)
            # Python 3.13 asks for more than others: many CAs of companies lack key identifiers.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._tls = (changed, context)
        return self._tls[1]
