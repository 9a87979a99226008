"""The aggregated API itself: discovery, the metrics, probes; every error is a Status, as kubectl expects."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any

from aiohttp import web

from berth_agents.metrics_adapter.names import METRICS
from berth_agents.metrics_adapter.selectors import SelectorError, parse
from berth_agents.metrics_adapter.signal import NoSignal, QueueSignal
from berth_agents.metrics_adapter.tls import ServingTls, common_name

log = logging.getLogger(__name__)

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
ANSWER_SECONDS = 2.0  # the HPA controller waits for an answer, for everybody's scaling
PROBES = frozenset({"/healthz", "/livez", "/readyz"})
_SECONDS_BETWEEN_REFUSALS_LOGGED = 60.0

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    404: "NotFound",
    405: "MethodNotAllowed",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MetricsApi:
    """The routes of the adapter.

    Args:
        signal: answers the metrics.
        tls: knows whether a connection's client certificate still counts.
        unready: says why the adapter is not ready, one line each; none when it is.
        unasked: says why the API server asks somebody else, if it does; shown by `/healthz?verbose`.
        answered: told the metric, the outcome and the seconds of every answer.
    """

    def __init__(
        self,
        signal: QueueSignal,
        tls: ServingTls,
        unready: Callable[[], list[str]],
        unasked: Callable[[], str | None],
        answered: Callable[[str, str, float], None],
    ) -> None:
        self._answered = answered
        self._signal, self._tls, self._unready, self._unasked = signal, tls, unready, unasked
        self._refusal_logged = float("-inf")

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[self._guard], client_max_size=64 * 1024)
        group = _group()
        resources = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{GROUP}/{VERSION}",
            "resources": [
                {
                    "name": name,
                    "singularName": "",
                    "namespaced": True,
                    "kind": "ExternalMetricValueList",
                    "verbs": ["get"],
                }
                for name in METRICS
            ],
        }
        paths = ["/apis", f"/apis/{GROUP}", f"/apis/{GROUP}/{VERSION}", *sorted(PROBES)]
        app.router.add_get("/", _constant({"paths": paths}))
        app.router.add_get(
            "/apis", _constant({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})
        )
        app.router.add_get(f"/apis/{GROUP}", _constant({"kind": "APIGroup", "apiVersion": "v1", **group}))
        app.router.add_get(f"/apis/{GROUP}/{VERSION}", _constant(resources))
        app.router.add_get(f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{{metric}}", self._metric)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/livez", _alive)
        app.router.add_get("/readyz", self._ready)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let only the front proxy in, answer within the deadline, and turn every error into a Status."""
        try:
            refusal = None if request.path in PROBES else self._refuse(request)
            if refusal is not None:
                return refusal
            async with asyncio.timeout(ANSWER_SECONDS):
                return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:  # noqa: PLR2004 - the first status that is an error
                raise
            return status_response(error.status, f"{request.method} {request.path}: {error.reason}")
        except TimeoutError:
            return status_response(504, f"No answer within {ANSWER_SECONDS:g} s")
        except Exception:
            log.exception("A request failed", extra={"path": request.path})
            return status_response(500, "The adapter failed; its log says why")

    def _refuse(self, request: web.Request) -> web.Response | None:
        transport = request.transport
        connection = transport.get_extra_info("ssl_object") if transport else None
        peer: dict[str, Any] | None = connection.getpeercert() if connection else None
        trust = self._tls.trust
        if peer and transport and connection and not self._tls.verified(connection):
            # Verified against a CA that was replaced since. Closed without an answer, the API server connects
            # anew and is verified against today's; an answer would fail its call.
            transport.close()
            return status_response(401, "The front proxy's CA changed; connect again")
        name = common_name(peer)
        if trust is not None and trust.allows(name):
            return None
        shown = f"the one shown is for {name!r}" if name else "none was shown"
        message = (
            f"A client certificate of the API server's front proxy is required; {shown}. Ask through the API "
            f"server: kubectl get --raw {request.path}"
        )
        now = time.monotonic()
        if now - self._refusal_logged > _SECONDS_BETWEEN_REFUSALS_LOGGED:
            self._refusal_logged = now
            log.warning(
                "Refused a caller", extra={"path": request.path, "shown": name, "peer": request.remote}
            )
        return status_response(401, message)

    async def _metric(self, request: web.Request) -> web.Response:
        namespace, metric = request.match_info["namespace"], request.match_info["metric"]
        if metric not in METRICS:
            return status_response(
                404, f"There is no metric {metric!r}; this adapter has {' and '.join(METRICS)}."
            )
        text = request.query.get("labelSelector", "")
        began = time.monotonic()
        outcome = "none"
        try:
            value = await self._signal.value(namespace, metric, parse(text), text)
        except SelectorError as error:
            return status_response(400, str(error))
        except NoSignal as error:
            log.warning("No value", extra={"namespace": namespace, "metric": metric, "reason": str(error)})
            return status_response(error.status, str(error))
        else:
            outcome = "bound" if value.silent else "told"
        finally:
            self._answered(metric, outcome, time.monotonic() - began)
        item = {
            "metricName": metric,
            "metricLabels": {},
            "timestamp": value.asked.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "value": str(value.total),
        }
        return web.json_response(
            {
                "kind": "ExternalMetricValueList",
                "apiVersion": f"{GROUP}/{VERSION}",
                "metadata": {},
                "items": [item],
            }
        )

    async def _health(self, request: web.Request) -> web.Response:
        """Answer ok, for the process lives; `?verbose` adds what somebody should look at."""
        if "verbose" not in request.query:
            return await _alive(request)
        found = [*(f"not ready: {reason}" for reason in self._unready()), self._unasked()]
        return web.Response(text="".join(f"{line}\n" for line in ("ok", *found) if line))

    async def _ready(self, _: web.Request) -> web.Response:
        reasons = self._unready()
        if not reasons:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="".join(f"not ready: {reason}\n" for reason in reasons))


def status_response(code: int, message: str) -> web.Response:
    """Return a Kubernetes Status, a failure."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, ""),
        "code": code,
    }
    return web.json_response(body, status=code)


def _group() -> dict[str, Any]:
    version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    return {"name": GROUP, "versions": [version], "preferredVersion": version}


def _constant(body: dict[str, Any]) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(body)

    return handler


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")
