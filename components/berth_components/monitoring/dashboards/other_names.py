"""The same figures by the names of other contracts, and by the engines' own."""

from __future__ import annotations

from berth_components.monitoring.facts import ENGINE

from .model import Kind, Panel, Query, Section
from .promql import LEGEND, SERVER, mean, rate, total

_ENGINES = {
    "waiting": (
        "vllm:num_requests_waiting",
        "sglang:num_queue_reqs",
        "llamacpp:requests_deferred",
        "tgi_queue_size",
    ),
    "running": (
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "llamacpp:requests_processing",
        "tgi_batch_current_size",
    ),
}


def _engine(what: str) -> str:
    """The engine's own gauge, by whichever name its engine gives it."""
    return " or ".join(total(name, ',job="berth-engine"') for name in _ENGINES[what])


OTHER_NAMES = Section(
    "By the names of other contracts",
    (
        Panel(
            title="Requests, TGI's names",
            text="The same requests under the names that dashboards for text-generation-inference use: "
            "received and answered whole, per second; waiting and in a slot, now.",
            queries=(
                Query(rate("tgi_request_count"), f"received {LEGEND}"),
                Query(rate("tgi_request_success"), f"answered {LEGEND}"),
                Query(total("tgi_queue_size"), f"waiting {LEGEND}"),
                Query(total("tgi_batch_current_size"), f"in a slot {LEGEND}"),
            ),
        ),
        Panel(
            title="Durations and tokens, TGI's names",
            text="Mean seconds per request, and mean tokens per answer in hundreds, as TGI's own dashboards "
            "would draw them.",
            queries=(
                Query(mean("tgi_request_duration"), f"seconds {LEGEND}"),
                Query(f"({mean('tgi_request_generated_tokens')}) / 100", f"tokens / 100 {LEGEND}"),
            ),
        ),
        Panel(
            title="Latency, OpenTelemetry's names",
            text="Means by OpenTelemetry's conventions for generative AI: whole answer, first token, each "
            "token "
            "after it.",
            queries=(
                Query(mean("gen_ai_server_request_duration_seconds"), f"answer {LEGEND}"),
                Query(mean("gen_ai_server_time_to_first_token_seconds"), f"first token {LEGEND}"),
                Query(mean("gen_ai_server_time_per_output_token_seconds"), f"per token {LEGEND}"),
            ),
            unit="s",
        ),
        Panel(
            title="Token usage, OpenTelemetry's names",
            text="Tokens per second, read and generated.",
            queries=(
                Query(rate("gen_ai_client_token_usage_sum", by="gen_ai_token_type"), "{{gen_ai_token_type}}"),
            ),
            unit="suffix: tok/s",
        ),
        Panel(
            title="The engine's own queue",
            text="What the engine itself says: requests that wait in it, and that it works on. The "
            "gateway hands "
            "it no more than it has slots, so waiting stays near 0.",
            queries=(
                Query(_engine("waiting"), "waiting {{model}}"),
                Query(_engine("running"), "running {{model}}"),
            ),
            sources=(ENGINE,),
        ),
        Panel(
            title="What is served",
            text="Model, engine and revision of each replica.",
            queries=(
                Query(
                    f"count by (site, model, variant, engine, revision) (berth_server_info{{{SERVER}}})",
                    "Replicas",
                ),
            ),
            kind=Kind.TABLE,
        ),
    ),
)
