"""A model server's args, checked one by one and against each other."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.core import v1 as core

from berth_components import checks, network
from berth_components import model_server_args as declared
from berth_components.arguments import ArgumentError, Arguments, combine
from berth_components.model_server_engine import EngineSpec, read_engine, read_name, read_startup
from berth_components.model_server_gateway import PAYLOAD_BYTES, GatewayExtras, read_extras
from berth_components.model_server_resources import read_resources
from berth_components.model_server_surroundings import (
    NOBODY,
    Access,
    Placement,
    read_access,
    read_entrance,
    read_placement,
)
from berth_components.model_server_weights import MODELS_DIR, Weights, read_weights

AFTER_DRAIN_SECONDS = 5
"""What a gateway and its engine need to end, after the drain."""
GATEWAY_RESOURCES = {"cpu_request": "100m", "memory_request": "128Mi", "memory_limit": "512Mi"}
PRE_STOP_SECONDS = 10
"""How long until every node's proxy knows that a pod has left its Service."""
PRE_STOP_BALANCED_SECONDS = 35
"""The same behind a load balancer that asks each node whether it has a pod: with policy Local it drops a node
only after its health check's interval times its threshold."""
DRAIN_SECONDS = 60
_HOUR = 3600
_DAY = 24 * _HOUR
_AUTOSCALED = 10
"""Replicas that a rollout is given time for where an autoscaler owns their number."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Everything that a model server's objects are made from."""

    name: pulumi.Input[str]
    namespace: pulumi.Input[str]
    model_key: pulumi.Input[str]
    variant: pulumi.Input[str]
    engine: EngineSpec
    gateway_image: pulumi.Input[str]
    gateway_resources: core.ResourceRequirementsArgs
    gateway_config: Mapping[str, pulumi.Input[str]]
    extras: GatewayExtras
    weights: Weights
    access: Access
    placement: Placement
    dns: str
    account_annotations: pulumi.Input[Mapping[str, str]]
    replicas: pulumi.Input[int] | None
    sleeps: bool
    pre_stop: pulumi.Input[int]
    grace: pulumi.Input[int]
    startup: pulumi.Input[int]
    readiness_period: pulumi.Input[int]
    liveness_period: pulumi.Input[int]
    max_surge: pulumi.Input[int]
    max_unavailable: pulumi.Input[int]
    progress: pulumi.Input[int]
    patience: pulumi.Input[int]
    patience_first: pulumi.Input[int]
    api_keys: pulumi.Input[Mapping[str, str]] | None
    api_keys_secret: pulumi.Input[str] | None
    pull_secrets: pulumi.Input[Sequence[str]]


def read(given: Arguments, name: str, models_dir: str = MODELS_DIR) -> ServerSettings:
    """Check the args of a `ModelServer`; `models_dir` is where its weights are mounted.

    Raises:
        ArgumentError: one is unknown, missing, not allowed, or contradicts another.
    """
    gateway = given.group("gateway", declared.GatewayArgs)
    extras = read_extras(gateway)
    engine = read_name(given)
    replicas = _replicas(given)
    weights = read_weights(given, engine, replicas, models_dir)
    pre_stop, drain, grace = _termination(given)
    slots, max_concurrent, queue_timeout = _concurrency(given)
    max_input, max_total = _tokens(given)
    startup, readiness_period, liveness_period = _probes(given)
    max_surge, max_unavailable = _rollout(given)
    # An engine may take its whole start-up budget twice, restarted once, before the rollout counts as stuck.
    progress = combine(
        lambda budget, fetch: max(600, 2 * int(budget) + 120 + int(fetch)), startup, weights.fetch_seconds
    )
    api_keys, api_keys_secret, anonymous = _keys(given)
    model = given.group("model", declared.ModelArgs)
    variant = given.read("variant", checks.dns_label, "main")
    model_id = model.read("id", checks.plain_text)
    spec = read_engine(
        given,
        engine,
        {
            "slots": slots,
            "weights": weights.model_path,
            "model_id": model_id,
            "max_input_tokens": max_input,
            "max_total_tokens": max_total,
        },
    )
    return ServerSettings(
        name=given.read("name", checks.server_name, name),
        namespace=given.read("namespace", checks.dns_label),
        model_key=model.read("key", checks.dns_label),
        variant=variant,
        engine=spec,
        gateway_image=gateway.read("image", checks.image),
        gateway_resources=read_resources(gateway, GATEWAY_RESOURCES),
        gateway_config={
            "BERTH_ALLOW_ANONYMOUS": "true" if anonymous else "false",
            "BERTH_DRAIN_SECONDS": _text(drain),
            "BERTH_ENGINE": engine.name,
            # An engine with one device needs not be told which.
            **({"BERTH_ENGINE_DEVICE": spec.device} if len(engine.builds) > 1 else {}),
            "BERTH_ENGINE_SLOTS": _text(slots),
            "BERTH_ENGINE_STALL_SECONDS": str(engine.stall_seconds),
            "BERTH_ENGINE_URL": f"http://127.0.0.1:{engine.port}",
            "BERTH_LOG_LEVEL": gateway.read(
                "log_level", checks.choice("debug", "info", "warning", "error"), "info"
            ),
            "BERTH_MODEL_REVISION": model.read("revision", checks.plain_text),
            "BERTH_QUEUE_TIMEOUT_SECONDS": _text(queue_timeout),
            "BERTH_VARIANT": variant,
            "MAX_CONCURRENT_REQUESTS": _text(max_concurrent),
            "MAX_INPUT_TOKENS": _text(max_input),
            "MAX_STOP_SEQUENCES": _text(
                gateway.read("max_stop_sequences", checks.whole_number(0, 64, "sequences"), 4)
            ),
            "MAX_TOTAL_TOKENS": _text(max_total),
            "MODEL_ID": model_id,
            "PAYLOAD_LIMIT": _text(
                gateway.read(
                    "payload_limit_bytes", checks.whole_number(1024, 1_000_000_000, "bytes"), PAYLOAD_BYTES
                )
            ),
            **extras.config,
        },
        extras=extras,
        weights=weights,
        access=read_access(given),
        placement=read_placement(given, spec.gpu_count, spec.gpu_resource),
        dns=given.plain("dns", checks.choice(*network.NAME_SERVERS), "pods"),
        account_annotations=given.group("service_account", declared.ServiceAccountArgs).read(
            "annotations", checks.mapping_of(checks.qualified_name, checks.plain_text), {}
        ),
        replicas=replicas,
        sleeps=_sleeps(given),
        pre_stop=pre_stop,
        grace=grace,
        startup=startup,
        readiness_period=readiness_period,
        liveness_period=liveness_period,
        max_surge=max_surge,
        max_unavailable=max_unavailable,
        progress=progress,
        patience=combine(_patience, progress, grace, replicas, max_surge, max_unavailable),
        patience_first=combine(_patience, progress, grace, 1, 1, 0),
        api_keys=api_keys,
        api_keys_secret=api_keys_secret,
        pull_secrets=given.read("image_pull_secrets", checks.list_of(checks.dns_label), NOBODY),
    )


def problems(given: Arguments, name: str) -> list[ArgumentError]:
    """Everything that `read` would refuse, as far as it can be seen at once."""
    readers: list[Callable[[Arguments], object]] = [
        _termination,
        _concurrency,
        _tokens,
        _probes,
        _rollout,
        _replicas,
        _sleeps,
        _keys,
        read_access,
        lambda all_args: read(all_args, name),
    ]
    found: dict[str, ArgumentError] = {}
    for reader in readers:
        try:
            reader(given)
        except ArgumentError as error:
            found.setdefault(str(error), error)
    return [*found.values()]


def _text(value: pulumi.Input[Any]) -> pulumi.Input[str]:
    # Numbers of outputs may be floats (6.0); an environment variable says 6.
    return combine(
        lambda known: (
            f"{known:g}" if isinstance(known, float) and not known.is_integer() else str(int(known))
        ),
        value,
    )


def _replicas(given: Arguments) -> pulumi.Input[int] | None:
    autoscaled = given.plain("autoscaled", checks.boolean, False)
    if autoscaled and "replicas" in given:
        raise given.refuse(
            "replicas", "given", "nothing where autoscaled is True", "the Autoscaler owns the number"
        )
    if autoscaled:
        return None
    if "replicas" not in given:
        raise given.refuse(
            "replicas", "missing", "a number, or autoscaled: True with an Autoscaler beside it"
        )
    return given.read("replicas", checks.whole_number(1, 1000, "replicas"))


def _sleeps(given: Arguments) -> bool:
    sleeps = given.plain("sleeps", checks.boolean, False)
    if sleeps and "replicas" in given:
        raise given.refuse(
            "sleeps", "True", "only with autoscaled: True", "a fixed number never goes to zero"
        )
    return sleeps


def _termination(given: Arguments) -> tuple[pulumi.Input[int], pulumi.Input[int], pulumi.Input[int]]:
    args = given.group("termination", declared.TerminationArgs)
    pre_stop = args.maybe("pre_stop_seconds", checks.whole_number(0, 300, "seconds"))
    if pre_stop is None:
        pre_stop = _pre_stop(given)
    drain = args.maybe("drain_seconds", checks.whole_number(1, _HOUR, "seconds"))
    if drain is None:
        # A request that waits when the drain begins may still get its slot, as it would have without.
        drain = combine(lambda longest: max(DRAIN_SECONDS, math.ceil(longest)), _queue_timeout(given))
    wanted = args.maybe("grace_seconds", checks.whole_number(1, 2 * _HOUR, "seconds"))

    def enough(pre_stop: int, drain: int, wanted: int | None) -> int:
        least = pre_stop + drain + AFTER_DRAIN_SECONDS
        if wanted is not None and wanted < least:
            raise args.refuse(
                "grace_seconds",
                wanted,
                f"at least {least} (pre_stop {pre_stop} + drain {drain} + {AFTER_DRAIN_SECONDS} s)",
                "Kubernetes would kill requests that are still answered; raise it or shorten the drain",
            )
        return wanted or least

    return pre_stop, drain, combine(enough, pre_stop, drain, wanted)


def _pre_stop(given: Arguments) -> pulumi.Input[int]:
    kind, policy = read_entrance(given)
    return combine(
        lambda known: (
            PRE_STOP_BALANCED_SECONDS if (kind, known) == ("LoadBalancer", "Local") else PRE_STOP_SECONDS
        ),
        policy,
    )


def _queue_timeout(given: Arguments) -> pulumi.Input[float]:
    args = given.group("concurrency", declared.ConcurrencyArgs)
    return args.read("queue_timeout_seconds", checks.number(0, _HOUR, "seconds"), 60.0)


def _concurrency(given: Arguments) -> tuple[pulumi.Input[int], pulumi.Input[int], pulumi.Input[float]]:
    args = given.group("concurrency", declared.ConcurrencyArgs)
    slots = args.read("slots", checks.whole_number(1, 1024, "requests"))
    most = args.read("max_concurrent_requests", checks.whole_number(1, 100_000, "requests"))

    def at_least_slots(most: int, slots: int) -> int:
        if most < slots:
            raise args.refuse("max_concurrent_requests", most, f"at least slots, which is {slots}")
        return most

    return slots, combine(at_least_slots, most, slots), _queue_timeout(given)


def _tokens(given: Arguments) -> tuple[pulumi.Input[int], pulumi.Input[int]]:
    args = given.group("tokens", declared.TokensArgs)
    most = checks.whole_number(2, 10_000_000, "tokens")
    total = args.read("max_total", most)

    def below_total(longest: int, total: int) -> int:
        if longest >= total:
            raise args.refuse(
                "max_input", longest, f"less than max_total, which is {total}", "an answer needs room"
            )
        return longest

    return combine(
        below_total, args.read("max_input", checks.whole_number(1, 10_000_000, "tokens")), total
    ), total


def _probes(given: Arguments) -> tuple[pulumi.Input[int], pulumi.Input[int], pulumi.Input[int]]:
    args = given.group("probes", declared.ProbesArgs)
    measured = args.maybe("measured_load_seconds", checks.number(0, 2 * _HOUR, "seconds"))
    budget = args.maybe("startup_seconds", checks.whole_number(10, 4 * _HOUR, "seconds"))

    def enough(budget: int | None, measured: float | None, usual: int) -> int:
        least = int(2 * measured + 1) if measured else 0
        if budget is None:
            return max(int(usual), least)
        if budget < least:
            raise args.refuse(
                "startup_seconds", budget, f"at least twice the measured load of {measured} s: {least}"
            )
        return budget

    return (
        combine(enough, budget, measured, read_startup(given)),
        args.read("readiness_period_seconds", checks.whole_number(1, 60, "seconds"), 2),
        args.read("liveness_period_seconds", checks.whole_number(1, 15, "seconds"), 10),
    )


def _rollout(given: Arguments) -> tuple[pulumi.Input[int], pulumi.Input[int]]:
    args = given.group("rollout", declared.RolloutArgs)
    surge = args.read("max_surge", checks.whole_number(0, 100, "pods"), 1)
    unavailable = args.read("max_unavailable", checks.whole_number(0, 100, "pods"), 0)

    def moves(unavailable: int, surge: int) -> int:
        if not unavailable and not surge:
            raise args.refuse(
                "max_unavailable", 0, "1 or more where max_surge is 0", "else no pod could be replaced"
            )
        return unavailable

    return surge, combine(moves, unavailable, surge)


def _patience(progress: int, grace: int, replicas: int | None, surge: int, unavailable: int) -> int:
    """Seconds that a rollout may take in all: one batch of pods after another starts, and ends.

    Generous, since the Deployment's own progress deadline says earlier that it is stuck; at most a day.
    """
    batches = -(-int(replicas or _AUTOSCALED) // int(surge + unavailable))
    return min(_DAY, batches * int(progress + grace))


def _keys(given: Arguments) -> tuple[pulumi.Input[Mapping[str, str]] | None, pulumi.Input[str] | None, bool]:
    anonymous = given.plain("allow_anonymous", checks.boolean, False)
    chosen = [key for key in ("api_keys", "api_keys_secret") if key in given] + [
        "allow_anonymous"
    ] * anonymous
    if len(chosen) != 1:
        raise given.refuse(
            "api_keys",
            " and ".join(chosen) or "missing",
            "exactly one of api_keys, api_keys_secret and allow_anonymous: True",
        )
    keys = given.maybe("api_keys", checks.api_keys)
    return keys, given.maybe("api_keys_secret", checks.plain_text), anonymous
