"""What came out of a load, as JSON and as text of 80 columns."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from berth.operations.load.capacity import Capacity
from berth.operations.load.outcomes import REFUSED, Tally
from berth.operations.load.scaling import SAMPLE_SECONDS, PodTimes, Sample, ScalingWatch, State
from berth.operations.load.settings import LoadSettings, ScalingTarget

Json = dict[str, Any]
WIDTH = 80
ROWS = 16  # of the timeline, as text


@dataclass(frozen=True, slots=True)
class NewReplica:
    """A replica that the load brought; seconds after the load began, `None` where it did not happen."""

    number: int
    pod: str
    desired: float | None
    created: float
    ready: float | None


@dataclass(frozen=True, slots=True)
class ScaleDown:
    """The way back; seconds after the load's last arrival. `complete`: as few replicas as before."""

    complete: bool
    waited: float
    desired: float | None
    gone: float | None


@dataclass(frozen=True, slots=True)
class ScalingReport:
    """What the autoscaler did; times in seconds after the load began."""

    target: str
    autoscaler: str
    minimum: int | None
    maximum: int | None
    before: int
    peak_desired: int
    peak_ready: int
    peak_queue: int | None
    new_replicas: tuple[NewReplica, ...]
    scale_down: ScaleDown | None
    timeline: tuple[Sample, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What came out of a load. Durations in seconds."""

    settings: LoadSettings
    started_at: str
    rate: float
    capacity: Capacity | None
    tally: Tally
    elapsed: float
    scaling: ScalingReport | None
    recorded: Json | None = None

    def to_json(self) -> Json:
        """Return everything, ready for `json.dumps`; it holds no key and no prompt."""
        tally = self.tally
        return {
            "settings": self.settings.to_json(),
            "started_at": self.started_at,
            "rate": self.rate,
            "capacity": asdict(self.capacity) if self.capacity else None,
            "elapsed_seconds": self.elapsed,
            "requests": {
                "scheduled": tally.scheduled,
                "sent": tally.sent,
                "unsent": tally.unsent,
                "late": tally.late,
                "ok": tally.ok,
                "failed": tally.failed,
                "refused": tally.by_status[str(REFUSED)],
                "stalled": tally.stalled,
                "stalled_errors": dict(sorted(tally.stalled_errors.items())),
                "ok_per_second": tally.ok / self.elapsed,
                "by_status": dict(sorted(tally.by_status.items())),
                "by_backend": dict(sorted(tally.by_backend.items())),
                "errors": dict(sorted(tally.errors.items())),
            },
            "latency_seconds": tally.latency.to_json(),
            "time_to_first_token_seconds": tally.first_token.to_json(),
            "between_tokens_seconds": tally.gaps.to_json(),
            "refused_latency_seconds": tally.refused_latency.to_json(),
            "tokens": {"generated": tally.tokens, "per_second": tally.tokens / self.elapsed},
            "scaling": asdict(self.scaling) if self.scaling else None,
            "recorded": self.recorded,
        }


def scaling_report(
    watch: ScalingWatch,
    target: ScalingTarget,
    *,
    before: int,
    known_pods: frozenset[str],
    started: float,
    scale_down: ScaleDown | None,
) -> ScalingReport:
    """Put together what a watch saw.

    `before` is how many replicas were desired, and `known_pods` the uids of the pods that were there, when
    the load began: at `started` in the watch's clock.
    """
    state, samples = watch.state, watch.samples
    fresh = [pod for uid, pod in state.pods.items() if uid not in known_pods]
    fresh.sort(key=lambda pod: pod.seen)
    # The sample just before the load shows what it found.
    during = [sample for sample in samples if sample.at > started - SAMPLE_SECONDS]
    desires = [replicas for moment, replicas in state.desired_changes if moment >= started]
    depths = [sample.queue_depth for sample in during if sample.queue_depth is not None]
    seen = [f"{moment - started:+.0f} s: {text}" for moment, text in state.scaling_problems]
    unknown = [f"queue depth is not known: {state.queue_problem}"] if state.queue_problem else []
    return ScalingReport(
        target=f"{target.namespace}/{target.deployment}",
        autoscaler=target.autoscaler,
        minimum=state.minimum,
        maximum=state.maximum,
        before=before,
        peak_desired=max([before, *desires]),
        peak_ready=max((sample.ready for sample in during), default=state.ready),
        peak_queue=max(depths, default=None),
        new_replicas=tuple(
            _new_replica(state, pod, before + 1 + index, started) for index, pod in enumerate(fresh)
        ),
        scale_down=scale_down,
        timeline=tuple(
            Sample(sample.at - started, sample.desired, sample.current, sample.ready, sample.queue_depth)
            for sample in during
        ),
        problems=(*watch.problems, *seen, *unknown),
    )


def _new_replica(state: State, pod: PodTimes, number: int, started: float) -> NewReplica:
    desired = next(
        (moment for moment, replicas in state.desired_changes if moment >= started and replicas >= number),
        None,
    )
    return NewReplica(
        number=number,
        pod=pod.name,
        desired=None if desired is None else desired - started,
        created=pod.seen - started,
        ready=None if pod.ready is None else pod.ready - started,
    )


def render(report: LoadReport) -> str:
    """Return the report as text, 80 columns at most."""
    lines = [*_heading(report), "", *_requests(report), "", *_times(report.tally)]
    if report.scaling:
        lines += ["", *_scaling(report.scaling)]
    if report.recorded:
        lines += ["", *_recorded(report.recorded)]
    return "\n".join(line.rstrip() for text in lines for line in _wrapped(text)) + "\n"


def _heading(report: LoadReport) -> list[str]:
    settings = report.settings
    lines = [f"Load on {settings.endpoint}{settings.route}"]
    chosen = ""
    if report.capacity:
        chosen = f" ({settings.share:g} times the {report.capacity.requests_per_second:.2f}/s measured)"
    lines.append(f"Profile {settings.profile}: {settings.kind.text}")
    multiples = [step.multiple for step in settings.kind.shape(settings.duration_seconds)]
    rates = f"{report.rate:.2f}/s"
    if len(multiples) > 1:
        rates = f"{report.rate * min(multiples):.2f} to {report.rate * max(multiples):.2f}/s"
    lines.append(f"{settings.arrivals} arrivals at {rates} for {settings.duration_seconds:g} s{chosen}")
    return lines


def _recorded(recorded: Json) -> list[str]:
    if recorded["problem"]:
        return [f"Recorded   not, or not all: {recorded['problem']}"]
    return [f'Recorded   as berth_load_* with run="{recorded["run"]}"']


def _requests(report: LoadReport) -> list[str]:
    tally = report.tally
    whole = f"{tally.ok} answered whole ({tally.ok / report.elapsed:.2f}/s)"
    lines = [
        f"Requests   {tally.scheduled} due, {tally.sent} sent, {whole}, {tally.failed} not",
        f"Tokens     {tally.tokens}, {tally.tokens / report.elapsed:.1f}/s",
    ]
    if tally.by_backend:
        answers = tally.by_backend.total()
        shares = ", ".join(
            f"{backend}: {count} ({count / answers:.0%})" for backend, count in tally.by_backend.most_common()
        )
        lines.append(f"Answers    from {shares}")
    if tally.errors:
        found = ", ".join(f"{kind}: {count}" for kind, count in tally.errors.most_common())
        lines.append(f"Not whole  {found}")
    if tally.stalled:
        cut = sum(tally.stalled_errors.values())
        kinds = ", ".join(f"{kind}: {count}" for kind, count in tally.stalled_errors.most_common())
        how = f"{tally.stalled - cut} got the whole answer all the same" + (f"; {kinds}" if cut else "")
        lines.append(
            f"Stalled    {tally.stalled} read nothing for {report.settings.stall_seconds:g} s: {how}"
        )
    if tally.unsent:
        lines.append(
            f"Not sent   {tally.unsent}: {report.settings.max_outstanding} were waiting for an answer already"
        )
    if tally.late:
        lines.append(
            f"Late       {tally.late} began over 0.1 s late: this machine is busy; counted in their latency"
        )
    return lines


def _times(tally: Tally) -> list[str]:
    columns = ("p50", "p90", "p95", "p99", "max")
    lines = [f"{'':<28}" + "".join(f"{column:>9}" for column in columns)]
    rows = (
        ("Latency, s", tally.latency.to_json(), 1.0, 2),
        ("Time to first token, s", tally.first_token.to_json(), 1.0, 2),
        ("Between tokens, ms", tally.gaps.to_json(), 1000.0, 1),
        ("Refused (429) after, ms", tally.refused_latency.to_json(), 1000.0, 1),
    )
    for name, found, factor, digits in rows:
        if found["count"]:
            cells = "".join(f"{found[column] * factor:>9.{digits}f}" for column in columns)
            lines.append(f"{name:<28}{cells}")
    return lines if len(lines) > 1 else ["No request was answered whole, so there are no latencies."]


def _scaling(scaling: ScalingReport) -> list[str]:
    limits = (
        f"{scaling.autoscaler}, {scaling.minimum} to {scaling.maximum}"
        if scaling.autoscaler
        else "no autoscaler"
    )
    peaks = f"at most {scaling.peak_desired} desired and {scaling.peak_ready} Ready"
    queue = "unknown" if scaling.peak_queue is None else f"at most {scaling.peak_queue} waiting"
    lines = [
        f"Replicas   {scaling.target} ({limits})",
        f"           {scaling.before} before, {peaks}; queue: {queue}",
    ]
    if scaling.new_replicas:
        lines += ["", "New replica   desired   created     Ready   seconds after the load began"]
        for one in scaling.new_replicas:
            times = "".join(_seconds(moment) for moment in (one.desired, one.created, one.ready))
            lines.append(f"{one.number:>11}{times}   {one.pod}")
    down = scaling.scale_down
    if down and down.complete:
        steps = f"desired {_after(down.desired)}, pods gone {_after(down.gone)} the last arrival"
        lines.append(f"Way back   to {scaling.before}: {steps}")
    elif down:
        lines.append(f"Way back   not at {scaling.before} within {down.waited:.0f} s after the last arrival")
    lines += [f"Problem    {text}" for text in scaling.problems]
    return [*lines, "", *_timeline(scaling.timeline)]


def _timeline(samples: Sequence[Sample]) -> list[str]:
    if not samples:
        return []
    step = -(-len(samples) // ROWS)
    lines = ["  Time, s     Queue   Desired     Ready"]
    for start in range(0, len(samples), step):
        group = samples[start : start + step]
        depths = [sample.queue_depth for sample in group if sample.queue_depth is not None]
        last = group[-1]
        queue, desired = (max(depths) if depths else "?"), ("?" if last.desired is None else last.desired)
        bar = "█" * min(last.ready, 30)
        lines.append(f"{group[0].at:>9.0f}{queue:>10}{desired:>10}{last.ready:>10}   {bar}")
    return lines


def _seconds(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:.1f}':>10}"


def _after(value: float | None) -> str:
    return "at an unknown time after" if value is None else f"{value:.1f} s after"


def _wrapped(line: str) -> list[str]:
    """Break a line at spaces where it is too long; what follows is indented as the text under a label is."""
    found = []
    while len(line) > WIDTH:
        cut = line.rfind(" ", 20, WIDTH + 1)
        cut = cut if cut > 0 else WIDTH
        found.append(line[:cut])
        line = " " * 11 + line[cut:].lstrip()
    return [*found, line]
