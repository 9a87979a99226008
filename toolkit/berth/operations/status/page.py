"""A site's status as one page of 80 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.operations.status.facts import Autoscaling, Cost, Load, NodeGroup, Server, SiteStatus

WIDTH = 80
_LABEL = 11
_ALERTS_SHOWN = 8
_DIGEST = 19  # sha256: and twelve of its digits


def page(one: SiteStatus) -> str:
    """Return it as text."""
    lines = [f"{one.stack} at {one.site}  {one.taken}"]
    if not one.reached:
        for reason in one.why or ("it was not asked",):
            lines += _row("unknown", reason)
        return "\n".join(lines)
    lines += _row("cluster", f"{one.server}, Kubernetes {one.version}")
    lines += _row("last up", one.deployed or "no record of the deployer's here")
    for group in one.groups or ():
        lines += _row("nodes", _group(group))
    if one.groups is None:
        lines += _row("nodes", "unknown: they may not be listed")
    if not one.servers:
        lines += _row("models", "none is deployed here")
    for server in one.servers:
        lines += ["", *_server(server)]
    lines += ["", *_alerts(one), *_cost(one.cost)]
    for reason in one.why:
        lines += _row("unknown", reason)
    return "\n".join(lines)


def _server(one: Server) -> Iterator[str]:
    asleep = not one.desired and one.autoscaling is not None and not one.autoscaling.minimum
    state = "  asleep" if asleep else "" if one.ready >= one.desired else "  NOT ALL READY"
    yield f"{one.namespace}/{one.name}  {one.ready} of {one.desired} replicas ready{state}"
    yield from _row("  model", f"{one.model}, variant {one.variant}, on {one.engine}")
    yield from _row("  release", f"revision {_short(one.revision)}")
    rollout = "complete" if one.complete else "under way"
    yield from _row("  rollout", f"{one.rollout}, {rollout}; newest replica of {one.since or 'unknown'}")
    for container, image in one.images.items():
        yield from _row("  image", f"{container} {_short(image)}")
    if one.endpoint:
        yield from _row("  endpoint", one.endpoint)
    yield from _row("  scaling", _scaling(one.autoscaling))
    yield from _row("  load", "none: its router wakes it" if asleep else _load(one.load))
    for reason in one.why:
        yield from _row("  unknown", reason)


def _scaling(one: Autoscaling | None) -> str:
    if one is None:
        return "none: replicas are as the stack says"
    wanted = f"{one.current} now, {one.desired} wanted, {one.minimum} to {one.maximum}"
    metrics = ", ".join(f"{name} {now} of {target}" for name, now, target in one.metrics)
    limit = "; AT MAXIMUM" if one.at_maximum else ""
    return f"{wanted}{limit}; {metrics}" + (f"; BLIND: {one.blind}" if one.blind else "")


def _load(one: Load | None) -> str:
    if one is None:
        return "unknown: no gateway could be asked"
    parts = [f"{one.waiting} waiting, {one.running} of {one.slots} slots busy, {one.places} places"]
    if one.requests_per_second is not None:
        parts.append(f"{one.requests_per_second:.2f} requests/s")
    if one.tokens_per_second is not None:
        parts.append(f"{one.tokens_per_second:.1f} tokens/s")
    if one.first_token_seconds is not None:
        parts.append(f"first token {one.first_token_seconds:.3f} s ({one.source})")
    parts.append(f"{one.answered} answered and {one.failed} failed since the gateways began")
    return ", ".join(parts)


def _group(one: NodeGroup) -> str:
    what = f"pool {one.name}: " if one.name else ""
    count = f"{one.ready} of {one.nodes} ready"
    accelerators = ", ".join(f"{number} {resource}" for resource, number in sorted(one.accelerators.items()))
    return f"{what}{count}" + (f", {accelerators}" if accelerators else "") + (
        " (simulated)" if one.simulated and accelerators else ""
    )  # fmt: skip


def _alerts(one: SiteStatus) -> Iterator[str]:
    if one.alerts is None:
        yield from _row(
            "alerts", one.alerts_from if one.alerts_from == "no monitoring" else f"unknown: {one.alerts_from}"
        )
        return
    if not one.alerts:
        yield from _row("alerts", f"none fires ({one.alerts_from})")
    for alert in one.alerts[:_ALERTS_SHOWN]:
        about = ", ".join(
            alert.labels[key] for key in ("namespace", "model", "node", "pod") if alert.labels.get(key)
        )
        yield from _row(
            "alert", f"{alert.severity or '?'}: {alert.name}" + (f" ({about})" if about else "")
            + f" since {alert.since}" + (f"; {alert.summary}" if alert.summary else ""),
        )  # fmt: skip
    if len(one.alerts) > _ALERTS_SHOWN:
        yield from _row("", f"and {len(one.alerts) - _ALERTS_SHOWN} more (--json has all)")


def _cost(one: Cost | None) -> Iterator[str]:
    if one is None:
        yield from _row("cost", "none counted: this machine is there anyway")
        return
    if one.usd_per_hour is not None:
        parts = ", ".join(f"{subject}: {count}" for subject, count, _ in one.parts)
        yield from _row("cost", f"{one.usd_per_hour:.4f} USD/h now ({parts}); machines alone")
    for reason in one.why:
        yield from _row("cost", f"unknown: {reason}")


def _short(reference: str) -> str:
    """A digest shortened to what tells two apart; `--json` has it whole."""
    start = reference.find("sha256:")
    return reference if start < 0 else reference[: start + _DIGEST] + "…" * (len(reference) > start + _DIGEST)


def _row(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), WIDTH, initial_indent=f"{label:<{_LABEL}}", subsequent_indent=" " * _LABEL,
        break_on_hyphens=False,
    ) or [label]  # fmt: skip
