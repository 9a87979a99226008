"""The gateway's settings: every variable with its unit, default and reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from berth_serving.environment import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENGINES = ("llama.cpp", "sglang", "tgi", "vllm")
DEVICES = ("gpu", "neuron", "tpu")
MANAGED_CLOUDS = ("", "sagemaker", "vertex")
LOG_LEVELS = ("debug", "info", "warning", "error")
_MAX_TOKENS = 10_000_000
_PORT, _MANAGED_PORT = 8000, 8080
_HEAVIEST = 100
# Routes that keep their key whatever a managed cloud calls its own.
_KEYED = (
    "/",
    "/generate",
    "/generate_stream",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/models",
    "/info",
)
# A label's and a header's value.
_VARIANT = re.compile(r"[A-Za-z0-9._:/+=@-]{0,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What a gateway needs to know. Times are seconds, sizes bytes or tokens as the name says.

    Attributes:
        host: BERTH_HOST; loopback unless a pod says 0.0.0.0.
        port: BERTH_PORT; 0 takes any free one.
        metrics_port: BERTH_METRICS_PORT; `/metrics` and `/load` only, without a key.
        grpc_port: BERTH_GRPC_PORT; None where gRPC is not served.
        engine: BERTH_ENGINE.
        engine_device: BERTH_ENGINE_DEVICE; what vLLM computes on: its builds honour different things.
        engine_url: BERTH_ENGINE_URL; always loopback, for the engine has no authentication.
        engine_slots: BERTH_ENGINE_SLOTS; sequences the engine runs at once.
        max_concurrent_requests: MAX_CONCURRENT_REQUESTS; in slots and waiting together; above it 429.
        queue_timeout: BERTH_QUEUE_TIMEOUT_SECONDS; a request that waited this long for a slot gets 429.
        max_input_tokens: MAX_INPUT_TOKENS; default one less than the total.
        max_total_tokens: MAX_TOTAL_TOKENS; prompt and answer together, the engine's context per slot.
        payload_limit: PAYLOAD_LIMIT; a larger body gets 413.
        max_stop_sequences: MAX_STOP_SEQUENCES.
        model_id: MODEL_ID; what clients call the model.
        model_revision: BERTH_MODEL_REVISION; reported, never interpreted.
        api_keys_dir: BERTH_API_KEYS_DIR; one file per key.
        allow_anonymous: BERTH_ALLOW_ANONYMOUS; only then may there be no key.
        drain_seconds: BERTH_DRAIN_SECONDS; longest time between SIGTERM and exit.
        variant: BERTH_VARIANT; the release or experiment arm this server belongs to.
        log_level: BERTH_LOG_LEVEL.
        log_content: BERTH_LOG_CONTENT; prompts and answers, redacted, in logs and traces.
        cost_per_hour: BERTH_COST_PER_HOUR; US dollars for this server with its engine, 0 is unknown.
        filters_file: BERTH_FILTERS_FILE; JSON, see `filters.rules`.
        otlp_endpoint: OTLP_ENDPOINT; a collector's base URL, OTLP over HTTP; empty is no traces.
        otlp_token_file: BERTH_OTLP_TOKEN_FILE; a bearer token for it.
        trace_sample: BERTH_TRACE_SAMPLE; share of traces that begin here and are recorded.
        tls_cert_file, tls_key_file: BERTH_TLS_CERT_FILE, BERTH_TLS_KEY_FILE; PEM, reread on change.
        header_timeout: BERTH_HEADER_TIMEOUT_SECONDS; a slower request line and headers end the connection.
        body_timeout: BERTH_BODY_TIMEOUT_SECONDS; a slower body gets 408.
        write_timeout: BERTH_WRITE_TIMEOUT_SECONDS; a client that reads nothing for so long is cut off.
        keep_alive: BERTH_KEEP_ALIVE_SECONDS; longer than proxies' usual 60, so that they close first.
        engine_stall: BERTH_ENGINE_STALL_SECONDS; silent for so long within a request, it counts as lost.
        engine_proof: BERTH_ENGINE_PROOF_SECONDS; without any token for so long, it is asked for one.
        managed_cloud: BERTH_MANAGED_CLOUD; whose routes need no key, because it asks for its own.
        vertex_health_route: AIP_HEALTH_ROUTE, which Vertex AI sets; heeded in its mode only.
        vertex_predict_route: AIP_PREDICT_ROUTE, the same.
        key_weights: BERTH_KEY_WEIGHTS; turns of a key in each round of the queue, by its name.
    """

    host: str
    port: int
    metrics_port: int
    grpc_port: int | None
    engine: str
    engine_device: str
    engine_url: str
    engine_slots: int
    max_concurrent_requests: int
    queue_timeout: float
    max_input_tokens: int
    max_total_tokens: int
    payload_limit: int
    max_stop_sequences: int
    model_id: str
    model_revision: str
    api_keys_dir: Path | None
    allow_anonymous: bool
    drain_seconds: float
    variant: str
    log_level: str
    header_timeout: float
    body_timeout: float
    write_timeout: float
    keep_alive: float
    engine_stall: float
    engine_proof: float
    managed_cloud: str
    vertex_health_route: str
    vertex_predict_route: str
    key_weights: Mapping[str, int]
    log_content: bool = False
    cost_per_hour: float = 0.0
    filters_file: Path | None = None
    otlp_endpoint: str = ""
    otlp_token_file: Path | None = None
    trace_sample: float = 1.0
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> GatewaySettings:
        """Read and check the variables.

        Raises:
            SettingsError: naming each wrong variable, its value, and what is allowed.
        """
        read = Reader(environ)
        slots = read.integer("BERTH_ENGINE_SLOTS", 4, 1, 1024, unit="slots")
        total = read.integer("MAX_TOTAL_TOKENS", 2048, 2, _MAX_TOKENS, unit="tokens")
        managed = read.choice("BERTH_MANAGED_CLOUD", "", MANAGED_CLOUDS)
        settings = cls(
            host=read.text("BERTH_HOST", "127.0.0.1"),
            port=read.integer("BERTH_PORT", _port(environ, managed), 0, 65535, unit="(port)"),
            metrics_port=read.integer("BERTH_METRICS_PORT", 9000, 0, 65535, unit="(port)"),
            grpc_port=(
                read.integer("BERTH_GRPC_PORT", 0, 0, 65535, unit="(port)")
                if read.text("BERTH_GRPC_PORT", "")
                else None
            ),
            engine=read.choice("BERTH_ENGINE", "llama.cpp", ENGINES),
            engine_device=read.choice("BERTH_ENGINE_DEVICE", "gpu", DEVICES),
            engine_url=read.text("BERTH_ENGINE_URL", "http://127.0.0.1:8001").rstrip("/"),
            engine_slots=slots,
            max_concurrent_requests=read.integer("MAX_CONCURRENT_REQUESTS", 128, 1, 100_000, unit="requests"),
            queue_timeout=read.seconds("BERTH_QUEUE_TIMEOUT_SECONDS", 30, 0.001, 3600),
            max_input_tokens=read.integer("MAX_INPUT_TOKENS", total - 1, 1, _MAX_TOKENS, unit="tokens"),
            max_total_tokens=total,
            payload_limit=read.integer("PAYLOAD_LIMIT", 2_000_000, 1024, 1_000_000_000, unit="bytes"),
            max_stop_sequences=read.integer("MAX_STOP_SEQUENCES", 4, 0, 64, unit="sequences"),
            model_id=read.text("MODEL_ID", "HuggingFaceTB/SmolLM2-135M-Instruct"),
            model_revision=read.text("BERTH_MODEL_REVISION", ""),
            api_keys_dir=read.path("BERTH_API_KEYS_DIR"),
            allow_anonymous=read.flag("BERTH_ALLOW_ANONYMOUS", default=False),
            drain_seconds=read.seconds("BERTH_DRAIN_SECONDS", 30, 0, 3600),
            variant=read.text("BERTH_VARIANT", ""),
            log_level=read.choice("BERTH_LOG_LEVEL", "info", LOG_LEVELS),
            header_timeout=read.seconds("BERTH_HEADER_TIMEOUT_SECONDS", 10, 0.1, 600),
            body_timeout=read.seconds("BERTH_BODY_TIMEOUT_SECONDS", 30, 0.1, 600),
            write_timeout=read.seconds("BERTH_WRITE_TIMEOUT_SECONDS", 30, 0.1, 600),
            keep_alive=read.seconds("BERTH_KEEP_ALIVE_SECONDS", 75, 1, 3600),
            engine_stall=read.seconds("BERTH_ENGINE_STALL_SECONDS", 60, 0.1, 3600),
            engine_proof=read.seconds("BERTH_ENGINE_PROOF_SECONDS", 10, 0.1, 3600),
            managed_cloud=managed,
            vertex_health_route=_route(read, "AIP_HEALTH_ROUTE", "/ping", managed),
            vertex_predict_route=_route(read, "AIP_PREDICT_ROUTE", "/vertex", managed),
            key_weights=_weights(read),
            log_content=read.flag("BERTH_LOG_CONTENT", default=False),
            cost_per_hour=read.amount("BERTH_COST_PER_HOUR", 0, 0, 100_000, unit="US dollars per hour"),
            filters_file=read.path("BERTH_FILTERS_FILE"),
            otlp_endpoint=read.text("OTLP_ENDPOINT", "").rstrip("/"),
            otlp_token_file=read.path("BERTH_OTLP_TOKEN_FILE"),
            trace_sample=read.amount("BERTH_TRACE_SAMPLE", 1, 0, 1, unit="(share)"),
            tls_cert_file=read.path("BERTH_TLS_CERT_FILE"),
            tls_key_file=read.path("BERTH_TLS_KEY_FILE"),
        )
        _check_together(settings, read)
        read.finish()
        return settings


def _port(environ: Mapping[str, str], managed: str) -> int:
    """Where the managed clouds call a container; Vertex AI says where."""
    said = environ.get("AIP_HTTP_PORT", "") if managed == "vertex" else ""
    return int(said) if said.isdigit() else _MANAGED_PORT if managed else _PORT


def _route(read: Reader, name: str, default: str, managed: str) -> str:
    if managed != "vertex":
        return default
    path = read.text(name, default)
    if not path.startswith("/") or path in _KEYED:
        read.fault(f"{name}={path!r}: must be a path from / on that is none of {', '.join(_KEYED)}")
    return path


def _weights(read: Reader) -> dict[str, int]:
    weights = {}
    for entry in read.text("BERTH_KEY_WEIGHTS", "").split(","):
        name, _, weight = entry.strip().partition("=")
        if not entry.strip():
            continue
        if not name or not weight.isdigit() or not 1 <= int(weight) <= _HEAVIEST:
            read.fault(
                f"BERTH_KEY_WEIGHTS={entry.strip()!r}: must be <key's name>=<1 to {_HEAVIEST}>, "
                "several with commas between"
            )
            continue
        weights[name] = int(weight)
    return weights


def _check_together(settings: GatewaySettings, read: Reader) -> None:
    if settings.max_input_tokens >= settings.max_total_tokens:
        read.fault(
            f"MAX_INPUT_TOKENS={settings.max_input_tokens}: must be below "
            f"MAX_TOTAL_TOKENS={settings.max_total_tokens}, or no token could be answered"
        )
    if settings.max_concurrent_requests < settings.engine_slots:
        read.fault(
            f"MAX_CONCURRENT_REQUESTS={settings.max_concurrent_requests}: must be at least "
            f"BERTH_ENGINE_SLOTS={settings.engine_slots}, or slots could never be filled"
        )
    if not _VARIANT.fullmatch(settings.variant):
        read.fault(
            f"BERTH_VARIANT={settings.variant!r}: at most 128 characters of A-Z a-z 0-9 . _ : / + = @ -"
        )
    if settings.otlp_endpoint and urlsplit(settings.otlp_endpoint).scheme not in ("http", "https"):
        read.fault(
            f"OTLP_ENDPOINT={settings.otlp_endpoint!r}: must be http:// or https://, "
            "the base URL of a collector that takes OTLP over HTTP, mostly at port 4318"
        )
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        read.fault("BERTH_TLS_CERT_FILE and BERTH_TLS_KEY_FILE: set both, or neither")
    if settings.otlp_token_file is not None and not settings.otlp_token_file.is_file():
        read.fault(f"BERTH_OTLP_TOKEN_FILE={str(settings.otlp_token_file)!r}: no such file")
    url = urlsplit(settings.engine_url)
    if url.scheme != "http" or url.hostname not in ("127.0.0.1", "localhost", "::1"):
        read.fault(
            f"BERTH_ENGINE_URL={settings.engine_url!r}: must be http:// on a loopback address, "
            "for an engine has no authentication of its own"
        )
