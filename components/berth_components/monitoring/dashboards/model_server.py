"""Model server: latency, load, tokens and health of the servers chosen."""

from __future__ import annotations

from berth_components.monitoring.facts import ENGINE

from .load_test import LOAD_TEST
from .model import Dashboard, Panel, Query, Section
from .other_names import OTHER_NAMES
from .promql import LEGEND, SERVER, largest, mean, quantile, quiet, rate, recorded, total

_FIRST = "berth_time_to_first_token_seconds"
_BETWEEN = "berth_inter_token_latency_seconds"
_LATENCY = "llm_request_latency_seconds"


def _threshold(slo: str) -> Query:
    return Query(f'server:slo_threshold:seconds{{{SERVER},slo="{slo}"}}', "objective {{model}}", line=True)


_GATEWAY = ',job="berth-gateway"'


def _of_gateway(name: str) -> str:
    """A series that every process in Go or Python exports, of the gateways only."""
    return largest(name, _GATEWAY, "site, model, pod")


def _quantiles(name: str) -> tuple[Query, ...]:
    return tuple(Query(quantile(part, name), f"p{round(part * 100)} {LEGEND}") for part in (0.5, 0.95, 0.99))


_LEVELS = Section(
    "Service levels",
    (
        Panel(
            title="Error budget left",
            text="What may still go wrong in the objectives' window, by objective.",
            queries=(Query(recorded("server:slo_error_budget_remaining:ratio"), "{{model}} {{slo}}"),),
            unit="percentunit",
            limits=(0.5, 0.1),
        ),
        Panel(
            title="Burn rate",
            text="How fast the budget is spent: 1 uses it up exactly at the window's end, 14.4 within two "
            "days.",
            queries=(
                Query(
                    f"{recorded('server:slo_errors:ratio_rate1h')} "
                    f"/ {recorded('server:slo_error_budget:ratio')}",
                    "{{model}} {{slo}}",
                ),
            ),
            limits=(1, 14.4),
        ),
        Panel(
            title="Bad events",
            text="Share of events of the last five minutes that count against an objective.",
            queries=(Query(recorded("server:slo_errors:ratio_rate5m"), "{{model}} {{slo}}"),),
            unit="percentunit",
        ),
    ),
)

_TIMES = Section(
    "Latency",
    (
        Panel(
            title="Time to first token",
            text="From a request's arrival to its first token: half, 19 of 20, and 99 of 100 answers begin "
            "within these times.",
            queries=(*_quantiles(_FIRST), _threshold("first_token_p99")),
            unit="s",
            slo="first_token_p99",
        ),
        Panel(
            title="Time between tokens",
            text="Time from one token to the next of the same answer.",
            queries=(*_quantiles(_BETWEEN), _threshold("inter_token")),
            unit="s",
            slo="inter_token",
        ),
        Panel(
            title="Request latency",
            text="From request to whole answer. It grows with the answer's length; time to first token "
            "does not.",
            queries=(*_quantiles(_LATENCY), Query(mean(_LATENCY), f"mean {LEGEND}")),
            unit="s",
        ),
        Panel(
            title="Where the time goes",
            text="Mean seconds of a request in each stage: checked and tokenised, waiting for a slot, in "
            "a slot.",
            queries=(
                Query(mean("tgi_request_validation_duration"), f"validation {LEGEND}"),
                Query(mean("tgi_request_queue_duration"), f"waiting {LEGEND}"),
                Query(mean("tgi_request_inference_duration"), f"inference {LEGEND}"),
            ),
            unit="s",
            stacked=True,
        ),
        Panel(
            title="Time waiting for a slot, 95th percentile",
            text="19 of 20 requests get a slot of the engine within this time.",
            queries=(
                Query(quantile(0.95, "berth_queue_wait_seconds"), LEGEND),
                _threshold("queue_wait"),
            ),
            unit="s",
            slo="queue_wait",
        ),
        Panel(
            title="Time per token",
            text="Mean time per generated token of a request, 95th percentile.",
            queries=(Query(quantile(0.95, "tgi_request_mean_time_per_token_duration"), LEGEND),),
            unit="s",
        ),
    ),
)

_LOAD = Section(
    "Load",
    (
        Panel(
            title="Requests received",
            text="Generation requests per second.",
            queries=(Query(rate("llm_request_count_total"), LEGEND),),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Requests by outcome",
            text="Everything answered per second, by how it ended; what is not ok is refused or failed.",
            queries=(Query(rate("berth_requests_total", by="outcome"), "{{outcome}}"),),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Failures by reason",
            text="Failed generation requests per second, by TGI's reason.",
            queries=(
                Query(
                    quiet(rate("tgi_request_failure", by="site, model, variant, err"), "err"),
                    "{{model}} {{err}}",
                ),
            ),
            unit="reqps",
        ),
        Panel(
            title="In flight",
            text="Requests being answered or waiting, and how many there may be: above that, clients get "
            "429.",
            queries=(
                Query(total("llm_active_requests"), LEGEND),
                Query(total("berth_max_concurrent_requests"), f"limit {LEGEND}", line=True),
            ),
        ),
        Panel(
            title="Queue length",
            text="Requests that wait for a slot of the engine.",
            queries=(Query(total("berth_queue_depth"), LEGEND),),
        ),
        Panel(
            title="Slots of the engine",
            text="Requests that the engine works on at once, and how many it can.",
            queries=(
                Query(total("berth_running_requests"), LEGEND),
                Query(total("berth_engine_slots"), f"slots {LEGEND}", line=True),
            ),
        ),
        Panel(
            title="Key-value cache used",
            text="Share of the engine's cache for running requests; when full, requests wait or are put off.",
            queries=(Query(recorded("server:kv_cache_use:max"), LEGEND),),
            unit="percentunit",
            limits=(0.85, 0.95),
            sources=(ENGINE,),
            given="kv_cache",
        ),
    ),
)

_TOKENS = Section(
    "Tokens and behaviour",
    (
        Panel(
            title="Token throughput",
            text="Tokens generated, and tokens of prompts read, per second, all requests together.",
            queries=(
                Query(rate("berth_generated_tokens_total"), f"generated {LEGEND}"),
                Query(rate("berth_prompt_tokens_total"), f"prompts {LEGEND}"),
            ),
            unit="suffix: tok/s",
        ),
        Panel(
            title="Speed of one answer",
            text="Tokens per second that one request gets: the median, and what 19 of 20 get at least.",
            queries=(
                Query(quantile(0.5, "llm_token_throughput"), f"median {LEGEND}"),
                Query(quantile(0.05, "llm_token_throughput"), f"slowest 5 % {LEGEND}"),
            ),
            unit="suffix: tok/s",
        ),
        Panel(
            title="Generation length",
            text="Tokens per answer, and how many were asked for at most.",
            queries=(
                Query(mean("llm_token_count"), f"mean {LEGEND}"),
                Query(quantile(0.95, "llm_token_count"), f"p95 {LEGEND}"),
                Query(mean("tgi_request_max_new_tokens"), f"asked for {LEGEND}"),
            ),
            unit="suffix: tok",
        ),
        Panel(
            title="Prompt length",
            text="Tokens per prompt.",
            queries=(
                Query(mean("tgi_request_input_length"), f"mean {LEGEND}"),
                Query(quantile(0.95, "tgi_request_input_length"), f"p95 {LEGEND}"),
            ),
            unit="suffix: tok",
        ),
        Panel(
            title="Perplexity",
            text="How sure the model was of its own words: 1 is certain, higher is less. A step after a "
            "release "
            "means that the model behaves differently.",
            queries=(
                Query(mean("berth_perplexity"), f"mean {LEGEND}"),
                Query(quantile(0.95, "berth_perplexity"), f"p95 {LEGEND}"),
            ),
            needs="requests that ask for log-probabilities",
            gate='sum(increase(berth_perplexity_count{site=~"$site"}[5m])) > 0',
        ),
        Panel(
            title="Temperature",
            text="Temperature of the latest request of each replica.",
            queries=(
                Query(
                    "avg by (site, model, variant) "
                    '(llm_temperature{site=~"$site",model=~"$model",variant=~"$variant"})',
                    LEGEND,
                ),
            ),
        ),
    ),
)

_HEALTH = Section(
    "Health of the replicas",
    (
        Panel(
            title="Engine ready",
            text="1 while a replica's engine has proven that it answers; loading: it has not answered yet.",
            queries=(
                Query(largest("berth_engine_ready", by="site, model, pod"), "{{pod}}"),
                Query(largest("berth_engine_loading", by="site, model, pod"), "{{pod}} loading"),
            ),
            limits=(0.9, 0.5),
        ),
        Panel(
            title="Engine wedged",
            text="1 while an engine says that it is well and answers no prompt; it is restarted for that.",
            queries=(Query(largest("berth_engine_wedged", by="site, model, pod"), "{{pod}}"),),
            limits=(1, 1),
        ),
        Panel(
            title="Certificate's end",
            text="Days until the certificate that clients are shown ends.",
            queries=(
                Query(
                    "(min by (site, model, variant) "
                    f"(berth_certificate_expires_timestamp_seconds{{{SERVER}}}) - time()) / 86400",
                    LEGEND,
                ),
            ),
            unit="d",
            limits=(21, 7),
            given="tls",
        ),
        Panel(
            title="Engines lost",
            text="Times that a ready engine was lost, per hour.",
            queries=(
                Query(
                    f"3600 * sum by (site, model, variant) (rate(berth_engine_losses_total{{{SERVER}}}[1h]))",
                    LEGEND,
                ),
            ),
            limits=(1, 3),
        ),
        Panel(
            title="Processor time of the gateways",
            text="Cores that each gateway's own process uses; the engine is another container.",
            queries=(Query(rate("process_cpu_seconds_total", _GATEWAY, "site, model, pod"), "{{pod}}"),),
            unit="suffix: cores",
        ),
        Panel(
            title="Memory of the gateways",
            text="Main memory of each gateway's process, and what it has reserved.",
            queries=(
                Query(_of_gateway("process_resident_memory_bytes"), "{{pod}}"),
                Query(_of_gateway("process_virtual_memory_bytes"), "reserved {{pod}}"),
            ),
            unit="bytes",
        ),
        Panel(
            title="File descriptors",
            text="Open files and sockets of each gateway, as a share of what it may have.",
            queries=(
                Query(
                    f"{_of_gateway('process_open_fds')} / {_of_gateway('process_max_fds')}",
                    "{{pod}}",
                ),
            ),
            unit="percentunit",
            limits=(0.7, 0.9),
        ),
        Panel(
            title="Spans that were lost",
            text="Spans of traces per second that never reached a collector.",
            queries=(Query(rate("berth_spans_dropped_total"), LEGEND),),
            needs="traces sent to a collector (OTLP_ENDPOINT)",
            gate="count(berth_spans_dropped_total)",
        ),
    ),
)

MODEL_SERVER = Dashboard(
    name="model-server",
    title="Model server",
    text="One model: is it as quick and as reliable as promised, what holds it back, and how does it behave.",
    sections=(_LEVELS, _TIMES, _LOAD, _TOKENS, _HEALTH, LOAD_TEST, OTHER_NAMES),
)
