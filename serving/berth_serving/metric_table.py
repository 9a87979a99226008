"""Every metric that a model server exports: name, unit, group, labels, meaning. Data only.

`metrics.py` makes its registry from this table, tests hold the two together, and the documentation is
written from it. Names are those that `/metrics` shows: prometheus_client appends `_total` to a counter, so
the lesson's `llm_request_count` is `llm_request_count_total`, as in the lesson's own code. TGI's names carry
neither `_total` nor a unit.

Groups are the lesson's five: system, operational, model, business, safety.

Sources of names: the lesson (`llm_`), text-generation-inference 3.3.6 (`tgi_`), OpenTelemetry's semantic
conventions for generative AI 1.38 (`gen_ai_`, with Prometheus' suffixes for units), prometheus_client's own
(`process_`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
SYSTEM, OPERATIONAL, MODEL, BUSINESS, SAFETY = "system", "operational", "model", "business", "safety"
GROUPS = (SYSTEM, OPERATIONAL, MODEL, BUSINESS, SAFETY)


@dataclass(frozen=True, slots=True)
class Row:
    """One metric.

    Attributes:
        name: as `/metrics` shows it.
        kind: counter, gauge or histogram.
        group: one of `GROUPS`.
        unit: of its value; "1" is a plain count or a ratio.
        text: its help.
        labels: names; values are closed sets, settings, or capped.
        buckets: a histogram's upper bounds; empty: powers of two up to MAX_TOTAL_TOKENS.
        when: what has to be there for it to be exported; "" is always.
    """

    name: str
    kind: str
    group: str
    unit: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    when: str = ""


_TGI_DURATIONS = tuple(0.0001 * 1.5**n for n in range(1, 36))
_FIRST_TOKEN = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_BETWEEN_TOKENS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 5)
_QUEUE_WAIT = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_REQUEST = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
_THROUGHPUT = (1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280)
_PERPLEXITY = (1, 1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 1024)
_COST = tuple(10.0**n for n in range(-7, 2))
# The buckets that the conventions recommend for each.
_GEN_AI_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_GEN_AI_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_GEN_AI_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_GEN_AI_TOKENS = tuple(float(4**n) for n in range(14))
_FILTER_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "variant")

_NVML = "NVIDIA's management library and a GPU that this container sees"
_CGROUP = "a cgroup of version 2"
_PSI = "a kernel with pressure stall information"
_PRICE = "BERTH_COST_PER_HOUR"
_FILTERS = "BERTH_FILTERS_FILE"

TABLE: tuple[Row, ...] = (
    # -- system ---------------------------------------------------------------------------------------------
    Row("llm_gpu_memory_used_bytes", GAUGE, SYSTEM, "bytes",
        "GPU memory in use, all visible GPUs together; NaN where this process sees none"),
    Row("berth_metric_source_available", GAUGE, SYSTEM, "1",
        "1 where a source of system metrics is there, 0 where it is absent, with the reason",
        ("source", "reason")),
    Row("berth_gpu_utilisation_ratio", GAUGE, SYSTEM, "1",
        "Share of the last sample period in which the GPU computed", ("gpu",), when=_NVML),
    Row("berth_gpu_memory_used_bytes", GAUGE, SYSTEM, "bytes", "GPU memory in use", ("gpu",), when=_NVML),
    Row("berth_gpu_memory_total_bytes", GAUGE, SYSTEM, "bytes", "GPU memory there is", ("gpu",), when=_NVML),
    Row("berth_gpu_power_watts", GAUGE, SYSTEM, "watts", "Power that the GPU draws", ("gpu",), when=_NVML),
    Row("berth_gpu_temperature_celsius", GAUGE, SYSTEM, "celsius", "Temperature of the GPU", ("gpu",),
        when=_NVML),
    Row("berth_node_cpu_seconds_total", COUNTER, SYSTEM, "seconds",
        "CPU time of the whole machine, by what it went to; iowait is waiting for disks", ("mode",),
        when="/proc/stat"),
    Row("berth_node_memory_bytes", GAUGE, SYSTEM, "bytes", "Memory of the whole machine", ("state",),
        when="/proc/meminfo"),
    Row("berth_node_pressure_seconds_total", COUNTER, SYSTEM, "seconds",
        "Time in which something on this machine waited for cpu, io or memory", ("resource",), when=_PSI),
    Row("berth_container_cpu_seconds_total", COUNTER, SYSTEM, "seconds", "CPU time of this container",
        when=_CGROUP),
    Row("berth_container_cpu_throttled_seconds_total", COUNTER, SYSTEM, "seconds",
        "Time in which this container's CPU limit held it back", when=_CGROUP),
    Row("berth_container_memory_bytes", GAUGE, SYSTEM, "bytes",
        "Memory of this container: used, and its limit where it has one", ("state",), when=_CGROUP),
    Row("berth_container_io_wait_seconds_total", COUNTER, SYSTEM, "seconds",
        "Time in which something in this container waited for input or output", when=_CGROUP),
    Row("process_cpu_seconds_total", COUNTER, SYSTEM, "seconds", "CPU time of the gateway's process"),
    Row("process_resident_memory_bytes", GAUGE, SYSTEM, "bytes", "Memory of the gateway's process in RAM"),
    Row("process_virtual_memory_bytes", GAUGE, SYSTEM, "bytes", "Memory that the gateway's process reserved"),
    Row("process_start_time_seconds", GAUGE, SYSTEM, "seconds since 1970", "When the gateway began"),
    Row("process_open_fds", GAUGE, SYSTEM, "1", "File descriptors that the gateway has open"),
    Row("process_max_fds", GAUGE, SYSTEM, "1", "File descriptors that the gateway may have open"),
    # -- operational ----------------------------------------------------------------------------------------
    Row("llm_request_count_total", COUNTER, OPERATIONAL, "1", "Generation requests received"),
    Row("llm_request_latency_seconds", HISTOGRAM, OPERATIONAL, "seconds",
        "Time from request to whole answer", buckets=_REQUEST),
    Row("llm_active_requests", GAUGE, OPERATIONAL, "1", "Generation requests in flight, running or waiting"),
    Row("tgi_request_count", COUNTER, OPERATIONAL, "1", "Generation requests received"),
    Row("tgi_request_success", COUNTER, OPERATIONAL, "1", "Generation requests answered whole"),
    Row("tgi_request_failure", COUNTER, OPERATIONAL, "1", "Generation requests that failed, by reason",
        ("err",)),
    Row("tgi_request_duration", HISTOGRAM, OPERATIONAL, "seconds", "Time from request to whole answer",
        buckets=_TGI_DURATIONS),
    Row("tgi_request_validation_duration", HISTOGRAM, OPERATIONAL, "seconds",
        "Time spent validating and tokenizing", buckets=_TGI_DURATIONS),
    Row("tgi_request_queue_duration", HISTOGRAM, OPERATIONAL, "seconds", "Time waited for an engine slot",
        buckets=_TGI_DURATIONS),
    Row("tgi_request_inference_duration", HISTOGRAM, OPERATIONAL, "seconds", "Time in an engine slot",
        buckets=_TGI_DURATIONS),
    Row("tgi_request_mean_time_per_token_duration", HISTOGRAM, OPERATIONAL, "seconds",
        "Time per generated token, mean of a request", buckets=_TGI_DURATIONS),
    Row("tgi_queue_size", GAUGE, OPERATIONAL, "1", "Requests waiting for an engine slot"),
    Row("tgi_batch_current_size", GAUGE, OPERATIONAL, "1", "Requests in an engine slot"),
    Row("gen_ai_server_request_duration_seconds", HISTOGRAM, OPERATIONAL, "seconds",
        "Time from request to the end of the answer; error_type is empty where it came whole",
        (*_GEN_AI, "error_type"), _GEN_AI_DURATION),
    Row("gen_ai_server_time_to_first_token_seconds", HISTOGRAM, OPERATIONAL, "seconds",
        "Time from request to the first token of a whole answer", _GEN_AI, _GEN_AI_FIRST),
    Row("gen_ai_server_time_per_output_token_seconds", HISTOGRAM, OPERATIONAL, "seconds",
        "Time per token after the first, mean of a request", _GEN_AI, _GEN_AI_PER_TOKEN),
    Row("berth_requests_total", COUNTER, OPERATIONAL, "1", "Requests answered, by route and outcome",
        ("route", "outcome")),
    Row("berth_time_to_first_token_seconds", HISTOGRAM, OPERATIONAL, "seconds",
        "Time from request to the engine's first token", ("route",), _FIRST_TOKEN),
    Row("berth_inter_token_latency_seconds", HISTOGRAM, OPERATIONAL, "seconds",
        "Time between two tokens of one request", buckets=_BETWEEN_TOKENS),
    Row("berth_queue_wait_seconds", HISTOGRAM, OPERATIONAL, "seconds",
        "Time that a request waited for an engine slot, also where none came in time", buckets=_QUEUE_WAIT),
    Row("berth_queue_depth", GAUGE, OPERATIONAL, "1", "Requests admitted and waiting for an engine slot"),
    Row("berth_running_requests", GAUGE, OPERATIONAL, "1", "Requests in an engine slot"),
    Row("berth_engine_slots", GAUGE, OPERATIONAL, "1", "Engine slots"),
    Row("berth_max_concurrent_requests", GAUGE, OPERATIONAL, "1", "Requests that may be in flight"),
    Row("berth_drain_limit_seconds", GAUGE, OPERATIONAL, "seconds",
        "Longest time from SIGTERM to the end, which the pod's grace is computed from"),
    Row("berth_engine_ready", GAUGE, OPERATIONAL, "1", "1 while the engine has proven that it answers"),
    Row("berth_engine_loading", GAUGE, OPERATIONAL, "1",
        "1 from the gateway's start until the engine has answered for the first time"),
    Row("berth_engine_wedged", GAUGE, OPERATIONAL, "1",
        "1 while the engine says that it is well and answers no prompt"),
    Row("berth_engine_losses_total", COUNTER, OPERATIONAL, "1", "Times that a ready engine was lost"),
    Row("berth_draining", GAUGE, OPERATIONAL, "1", "1 from SIGTERM on"),
    Row("berth_certificate_expires_timestamp_seconds", GAUGE, OPERATIONAL, "seconds since 1970",
        "When the certificate that clients are shown ends", when="BERTH_TLS_CERT_FILE"),
    Row("berth_server_info", GAUGE, OPERATIONAL, "1", "What is served, always 1",
        ("model", "engine", "variant", "revision")),
    Row("berth_spans_dropped_total", COUNTER, OPERATIONAL, "1",
        "Spans of traces that never reached a collector", when="OTLP_ENDPOINT"),
    # -- model ----------------------------------------------------------------------------------------------
    Row("llm_temperature", GAUGE, MODEL, "1", "Temperature of the latest request"),
    Row("llm_token_throughput", HISTOGRAM, MODEL, "tokens per second",
        "Tokens generated per second, per request", buckets=_THROUGHPUT),
    Row("llm_token_count", HISTOGRAM, MODEL, "tokens", "Tokens generated per request"),
    Row("tgi_request_generated_tokens", HISTOGRAM, MODEL, "tokens", "Tokens generated per request"),
    Row("tgi_request_input_length", HISTOGRAM, MODEL, "tokens", "Tokens of the prompt per request"),
    Row("tgi_request_max_new_tokens", HISTOGRAM, MODEL, "tokens", "Tokens asked for per request"),
    Row("gen_ai_client_token_usage", HISTOGRAM, MODEL, "tokens", "Tokens per request, by input and output",
        (*_GEN_AI, "gen_ai_token_type"), _GEN_AI_TOKENS),
    Row("berth_prompt_tokens_total", COUNTER, MODEL, "tokens", "Tokens of prompts taken by the engine"),
    Row("berth_generated_tokens_total", COUNTER, MODEL, "tokens", "Tokens generated"),
    Row("berth_perplexity", HISTOGRAM, MODEL, "1",
        "exp of the mean negative log-probability of an answer's tokens, where the engine told them",
        buckets=_PERPLEXITY),
    # -- business -------------------------------------------------------------------------------------------
    Row("berth_cost_dollars_total", COUNTER, BUSINESS, "US dollars",
        "What this server has cost since it began: its price per hour times its time", when=_PRICE),
    Row("berth_request_cost_dollars", HISTOGRAM, BUSINESS, "US dollars",
        "Cost of a request: the price of its engine slot for the time that it held it", ("variant",), _COST,
        when=_PRICE),
    Row("berth_key_requests_total", COUNTER, BUSINESS, "1",
        "Generation requests per API key; beyond a hundred keys they are `other`", ("key",)),
    Row("berth_key_tokens_total", COUNTER, BUSINESS, "tokens",
        "Tokens per API key; beyond a hundred keys they are `other`", ("key", "direction")),
    Row("berth_feedback_total", COUNTER, BUSINESS, "1",
        "What users did with answers: engagement (liked, disliked, copied, regenerated) and conversion",
        ("event", "variant")),
    Row("berth_conversion_value_total", COUNTER, BUSINESS, "as the caller counts it",
        "Sum of the values of conversions", ("variant",)),
    # -- safety ---------------------------------------------------------------------------------------------
    Row("berth_filter_decisions_total", COUNTER, SAFETY, "1",
        "What filters decided: allow, flag, redact, block, or error where one could not tell",
        ("filter", "stage", "decision"), when=_FILTERS),
    Row("berth_filter_duration_seconds", HISTOGRAM, SAFETY, "seconds", "Time a filter took for one text",
        ("filter",), _FILTER_SECONDS, when=_FILTERS),
    Row("berth_policy_violations_total", COUNTER, SAFETY, "1",
        "Requests in which a filter found something, by the filter's category",
        ("category", "stage", "variant")),
    Row("berth_user_reports_total", COUNTER, SAFETY, "1", "Answers that users reported, by reason",
        ("category", "variant")),
)  # fmt: skip

BY_NAME = {row.name: row for row in TABLE}

ABSENT: dict[str, str] = {
    "attention patterns": "they are inside the engine, and none of the engines tells them over its API",
    "perplexity of requests without log-probabilities": "engines compute them only when asked; "
    "TGI's contract asks where it shows tokens, OpenAI's only with `logprobs`",
    "the engine's own CPU time and memory": "it is another container with a process namespace of its own; "
    "the kubelet's cAdvisor has both",
    "GPUs of another container": "NVML sees the GPUs that its own container was given; "
    "DCGM's exporter sees all",
}
"""What the lesson names, or a reader would look for, and no metric says; each with the reason."""


def powers(up_to: int) -> tuple[float, ...]:
    """Powers of two from 1 to the first that holds `up_to`."""
    return tuple(float(2**n) for n in range(max(1, math.ceil(math.log2(up_to)) + 1)))
