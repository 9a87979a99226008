"""What the adapter tells of itself, for Prometheus: on a plain port of its own, behind the network policy.

Written by hand: nine series do not need a library more in the image.

    berth_adapter_answers_total{metric, outcome}    told, bound (since somebody was silent), none
    berth_adapter_answer_seconds_total{metric}      time that answers took, all together
    berth_adapter_gateways{state}                   pods that are known: ready, unready
    berth_adapter_ready                             1 while it can be asked
    berth_adapter_asked                             1 while the API server asks this adapter, not another
"""

from collections import Counter
from collections.abc import Callable

from aiohttp import web

from berth_agents.listening import exposition
from berth_agents.metrics_adapter.names import METRICS

OUTCOMES = ("told", "bound", "none")


class AdapterMetrics:
    """Counts answers, and says what is known.

    Args:
        gateways: how many gateways are Ready, and how many are not.
        unready: says why the adapter is not ready.
        unasked: says why the API server asks somebody else, if it does.
    """

    def __init__(
        self,
        gateways: Callable[[], tuple[int, int]],
        unready: Callable[[], list[str]],
        unasked: Callable[[], str | None],
    ) -> None:
        self._gateways, self._unready, self._unasked = gateways, unready, unasked
        self._answers: Counter[tuple[str, str]] = Counter()
        self._seconds = dict.fromkeys(METRICS, 0.0)

    def answered(self, metric: str, outcome: str, seconds: float) -> None:
        """Count one answer."""
        self._answers[metric, outcome] += 1
        self._seconds[metric] += seconds

    def render(self) -> str:
        """Everything in Prometheus' text format; what never happened is 0, so that rates begin with it."""
        ready, unready = self._gateways()
        lines = _head("berth_adapter_answers_total", "counter", "Answers to autoscalers, by what was told")
        lines += [
            f'berth_adapter_answers_total{{metric="{metric}",outcome="{outcome}"}} '
            f"{self._answers[metric, outcome]}"
            for metric in METRICS
            for outcome in OUTCOMES
        ]
        lines += _head("berth_adapter_answer_seconds_total", "counter", "Time that answers took")
        lines += [
            f'berth_adapter_answer_seconds_total{{metric="{metric}"}} {self._seconds[metric]:.6f}'
            for metric in METRICS
        ]
        lines += _head("berth_adapter_gateways", "gauge", "Gateways that are known")
        lines += [
            f'berth_adapter_gateways{{state="ready"}} {ready}',
            f'berth_adapter_gateways{{state="unready"}} {unready}',
        ]
        lines += _head("berth_adapter_ready", "gauge", "1 while it can be asked")
        lines.append(f"berth_adapter_ready {int(not self._unready())}")
        lines += _head("berth_adapter_asked", "gauge", "1 while the API server asks this adapter")
        lines.append(f"berth_adapter_asked {int(self._unasked() is None)}")
        return "\n".join([*lines, ""])

    def application(self) -> web.Application:
        """The port's only route."""

        async def metrics(_: web.Request) -> web.Response:
            return exposition(self.render())

        app = web.Application()
        app.router.add_get("/metrics", metrics)
        return app


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
