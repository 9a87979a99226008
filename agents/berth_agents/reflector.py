"""Reduced copies of the objects that a list selects, kept current by a watch."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from berth_agents.backoff import Backoff
from berth_agents.errors import ApiRefused, KubeError
from berth_agents.kube import Json, KubeClient, Params

log = logging.getLogger(__name__)

T = TypeVar("T")

GONE = 410  # the resourceVersion is older than what the API server remembers
# A full list now and then: it also heals what no watch tells, such as an etcd restored from a backup.
RELIST_SECONDS = 600
# A watch that ended sooner than this ended for a reason that may return at once.
SHORT_WATCH_SECONDS = 5
# What is kept counts for so long after the API server was last heard. Longer than an idle watch lasts (60 s,
# and 75 s where a connection died silently), so a watch without events needs no exception.
STALE_SECONDS = 90.0


class Reflector(Generic[T]):
    """Lists, then watches, for as long as `run` runs; reconnects with backoff and lists again where it must.

    Args:
        path: of the collection, e.g. `/api/v1/pods`.
        params: query of list and watch, e.g. `{"labelSelector": "a=b"}`.
        reduce: makes the copy that is kept of an object; `None` leaves the object out.
        on_gone: told the uid of each object that is no longer kept.
        on_change: called after each list and each event that may have changed what is kept.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        client: KubeClient,
        path: str,
        params: Params,
        reduce: Callable[[Json], T | None],
        on_gone: Callable[[str], None],
        *,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._path, self._params = client, path, params
        self._on_change = on_change
        self._reduce, self._on_gone, self._clock = reduce, on_gone, clock
        self._objects: dict[str, T] = {}
        self._version = ""
        self._listed_at = self._heard_at = 0.0
        self._listed = False
        self._failure = f"{path} was not listed yet"

    @property
    def objects(self) -> dict[str, T]:
        """What is kept now, by uid. Not to be changed."""
        return self._objects

    @property
    def listed(self) -> bool:
        """Whether what is kept was complete at some time."""
        return self._listed

    @property
    def problem(self) -> str | None:
        """Why what is kept cannot be trusted: never listed, or not heard of for `STALE_SECONDS`."""
        if not self._listed:
            return self._failure
        age = self._clock() - self._heard_at
        if age <= STALE_SECONDS:
            return None
        return f"{self._path} was last heard of {age:.0f} s ago: {self._failure}"

    def _heard(self) -> None:
        self._heard_at = self._clock()
        self._failure = "the watch is silent"

    async def run(self) -> None:
        """Keep the copies current until cancelled."""
        backoff = Backoff()
        while True:
            started = self._clock()
            try:
                if not self._version or started - self._listed_at > RELIST_SECONDS:
                    await self._list()
                await self._watch()
            except KubeError as error:
                self._failed(error)
            if self._clock() - started >= SHORT_WATCH_SECONDS:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    def _failed(self, error: KubeError) -> None:
        if isinstance(error, ApiRefused) and error.status == GONE:
            self._version = ""
            log.info("The watch is too old; listing again", extra={"path": self._path})
            return
        self._failure = str(error)
        log.warning(
            "List or watch failed; trying again",
            extra={"path": self._path, "error": str(error), "listed": self._listed},
        )

    async def _list(self) -> None:
        found: dict[str, T] = {}
        version = ""
        async for page in self._client.list_pages(self._path, self._params):
            version = page["metadata"]["resourceVersion"]
            for item in page.get("items") or []:
                kept = self._reduce(item)
                if kept is not None:
                    found[item["metadata"]["uid"]] = kept
        gone = self._objects.keys() - found.keys()
        self._objects = found
        for uid in gone:
            self._on_gone(uid)
        self._version, self._listed_at, self._listed = version, self._clock(), True
        self._heard()
        self._on_change()

    async def _watch(self) -> None:
        async for event in self._client.watch(self._path, self._params, self._version, self._heard):
            kind, item = event.get("type"), event.get("object") or {}
            if kind == "ERROR":
                raise ApiRefused(
                    f"WATCH {self._path}",
                    int(item.get("code") or 0),
                    str(item.get("reason", "")),
                    str(item.get("message", item)),
                )
            self._apply(str(kind), item)
            self._version = item["metadata"]["resourceVersion"]
            self._heard()

    def _apply(self, kind: str, item: dict[str, Any]) -> None:
        if kind == "BOOKMARK":
            return
        uid = item["metadata"]["uid"]
        kept = None if kind == "DELETED" else self._reduce(item)
        if kept is not None:
            self._objects[uid] = kept
        elif self._objects.pop(uid, None) is not None:
            self._on_gone(uid)
        self._on_change()
