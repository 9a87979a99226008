"""What the clients of `berth load` saw, beside what the servers say."""

from __future__ import annotations

from .model import Panel, Query, Section
from .promql import LEGEND, quantile, rate, recorded, total

_CHOSEN = 'site=~"$site",model=~"$model"'
_BY_RUN = "site, model, profile"
_RUN = "{{site}}/{{model}} {{profile}}"
_RAN = "a run of ./berth load in this time, and a Prometheus that takes what it pushes"
_HAS_RUN = "count(last_over_time(berth_load_requests_in_flight[1h])) > 0"


def _of_load(part: float, name: str) -> str:
    return quantile(part, f"berth_load_{name}_seconds", by=_BY_RUN, match=_CHOSEN)


LOAD_TEST = Section(
    "As the clients of a load test saw it",
    (
        Panel(
            title="Requests of a load test",
            text="Requests that ended per second, by result, as ./berth load counted them.",
            queries=(
                Query(
                    rate("berth_load_requests_total", by=f"{_BY_RUN}, result", match=_CHOSEN),
                    f"{_RUN} {{{{result}}}}",
                ),
                Query(
                    rate("berth_load_unsent_requests_total", by=_BY_RUN, match=_CHOSEN), f"{_RUN} not sent"
                ),
            ),
            unit="reqps",
            needs=_RAN,
            gate=_HAS_RUN,
        ),
        Panel(
            title="First token as clients saw it",
            text="95th percentile, from when a request should have begun; dashed is what the server "
            "itself says. "
            "What lies between them is the network, the proxy, and waiting for a connection.",
            queries=(
                Query(_of_load(0.95, "time_to_first_token"), _RUN),
                Query(recorded("server:first_token_seconds:p95_rate5m"), f"server {LEGEND}", line=True),
            ),
            unit="s",
            needs=_RAN,
            gate=_HAS_RUN,
        ),
        Panel(
            title="Latency as clients saw it",
            text="Median and 95th percentile of whole answers, and time between tokens.",
            queries=(
                Query(_of_load(0.5, "latency"), f"median {_RUN}"),
                Query(_of_load(0.95, "latency"), f"p95 {_RUN}"),
                Query(_of_load(0.95, "inter_token_latency"), f"between tokens p95 {_RUN}"),
            ),
            unit="s",
            needs=_RAN,
            gate=_HAS_RUN,
        ),
        Panel(
            title="Tokens and requests in flight",
            text="Tokens that clients received per second, and requests that they had sent and that had "
            "not ended.",
            queries=(
                Query(rate("berth_load_tokens_total", by=_BY_RUN, match=_CHOSEN), f"tok/s {_RUN}"),
                Query(total("berth_load_requests_in_flight", by=_BY_RUN, match=_CHOSEN), f"in flight {_RUN}"),
            ),
            needs=_RAN,
            gate=_HAS_RUN,
        ),
    ),
)
