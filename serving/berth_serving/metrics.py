"""Every metric of the gateway, with its help and unit, in one place.

Three families of names: the lesson's seven `llm_*`, those that TGI's
dashboards know (`tgi_*`: histograms without a unit in their name, counters
without `_total`), and our own `berth_*`. prometheus_client appends `_total` to
a counter's name: `llm_request_count` is exposed as `llm_request_count_total`,
as the lesson's own code does.

Labels are bounded: routes and outcomes are closed sets; model and variant are
settings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from berth_serving.admission import Admission
    from berth_serving.settings import GatewaySettings

OUTCOMES = (
    "ok", "validation", "authentication", "overloaded", "not_ready", "generation", "drained",
    "client_gone", "too_large", "timeout", "not_found", "internal",
)  # fmt: skip

_TGI_DURATIONS = tuple(0.0001 * 1.5**n for n in range(1, 36))
_FIRST_TOKEN = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_BETWEEN_TOKENS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 5)
_REQUEST = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
_THROUGHPUT = (1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280)


def _powers(up_to: int) -> tuple[float, ...]:
    return tuple(float(2**n) for n in range(max(1, math.ceil(math.log2(up_to)) + 1)))


class GatewayMetrics:
    """The registry and its metrics. Queue and slot gauges are read from `admission` when scraped."""

    def __init__(self, settings: GatewaySettings, admission: Admission) -> None:
        # `_created` series double what is scraped and answer no question of ours.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._tgi = _TgiCounters()
        registry.register(_Load(admission, settings))
        tokens = _powers(settings.max_total_tokens)

        # The lesson's seven.
        self.llm_requests = Counter("llm_request_count", "Generation requests received", registry=registry)
        self.llm_latency = Histogram(
            "llm_request_latency_seconds",
            "Seconds from request to whole answer",
            buckets=_REQUEST,
            registry=registry,
        )
        self.llm_temperature = Gauge(
            "llm_temperature", "Temperature of the latest request", registry=registry
        )
        self.llm_throughput = Histogram(
            "llm_token_throughput",
            "Tokens generated per second, per request",
            buckets=_THROUGHPUT,
            registry=registry,
        )
        self.llm_gpu_memory = Gauge(
            "llm_gpu_memory_used_bytes",
            "Bytes of GPU memory used by the model; NaN where this process sees no GPU",
            registry=registry,
        )
        self.llm_gpu_memory.set(math.nan)
        self.llm_tokens = Histogram(
            "llm_token_count", "Tokens generated per request", buckets=tokens, registry=registry
        )

        # TGI's. Its 100 linear length buckets are powers of two here: 300 series fewer, the same answers.
        def tgi(name: str, text: str, buckets: tuple[float, ...] = _TGI_DURATIONS) -> Histogram:
            return Histogram(f"tgi_request_{name}", text, buckets=buckets, registry=registry)

        self.tgi_duration = tgi("duration", "Seconds from request to whole answer")
        self.tgi_validation = tgi("validation_duration", "Seconds spent validating and tokenizing")
        self.tgi_queue = tgi("queue_duration", "Seconds waited for an engine slot")
        self.tgi_inference = tgi("inference_duration", "Seconds in an engine slot")
        self.tgi_per_token = tgi(
            "mean_time_per_token_duration", "Seconds per generated token, mean of a request"
        )
        self.tgi_generated = tgi("generated_tokens", "Tokens generated per request", tokens)
        self.tgi_input = tgi("input_length", "Tokens of the prompt per request", tokens)
        self.tgi_max_new = tgi("max_new_tokens", "Tokens asked for per request", tokens)

        # Ours.
        self.requests = Counter(
            "berth_requests",
            "Requests answered, by route and outcome",
            ["route", "outcome"],
            registry=registry,
        )
        self.first_token = Histogram(
            "berth_time_to_first_token_seconds",
            "Seconds from request to the engine's first token",
            ["route"],
            buckets=_FIRST_TOKEN,
            registry=registry,
        )
        self.between_tokens = Histogram(
            "berth_inter_token_latency_seconds",
            "Seconds between two tokens of one request",
            buckets=_BETWEEN_TOKENS,
            registry=registry,
        )
        self.prompt_tokens = Counter(
            "berth_prompt_tokens", "Tokens of prompts taken by the engine", registry=registry
        )
        self.generated_tokens = Counter("berth_generated_tokens", "Tokens generated", registry=registry)
        self.engine_ready = Gauge(
            "berth_engine_ready", "1 while the engine has proven that it answers", registry=registry
        )
        self.engine_losses = Counter(
            "berth_engine_losses", "Times that a ready engine was lost", registry=registry
        )
        self.draining = Gauge("berth_draining", "1 from SIGTERM on", registry=registry)

    def tgi_received(self) -> None:
        """Count a generation request under TGI's name."""
        self._tgi.count += 1

    def tgi_succeeded(self) -> None:
        """Count a whole answer under TGI's name."""
        self._tgi.success += 1

    def tgi_failed(self, kind: str) -> None:
        """Count a failure under TGI's name; `kind` is one of OUTCOMES."""
        self._tgi.failure[kind] = self._tgi.failure.get(kind, 0) + 1

    def render(self) -> bytes:
        """Everything in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry) + self._tgi.render()


class _Load:
    """Gauges that are read, not kept: they cannot drift from what admission does."""

    def __init__(self, admission: Admission, settings: GatewaySettings) -> None:
        self._admission = admission
        self._settings = settings

    def collect(self) -> Iterable[Metric]:
        admission = self._admission
        values: Mapping[str, tuple[str, float]] = {
            "berth_queue_depth": ("Requests admitted and waiting for an engine slot", admission.queue_depth),
            "berth_running_requests": ("Requests in an engine slot", admission.running),
            "berth_engine_slots": ("Engine slots", admission.slots),
            "berth_max_concurrent_requests": ("Requests that may be in flight", admission.capacity),
            "llm_active_requests": ("Generation requests in flight, running or waiting", admission.in_flight),
            "tgi_queue_size": ("Requests waiting for an engine slot", admission.queue_depth),
            "tgi_batch_current_size": ("Requests in an engine slot", admission.running),
        }
        for name, (text, value) in values.items():
            yield GaugeMetricFamily(name, text, value=value)
        info = GaugeMetricFamily(
            "berth_server_info", "What is served, always 1", labels=["model", "engine", "variant", "revision"]
        )
        of = self._settings
        info.add_metric([of.model_id, of.engine, of.variant, of.model_revision], 1)
        yield info


class _TgiCounters:
    """TGI's three counters, whose names carry no `_total`: prometheus_client cannot write such a counter."""

    def __init__(self) -> None:
        self.count = 0
        self.success = 0
        self.failure: dict[str, int] = {"validation": 0, "overloaded": 0, "generation": 0}

    def render(self) -> bytes:
        lines = [
            "# HELP tgi_request_count Generation requests received",
            "# TYPE tgi_request_count counter",
            f"tgi_request_count {self.count}",
            "# HELP tgi_request_success Generation requests answered whole",
            "# TYPE tgi_request_success counter",
            f"tgi_request_success {self.success}",
            "# HELP tgi_request_failure Generation requests that failed, by reason",
            "# TYPE tgi_request_failure counter",
            *(f'tgi_request_failure{{err="{kind}"}} {value}' for kind, value in sorted(self.failure.items())),
        ]
        return ("\n".join(lines) + "\n").encode()
