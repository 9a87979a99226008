"""Engines load what is there, and tell nobody about it."""

from collections.abc import Iterator

from berth_policy.reading import has, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, mapping

_ENGINES = ("VLLM_", "SGLANG_", "TRANSFORMERS_", "HF_HUB_")
"""How names of settings begin that only engines read that know hubs."""
_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "DO_NOT_TRACK")
_VLLM = "VLLM_NO_USAGE_STATS"


def check(resource: Resource) -> Iterator[Finding]:
    """Look at ConfigMaps that such an engine is configured by."""
    data = mapping(resource.props.get("data")) if has(resource.props, "data") else {}
    keys = [str(one) for one in data]
    if not any(one.startswith(_ENGINES) for one in keys):
        return
    wanted = [*_SWITCHES, *([_VLLM] if any(one.startswith("VLLM_") for one in keys) else [])]
    for key in wanted:
        if at(data, key) != "1":
            yield Finding(f"data.{key} is {said(at(data, key))}", "'1'")


RULE = Rule(
    name="engines-offline",
    group="supply_chain",
    title="An engine asks no hub for code or weights, and sends no statistics.",
    why="What it fetches by itself nobody has checked; what it sends says what clients ask.",
    fix="Set HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE, DO_NOT_TRACK and VLLM_NO_USAGE_STATS to 1.",
    types=("kubernetes:core/v1:ConfigMap",),
    check=check,
)
