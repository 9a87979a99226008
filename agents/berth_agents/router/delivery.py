"""Hands a document and its endpoints to Envoy, in an order in which no request finds a hole.

What is new comes before what uses it, what is gone goes after it was used last: endpoints, clusters (old and
new), routes, clusters (new). Each step waits until Envoy says that it has taken the one before. Endpoints of
backends that wake are waited for as well: only then may go what waited for them.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from berth_agents.errors import AgentError
from berth_agents.router import files, resources
from berth_agents.router.document import Document
from berth_agents.router.envoy import Envoy

log = logging.getLogger(__name__)

TAKE_SECONDS = 30.0
"""So long a change may take to be taken; a cluster's first endpoints and certificates are read meanwhile."""
_POLL_SECONDS = 0.01
_CLUSTERS = "cluster_manager.cds"
_ROUTES = "http.clients.rds.routes"


class Refused(AgentError):  # noqa: N818 - what happened
    """Envoy refused a change, or never took it. What it had before is in force."""


class Delivery:
    """The files of one Envoy."""

    def __init__(self, folder: Path, envoy: Envoy) -> None:
        self._folder, self._envoy = folder, envoy
        # One before this, in the same pod, may have told Envoy of others.
        self._clusters: Mapping[str, resources.Json] = _listed(folder / resources.CDS)
        self._awaited: dict[str, str] = {}

    async def deliver(
        self,
        document: Document,
        ready: resources.Endpoints,
        rooms: resources.Rooms = resources.NO_ROOMS,
        in_force: Callable[[set[str]], None] = lambda _: None,
    ) -> bool:
        """Make Envoy do what the document says; returns whether anything changed.

        Args:
            document: what is to be.
            ready: pods by backend.
            rooms: waiting rooms by backend, of those that wake.
            in_force: told the names of backends that wake, as soon as Envoy has their endpoints: whatever
                else of the document it refuses.

        Raises:
            Refused: it would not.
            EnvoySilent: nobody knows, since it does not answer.
        """
        changed = False
        wakes = resources.waking(document)
        self._awaited = {name: version for name, version in self._awaited.items() if name in wakes}
        for name, content in resources.endpoints(document, ready, rooms).items():
            text, version = resources.response([content])
            if files.put(self._folder, resources.endpoints_file(name), text):
                changed = True
                if name in wakes:
                    self._awaited[name] = version
        known = wakes & self._clusters.keys()
        await self._endpoints_taken(known, in_force)
        wanted = resources.clusters(document, self._folder)
        # Of a cluster whose settings change the new ones count at once; its requests end where they are.
        changed |= await self._put(resources.CDS, _CLUSTERS, {**self._clusters, **wanted}.values())
        changed |= await self._put(resources.RDS, _ROUTES, [resources.routes(document)])
        changed |= await self._put(resources.CDS, _CLUSTERS, wanted.values())
        self._clusters = wanted
        await self._endpoints_taken(wakes - known, in_force)
        kept = {resources.endpoints_file(name) for name in document.backends}
        for old in self._folder.glob("eds-*.json"):
            if old.name not in kept:
                old.unlink()
        return changed

    async def _endpoints_taken(self, names: set[str], in_force: Callable[[set[str]], None]) -> None:
        for name in sorted(names & self._awaited.keys()):
            version = self._awaited[name]
            await self._taken(resources.endpoints_file(name), f"cluster.{name}", version)
            del self._awaited[name]
        if names:
            in_force(names)

    async def _put(self, name: str, stat: str, content: Iterable[resources.Json]) -> bool:
        text, version = resources.response(content)
        target = self._folder / name
        before = target.read_text(encoding="utf-8") if target.is_file() else None
        refused = await self._refused(stat)
        if not files.put(self._folder, name, text):
            return False
        try:
            await self._taken(name, stat, version, refused=refused, warmed=True)
        except Refused:
            # Envoy keeps what it had; so must the file, which an Envoy that starts again will read.
            if before is not None:
                files.put(self._folder, name, before)
            raise
        return True

    async def _taken(
        self, name: str, stat: str, version: str, *, refused: int | None = None, warmed: bool = False
    ) -> None:
        pattern = f"^({re.escape(stat)}\\.(version_text|update_rejected)|cluster_manager\\.warming_clusters)$"
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                while True:
                    found = await self._envoy.stats(pattern)
                    if refused is not None and int(found.get(f"{stat}.update_rejected", "0")) > refused:
                        raise Refused(f"Envoy refuses {name}; its log says why")
                    warming = warmed and found.get("cluster_manager.warming_clusters", "0") != "0"
                    if found.get(f"{stat}.version_text") == version and not warming:
                        return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise Refused(f"Envoy has not taken {name} within {TAKE_SECONDS:g} s") from None

    async def _refused(self, stat: str) -> int:
        found = await self._envoy.stats(f"^{re.escape(stat)}\\.update_rejected$")
        return int(found.get(f"{stat}.update_rejected", "0"))


def _listed(file: Path) -> dict[str, resources.Json]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {one["name"]: one for one in found["resources"]}
