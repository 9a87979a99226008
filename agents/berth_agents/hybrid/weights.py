"""The ConfigMap through which weights reach the router: read at the start, written when they change.

They end by themselves after `LAST_SECONDS`, so that those of a dead controller do: then the router's own
document counts, with everything at the preferred site. So they are written anew every `RENEW_SECONDS`.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from berth_agents.hybrid.decision import TOTAL, divided
from berth_agents.hybrid.documents import WHOLE, Hybrid
from berth_agents.kube import KubeClient
from berth_agents.router.document import HUNDREDTHS
from berth_agents.router.overlay import ENTRY, SUFFIX, VERSION
from berth_agents.router.reading import DocumentError, Section, parsed

log = logging.getLogger(__name__)

FIELD_MANAGER = "berth-hybrid"
LAST_SECONDS = 60
RENEW_SECONDS = 20.0


class WeightsMap:
    """The ConfigMap `<router>-weights`, which exists: whoever declares the controller declares it, too."""

    def __init__(self, client: KubeClient, hybrid: Hybrid) -> None:
        self._client, self._hybrid = client, hybrid
        self._name = f"{hybrid.router}{SUFFIX}"
        self._path = f"/api/v1/namespaces/{hybrid.namespace}/configmaps/{self._name}"

    async def read(self, now: datetime) -> dict[str, int]:
        """The weights in force by site; none where there are none, or none that can be used.

        Raises:
            KubeError: the ConfigMap cannot be read.
        """
        found = await self._client.call("GET", self._path)
        text = (found.get("data") or {}).get(ENTRY)
        if not text:
            return {}
        try:
            return weights_in(text, self._hybrid, now)
        except DocumentError as error:
            where = f"ConfigMap {self._hybrid.namespace}/{self._name}, {ENTRY}"
            log.warning("The weights that are there are passed over", extra={"error": f"{where}: {error}"})
            return {}

    async def write(self, weights: Mapping[str, int], now: datetime) -> None:
        """Write weights by site, for all routes.

        Raises:
            KubeError: they cannot be written.
        """
        await self._client.call(
            "PATCH",
            self._path,
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            content_type="application/apply-patch+yaml",
            body={
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": self._name, "namespace": self._hybrid.namespace},
                "data": {ENTRY: text_of(weights, self._hybrid, now)},
            },
        )


def text_of(weights: Mapping[str, int], hybrid: Hybrid, now: datetime) -> str:
    """What is written: percent by route and variant, and until when."""
    routes = {
        route: {
            hybrid.variant(route, site): share / HUNDREDTHS for site, share in divided(weights, sites).items()
        }
        for route, sites in hybrid.routes.items()
    }
    until = (now + timedelta(seconds=LAST_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"version": VERSION, "until": until, "routes": routes})


def weights_in(text: str, hybrid: Hybrid, now: datetime) -> dict[str, int]:
    """The weights by site in what was written; none where they have ended.

    Raises:
        DocumentError: it is not as a controller of these sites writes it.
    """
    top = Section(parsed(text, "it"), "")
    top.whole("version", VERSION, VERSION)
    until = top.text("until")
    try:
        moment = datetime.fromisoformat(until)
    except ValueError:
        raise top.refuse("until", until, "a time") from None
    if now >= (moment if moment.tzinfo else moment.replace(tzinfo=UTC)):
        return {}
    shares = top.section("routes").section(WHOLE)
    found = {site.name: round(shares.number(site.name, 0, 100) * HUNDREDTHS) for site in hybrid.sites}
    shares.end()
    if sum(found.values()) != TOTAL:
        raise DocumentError(
            f"routes.{WHOLE} are {sum(found.values()) / HUNDREDTHS:g} together; they must be 100"
        )
    return found
