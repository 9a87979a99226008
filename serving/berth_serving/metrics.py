"""The gateway's registry, made from the table in `metric_table.py`, and what is counted where.

prometheus_client appends `_total` to a counter's name: `llm_request_count` is exposed as
`llm_request_count_total`, as the lesson's own code does.

Labels are bounded: routes, outcomes, events and reasons are closed sets; model and variant are settings;
names of keys are capped.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from berth_serving.metric_table import BY_NAME, COUNTER, powers
from berth_serving.system_metrics import SystemCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from berth_serving.admission import Admission
    from berth_serving.call import Call
    from berth_serving.contracts.model import Timing
    from berth_serving.engines.protocol import Finished
    from berth_serving.settings import GatewaySettings

OUTCOMES = (
    "ok", "validation", "authentication", "authorization", "content_filter", "overloaded", "not_ready",
    "generation", "drained", "client_gone", "too_large", "timeout", "not_found", "internal",
)  # fmt: skip
_FAILURES = (
    *("validation", "content_filter", "overloaded", "not_ready", "generation", "drained", "internal"),
)
OTHER = "other"
_MOST_KEYS = 100
_SECONDS_PER_HOUR = 3600.0


class Capped:
    """Label values from outside: the first `most` stay themselves, all later ones are `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The label's value."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


@dataclass(frozen=True, slots=True)
class _GenAi:
    """The series of one operation."""

    duration: Histogram
    first: Histogram
    per_token: Histogram
    input: Histogram
    output: Histogram


class GatewayMetrics:
    """The registry and its metrics. Queue and slot gauges are read from `admission` when scraped."""

    def __init__(self, settings: GatewaySettings, admission: Admission) -> None:  # noqa: PLR0915 - a list of names
        # `_created` series double what is scraped and answer no question of ours.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._tgi = _TgiCounters()
        self._settings = settings
        self._key = Capped(_MOST_KEYS)
        self._gen_ai_series: dict[str, _GenAi] = {}
        self._price = settings.cost_per_hour / _SECONDS_PER_HOUR / settings.engine_slots
        registry.register(_Load(admission, settings))
        registry.register(SystemCollector())
        ProcessCollector(registry=registry)
        tokens = powers(settings.max_total_tokens)

        def counter(name: str) -> Counter:
            row = BY_NAME[name]
            return Counter(name, row.text, row.labels, registry=registry)

        def gauge(name: str) -> Gauge:
            row = BY_NAME[name]
            return Gauge(name, row.text, row.labels, registry=registry)

        def histogram(name: str) -> Histogram:
            row = BY_NAME[name]
            return Histogram(name, row.text, row.labels, buckets=row.buckets or tokens, registry=registry)

        # The lesson's.
        self.llm_requests = counter("llm_request_count_total")
        self.llm_latency = histogram("llm_request_latency_seconds")
        self.llm_temperature = gauge("llm_temperature")
        self.llm_throughput = histogram("llm_token_throughput")
        self.llm_tokens = histogram("llm_token_count")
        # TGI's. Its 100 linear length buckets are powers of two here: 300 series fewer, the same answers.
        self.tgi_duration = histogram("tgi_request_duration")
        self.tgi_validation = histogram("tgi_request_validation_duration")
        self.tgi_queue = histogram("tgi_request_queue_duration")
        self.tgi_inference = histogram("tgi_request_inference_duration")
        self.tgi_per_token = histogram("tgi_request_mean_time_per_token_duration")
        self.tgi_generated = histogram("tgi_request_generated_tokens")
        self.tgi_input = histogram("tgi_request_input_length")
        self.tgi_max_new = histogram("tgi_request_max_new_tokens")
        # OpenTelemetry's.
        self.gen_ai_duration = histogram("gen_ai_server_request_duration_seconds")
        self.gen_ai_first = histogram("gen_ai_server_time_to_first_token_seconds")
        self.gen_ai_per_token = histogram("gen_ai_server_time_per_output_token_seconds")
        self.gen_ai_usage = histogram("gen_ai_client_token_usage")
        # Ours.
        self.requests = counter("berth_requests_total")
        self.first_token = histogram("berth_time_to_first_token_seconds")
        self.between_tokens = histogram("berth_inter_token_latency_seconds")
        self.prompt_tokens = counter("berth_prompt_tokens_total")
        self.generated_tokens = counter("berth_generated_tokens_total")
        self.perplexity = histogram("berth_perplexity")
        self.queue_wait = histogram("berth_queue_wait_seconds")
        self.engine_ready = gauge("berth_engine_ready")
        self.engine_loading = gauge("berth_engine_loading")
        self.engine_wedged = gauge("berth_engine_wedged")
        self.engine_losses = counter("berth_engine_losses_total")
        self.draining = gauge("berth_draining")
        self.key_requests = counter("berth_key_requests_total")
        self.key_tokens = counter("berth_key_tokens_total")
        self.feedback = counter("berth_feedback_total")
        self.conversion_value = counter("berth_conversion_value_total")
        self.user_reports = counter("berth_user_reports_total")
        self.policy_violations = counter("berth_policy_violations_total")
        self.request_cost = histogram("berth_request_cost_dollars") if self._price else None
        self.filter_decisions = counter("berth_filter_decisions_total") if settings.filters_file else None
        self.filter_seconds = histogram("berth_filter_duration_seconds") if settings.filters_file else None

    def tgi_received(self) -> None:
        """Count a generation request under TGI's name."""
        self._tgi.count += 1

    def tgi_succeeded(self) -> None:
        """Count a whole answer under TGI's name."""
        self._tgi.success += 1

    def tgi_failed(self, kind: str) -> None:
        """Count a failure under TGI's name; `kind` is one of OUTCOMES."""
        self._tgi.failure[kind] = self._tgi.failure.get(kind, 0) + 1

    def begun(self, call: Call) -> None:
        """Count a generation request of a key."""
        self.key_requests.labels(self._key(call.key.name)).inc()

    def finished(self, call: Call, finished: Finished, timing: Timing, max_new_tokens: int) -> None:
        """Count a whole answer, under every name that it has."""
        seconds = timing.ended - timing.started
        total = timing.ended - timing.received
        tokens = finished.output_tokens
        self.prompt_tokens.inc(finished.input_tokens)
        self.generated_tokens.inc(tokens)
        self.llm_latency.observe(total)
        self.llm_tokens.observe(tokens)
        if tokens and seconds > 0:
            self.llm_throughput.observe(tokens / seconds)
            self.tgi_per_token.observe(seconds / tokens)
        self.tgi_duration.observe(total)
        self.tgi_validation.observe(timing.validated - timing.received)
        self.tgi_queue.observe(timing.started - timing.validated)
        self.tgi_inference.observe(seconds)
        self.tgi_generated.observe(tokens)
        self.tgi_input.observe(finished.input_tokens)
        self.tgi_max_new.observe(max_new_tokens)
        gen_ai = self._gen_ai(call.operation)
        gen_ai.duration.observe(total)
        if timing.first_token:
            gen_ai.first.observe(timing.first_token - timing.received)
        if tokens > 1 and timing.first_token:
            gen_ai.per_token.observe((timing.ended - timing.first_token) / (tokens - 1))
        gen_ai.input.observe(finished.input_tokens)
        gen_ai.output.observe(tokens)
        key = self._key(call.key.name)
        self.key_tokens.labels(key, "input").inc(finished.input_tokens)
        self.key_tokens.labels(key, "output").inc(tokens)
        if self.request_cost is not None:
            self.request_cost.labels(self._settings.variant).observe(seconds * self._price)

    def failed(self, call: Call, kind: str) -> None:
        """Count a generation that was not finished; `kind` is the class of its error."""
        seconds = time.monotonic() - call.received
        self.gen_ai_duration.labels(*self._gen_ai_labels(call.operation), kind).observe(seconds)

    def _gen_ai_labels(self, operation: str) -> tuple[str, str, str, str]:
        return operation, self._settings.engine, self._settings.model_id, self._settings.variant

    def _gen_ai(self, operation: str) -> _GenAi:
        """The series of an operation; looking them up by their labels costs more than counting."""
        found = self._gen_ai_series.get(operation)
        if found is None:
            labels = self._gen_ai_labels(operation)
            found = self._gen_ai_series[operation] = _GenAi(
                self.gen_ai_duration.labels(*labels, ""),
                self.gen_ai_first.labels(*labels),
                self.gen_ai_per_token.labels(*labels),
                self.gen_ai_usage.labels(*labels, "input"),
                self.gen_ai_usage.labels(*labels, "output"),
            )
        return found

    def export(self, name: str, value: Callable[[], float]) -> None:
        """Export a counter or gauge of the table that is read from somewhere when scraped."""
        self.registry.register(_Read(name, value))

    def render(self) -> bytes:
        """Everything in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry) + self._tgi.render()


class _Read:
    def __init__(self, name: str, value: Callable[[], float]) -> None:
        self._name = name
        self._value = value

    def collect(self) -> Iterable[Metric]:
        row = BY_NAME[self._name]
        family = CounterMetricFamily if row.kind == COUNTER else GaugeMetricFamily
        yield family(self._name, row.text, value=self._value())


class _Load:
    """Gauges that are read, not kept: they cannot drift from what admission does."""

    def __init__(self, admission: Admission, settings: GatewaySettings) -> None:
        self._admission = admission
        self._settings = settings
        self._began = time.monotonic()

    def collect(self) -> Iterable[Metric]:
        admission, of = self._admission, self._settings
        values = {
            "berth_queue_depth": admission.queue_depth,
            "berth_running_requests": admission.running,
            "berth_engine_slots": admission.slots,
            "berth_max_concurrent_requests": admission.capacity,
            "berth_drain_limit_seconds": of.drain_seconds,
            "llm_active_requests": admission.in_flight,
            "tgi_queue_size": admission.queue_depth,
            "tgi_batch_current_size": admission.running,
        }
        for name, value in values.items():
            yield GaugeMetricFamily(name, BY_NAME[name].text, value=value)
        row = BY_NAME["berth_server_info"]
        info = GaugeMetricFamily(row.name, row.text, labels=row.labels)
        info.add_metric([of.model_id, of.engine, of.variant, of.model_revision], 1)
        yield info
        if of.cost_per_hour:
            hours = (time.monotonic() - self._began) / _SECONDS_PER_HOUR
            row = BY_NAME["berth_cost_dollars_total"]
            yield CounterMetricFamily(row.name, row.text, value=hours * of.cost_per_hour)


class _TgiCounters:
    """TGI's three counters, whose names carry no `_total`: prometheus_client cannot write such a counter."""

    def __init__(self) -> None:
        self.count = 0
        self.success = 0
        # From the first scrape on: a counter that begins with its first failure hides it from `rate`.
        self.failure: dict[str, int] = dict.fromkeys(_FAILURES, 0)

    def render(self) -> bytes:
        samples = {
            "tgi_request_count": [("", self.count)],
            "tgi_request_success": [("", self.success)],
            "tgi_request_failure": [
                (f'{{err="{kind}"}}', value) for kind, value in sorted(self.failure.items())
            ],
        }
        lines = []
        for name, values in samples.items():
            lines += [f"# HELP {name} {BY_NAME[name].text}", f"# TYPE {name} counter"]
            lines += [f"{name}{labels} {value}" for labels, value in values]
        return ("\n".join(lines) + "\n").encode()


def perplexity(log_probabilities: float, tokens: int) -> float:
    """Of a text whose tokens' natural log-probabilities sum to the first; infinity where it overflows."""
    try:
        return math.exp(-log_probabilities / tokens)
    except OverflowError:
        return math.inf
