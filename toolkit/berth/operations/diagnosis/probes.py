"""What objects do not say: logs, metrics, throttling, certificates, alerts, and whether endpoints answer.

Each probe may fail without hiding the others: what it could not learn is said in its own place.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from berth.operations.completion import headers
from berth.operations.diagnosis.facts import (
    Alert,
    Answer,
    Certificate,
    LogTail,
    NotRead,
    Reading,
    Snapshot,
    Throttling,
)
from berth.operations.diagnosis.logs import harmless
from berth.operations.diagnosis.pods import (
    GATEWAY,
    METRICS_PORT,
    MODEL_SERVER,
    NAME,
    age,
    container_states,
    ended,
    is_ready,
    labels,
    templates,
)
from berth.operations.errors import ClusterReadError
from berth.operations.kubeconfig import certificate_of
from berth.operations.tls import trusted
from berth.operations.watching import Watcher, alertmanager_of, prometheus_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from berth.operations.diagnosis.facts import Json
    from berth.operations.kube import KubeReader
    from berth.operations.kubeconfig import Access

_LOOKED_AT = 60  # lines of a log
# The kubelet has no log of a run that never began, or that is long over.
_NO_LOG = (": 400: ", ": 404: ")
_LONG_STARTING = 20.0
_SECONDS = 5.0
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_CADVISOR = ("container_cpu_cfs_periods_total", "container_cpu_cfs_throttled_periods_total")
_TLS = "kubernetes.io/tls"


async def probe(
    reader: KubeReader,
    access: Access,
    seen: Snapshot,
    *,
    key: str | None,
    ca: Path | None,
    kubeconfig: tuple[str, str],
) -> Snapshot:
    """Return a snapshot with what the probes brought."""
    pods = seen.all("pods")
    gateways = [pod for pod in pods if _runs_gateway(pod)]
    logs, readings, throttled, certificates, answers, alerts = await asyncio.gather(
        asyncio.gather(*(_log(reader, *each) for pod in pods for each in _worth_reading(seen, pod))),
        asyncio.gather(
            *(reading(reader, pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in gateways)
        ),
        _throttling(reader, gateways),
        _certificates(reader, access, seen, kubeconfig),
        asyncio.gather(*(_answer(*each, key, ca) for each in _endpoints(seen))),
        _alerts(reader, seen),
    )
    refused = [one for one in logs if isinstance(one, NotRead)]
    return replace(
        seen,
        logs=tuple(one for one in logs if isinstance(one, LogTail)),
        readings=tuple(readings),
        throttling=tuple(throttled),
        certificates=tuple(certificates),
        answers=tuple(one for some in answers for one in some),
        alerts=alerts[0],
        alerts_from=alerts[1],
        not_read=(*seen.not_read, *refused),
    )


def _runs_gateway(pod: Mapping[str, Any]) -> bool:
    running = any(
        one["name"] == GATEWAY and (one.get("state") or {}).get("running") for one in container_states(pod)
    )
    return labels(dict(pod)).get(NAME) == MODEL_SERVER and running


def _worth_reading(seen: Snapshot, pod: Json) -> list[tuple[str, str, str, bool]]:
    """Logs to read: of the run that ended badly, and of one that has not become ready for long."""
    metadata, found = pod["metadata"], []
    late = (age(seen, metadata.get("creationTimestamp")) or 0) > _LONG_STARTING and not is_ready(pod)
    for state in container_states(pod):
        last = ended(state)
        failed = bool(last) and (last.get("exitCode") != 0 or last.get("reason") == "OOMKilled")
        runs = bool((state.get("state") or {}).get("running"))
        if failed and last is (state.get("state") or {}).get("terminated"):
            found.append((metadata["namespace"], metadata["name"], state["name"], False))
        elif failed:
            found.append((metadata["namespace"], metadata["name"], state["name"], True))
        if late and runs:
            found.append((metadata["namespace"], metadata["name"], state["name"], False))
    return found


async def _log(
    reader: KubeReader, namespace: str, pod: str, container: str, previous: bool
) -> LogTail | NotRead:
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
    query = {"container": container, "tailLines": str(_LOOKED_AT), "limitBytes": "65536"}
    try:
        text = await reader.text(path, {**query, **({"previous": "true"} if previous else {})})
    except ClusterReadError as error:
        if any(code in str(error) for code in _NO_LOG):
            return LogTail(namespace, pod, container, previous, ())
        return NotRead(f"log of {container} in {namespace}/{pod}", str(error), ": 403: " in str(error))
    lines, withheld = harmless(text.splitlines())
    return LogTail(namespace, pod, container, previous, lines, withheld)


async def reading(reader: KubeReader, namespace: str, name: str) -> Reading:
    """Return what the gateway of a pod says of itself, through the API server."""
    base = f"/api/v1/namespaces/{namespace}/pods/{name}:{METRICS_PORT}/proxy"
    try:
        text = await reader.text(f"{base}/metrics")
    except ClusterReadError as error:
        return Reading(namespace, name, problem=str(error))
    values = samples(text)
    with contextlib.suppress(ClusterReadError):
        # vLLM's KV cache and the like, where the gateway passes its engine's own metrics through.
        values |= samples(await reader.text(f"{base}/engine/metrics"))
    return Reading(namespace, name, values)


def samples(text: str) -> dict[str, float]:
    """Return the samples of an exposition by name with labels; buckets and creation times left out."""
    found = {}
    try:
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                if one.name.endswith(("_bucket", "_created")):
                    continue
                shown = ",".join(f'{key}="{value}"' for key, value in sorted(one.labels.items()))
                found[f"{one.name}{{{shown}}}" if shown else one.name] = float(one.value)
    except ValueError:
        return {}
    return found


async def _throttling(reader: KubeReader, pods: list[Json]) -> list[Throttling]:
    """Of the containers of model servers, from the kubelets' cAdvisor; nothing where it may not be read."""
    # By the container's id, which is in its cgroup's path: not every kubelet's cAdvisor knows the names.
    wanted = {
        str(state["containerID"]).rpartition("/")[2]: (
            pod["metadata"]["namespace"],
            pod["metadata"]["name"],
            state["name"],
        )
        for pod in pods
        for state in container_states(pod)
        if state.get("containerID")
    }
    nodes = sorted({str(pod["spec"]["nodeName"]) for pod in pods if pod["spec"].get("nodeName")})
    found: dict[tuple[str, str, str], dict[str, float]] = {}

    async def one(node: str) -> None:
        try:
            text = await reader.text(f"/api/v1/nodes/{node}/proxy/metrics/cadvisor")
        except ClusterReadError:
            return
        for line in text.splitlines():
            # A node has tens of thousands of samples; these are few.
            if not line.startswith(_CADVISOR):
                continue
            name, _, rest = line.partition("{")
            given, _, value = rest.partition("}")
            ids = _CONTAINER_ID.findall(dict(_LABEL.findall(given)).get("id", ""))
            if ids and (at := wanted.get(ids[-1])):
                found.setdefault(at, {})[name] = float(value.split()[0])

    await asyncio.gather(*map(one, nodes))
    return [
        Throttling(*at, values.get(_CADVISOR[0], 0.0), values.get(_CADVISOR[1], 0.0))
        for at, values in sorted(found.items())
    ]


async def _certificates(
    reader: KubeReader, access: Access, seen: Snapshot, kubeconfig: tuple[str, str]
) -> list[Certificate]:
    found = []
    if (client := certificate_of(*kubeconfig)) is not None:
        found += _in_pem(client, "the kubeconfig's client certificate")
    found += await asyncio.to_thread(_of_server, access)
    for where, namespace, name in _tls_secrets(seen):
        try:
            secret = await reader.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        except ClusterReadError:
            continue
        if secret.get("type") == _TLS or "tls.crt" in (secret.get("data") or {}):
            found += _in_base64((secret.get("data") or {}).get("tls.crt"), f"{where} ({namespace}/{name})")
    for service in seen.all("apiservices"):
        bundle = (service.get("spec") or {}).get("caBundle")
        found += _in_base64(bundle, f"APIService {service['metadata']['name']}'s caBundle")
    return found


def _tls_secrets(seen: Snapshot) -> list[tuple[str, str, str]]:
    found = []
    for kind, workload, spec in templates(seen):
        metadata = workload["metadata"]
        for volume in spec.get("volumes") or []:
            name = (volume.get("secret") or {}).get("secretName")
            if name and any("tls" in str(part) for part in (name, volume["name"])):
                found.append((f"TLS of {kind} {metadata['name']}", metadata["namespace"], str(name)))
    return found


def _in_base64(value: str | None, where: str) -> list[Certificate]:
    try:
        return _in_pem(base64.b64decode(value), where) if value else []
    except ValueError:
        return []


def _in_pem(pem: bytes, where: str) -> list[Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []
    return [Certificate(where, min(one.not_valid_after_utc for one in chain))] if chain else []


def _of_server(access: Access) -> list[Certificate]:
    """The API server's own certificate, as it shows it to clients."""
    parts = urlsplit(access.server)
    try:
        pem = ssl.get_server_certificate((parts.hostname or "", parts.port or 443), timeout=_SECONDS)
    except (OSError, ValueError):
        return []
    return _in_pem(pem.encode(), "the API server's certificate")


def _endpoints(seen: Snapshot) -> list[tuple[str, str]]:
    """Endpoints that this machine may reach: of the stack's outputs, but those inside the cluster."""
    models = seen.outputs.get("models")
    found = []
    for facts in models.values() if isinstance(models, dict) else ():
        url = str(facts.get("endpoint") or "") if isinstance(facts, dict) else ""
        inside = (urlsplit(url).hostname or "").endswith(".svc")
        if facts.get("site") == seen.site and url.startswith("http") and "<" not in url and not inside:
            found.append((f"{facts.get('namespace')}/{facts.get('deployment')}", url))
    return found


async def _answer(server: str, url: str, key: str | None, ca: Path | None) -> list[Answer]:
    """Whether anybody answers, and whether this machine's key is taken; neither costs the engine anything."""
    found = []
    async with httpx.AsyncClient(trust_env=False, timeout=_SECONDS, verify=trusted(ca)) as client:
        asked = [("/health", False)] + ([("/v1/models", True)] if key else [])
        for path, with_key in asked:
            try:
                response = await client.get(
                    url.rstrip("/") + path, headers=headers(key if with_key else None)
                )
                found.append(Answer(server, url + path, response.status_code, with_key))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                problem = f"{type(error).__name__}: {error}"
                found.append(Answer(server, url + path, None, with_key, problem))
                break
    return found


async def _alerts(reader: KubeReader, seen: Snapshot) -> tuple[tuple[Alert, ...] | None, str]:
    """What fires: Alertmanager's word, else Prometheus'."""
    watchers = (
        (alertmanager_of(seen.outputs, seen.site), "/api/v2/alerts?active=true", "Alertmanager"),
        (prometheus_of(seen.outputs, seen.site), "/api/v1/alerts", "Prometheus"),
    )
    problems = []
    for at, path, name in watchers:
        if at is None:
            continue
        try:
            found = await fetch(reader, at, path)
        except ClusterReadError as error:
            problems.append(f"{name}: {error}")
            continue
        listed = found if isinstance(found, list) else (found.get("data") or {}).get("alerts") or []
        return tuple(sorted(filter(None, map(_alert, listed)), key=lambda one: one.name)), name
    return None, "; ".join(problems) or "no monitoring"


async def fetch(reader: KubeReader, at: Watcher, path: str) -> Any:
    """Return JSON of Prometheus or Alertmanager: by its address, where it has one, else by the API server.

    Raises:
        ClusterReadError: it did not answer, or not with JSON.
    """
    if not at.url:
        text = await reader.text(at.proxy_path + path)
    else:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
                response = await client.get(at.url + path)
                response.raise_for_status()
                text = response.text
        except httpx.HTTPError as error:
            raise ClusterReadError(f"GET {at.url}{path}: {type(error).__name__}: {error}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise ClusterReadError(f"GET {path}: the answer is not JSON") from error


def _alert(found: Mapping[str, Any]) -> Alert | None:
    state = found.get("state") or (found.get("status") or {}).get("state")
    if state not in {"firing", "active"}:
        return None
    given, notes = dict(found.get("labels") or {}), found.get("annotations") or {}
    return Alert(
        name=str(given.pop("alertname", "unnamed")),
        severity=str(given.pop("severity", "")),
        labels={key: str(value) for key, value in given.items()},
        summary=str(notes.get("summary") or notes.get("description") or ""),
        since=str(found.get("startsAt") or found.get("activeAt") or ""),
        runbook=str(notes.get("runbook_url") or notes.get("runbook") or ""),
    )
