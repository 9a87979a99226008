"""A read-only client of Prometheus' HTTP API, asked directly or through a cluster's API server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from berth.operations.errors import OperationsError
from berth.operations.kubeconfig import read_access

if TYPE_CHECKING:
    from collections.abc import Callable

Params = dict[str, str | float]
_SECONDS = 30.0
_REFUSED_QUERY = (400, 422)
_NOT_ALLOWED = (401, 403)
_NOT_FOUND, _AWAY = 404, 503


class PrometheusError(OperationsError):
    """Prometheus cannot be asked, or did not answer; the message says what to do."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its labels, and pairs of time (seconds since 1970) and value."""

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]


class Prometheus:
    """Use as a context manager; safe to use from several threads."""

    def __init__(self, url: str, connect: Callable[[], httpx.Client] | None = None) -> None:
        """Ask nothing yet.

        Args:
            url: of Prometheus, for messages, and to ask where `connect` is not given.
            connect: makes a client whose base is Prometheus' root; called again where credentials ran out.
        """
        self.url = url
        self._connect = connect or (
            lambda: httpx.Client(base_url=url.rstrip("/"), timeout=_SECONDS, trust_env=False)
        )
        self._client: httpx.Client | None = None

    def __enter__(self) -> Self:
        self._client = self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()

    def instant(self, expr: str, at: float) -> list[Series]:
        """The value of each series at a time.

        Raises:
            PrometheusError: it cannot be had.
        """
        return _series(self._ask("query", {"query": expr, "time": at}))

    def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """The values of each series over time.

        Raises:
            PrometheusError: they cannot be had.
        """
        return _series(self._ask("query_range", {"query": expr, "start": start, "end": end, "step": step}))

    def label_values(self, series: str, label: str, start: float, end: float) -> list[str]:
        """The values that a label has among some series.

        Raises:
            PrometheusError: they cannot be had.
        """
        found = self._ask(f"label/{label}/values", {"match[]": series, "start": start, "end": end})
        if not isinstance(found, list):
            raise PrometheusError(f"{self.url} does not answer as Prometheus does")
        return sorted(str(one) for one in found)

    def _ask(self, what: str, params: Params) -> Any:
        try:
            answer = self._send(what, params)
            body = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        except httpx.TimeoutException:
            raise PrometheusError(
                f"Prometheus took longer than {_SECONDS:.0f} s; choose a shorter time, or see whether it is "
                "short of memory or processors"
            ) from None
        except httpx.HTTPError as error:
            raise PrometheusError(
                f"Prometheus does not answer at {self.url} ({type(error).__name__}): is it running?"
            ) from None
        except ValueError:
            body = {}
        if answer.is_success and isinstance(body, dict) and body.get("status") == "success":
            return body["data"]
        raise PrometheusError(self._refusal(answer.status_code, body if isinstance(body, dict) else {}))

    def _send(self, what: str, params: Params) -> httpx.Response:
        if self._client is None:
            raise RuntimeError("use Prometheus as a context manager")
        answer = self._client.get(f"/api/v1/{what}", params=params)
        if answer.status_code == _NOT_ALLOWED[0]:
            # A credential plugin's token lives for minutes; a new client has a new one.
            self._client = self._connect()
            answer = self._client.get(f"/api/v1/{what}", params=params)
        return answer

    def _refusal(self, status: int, body: dict[str, Any]) -> str:
        said = " ".join(str(body.get("error") or body.get("message") or "").split())[:300]
        if status in _REFUSED_QUERY and body.get("errorType"):
            return f"Prometheus refuses the query: {said}"
        if status in _NOT_ALLOWED:
            return (
                f"{self.url} does not let you in ({status}{': ' + said if said else ''}); through an API "
                "server you need the verb get on services/proxy"
            )
        if status in {_NOT_FOUND, _AWAY}:
            return (
                f"there is no Prometheus at {self.url} now ({status}{': ' + said if said else ''}): is "
                "monitoring deployed, and is its pod ready?"
            )
        return f"{self.url} does not answer as Prometheus does ({status}{': ' + said if said else ''})"


def through_api_server(
    kubeconfig: str, context: str, namespace: str, service: str, port: int | str
) -> Prometheus:
    """Prometheus behind a Service, by the API server's proxy, as the kubeconfig's user.

    Raises:
        KubeconfigError: of `berth.operations`, when it is used: the kubeconfig cannot be.
    """
    path = f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy"

    def connect() -> httpx.Client:
        access = asyncio.run(read_access(kubeconfig, context))
        return httpx.Client(
            base_url=access.server + path,
            verify=access.tls,
            headers=access.headers,
            timeout=_SECONDS,
            trust_env=False,
        )

    return Prometheus(f"service {service} in {namespace}", connect)


def _series(data: Any) -> list[Series]:
    kind, result = data.get("resultType"), data.get("result", [])
    if kind == "scalar":
        return [Series({}, (_point(result),))]
    if kind == "vector":
        return [Series(one["metric"], (_point(one["value"]),)) for one in result]
    return [Series(one["metric"], tuple(_point(point) for point in one["values"])) for one in result]


def _point(pair: list[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
