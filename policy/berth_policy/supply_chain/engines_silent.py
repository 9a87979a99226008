"""Engines tell nobody what they do."""

from collections.abc import Iterator

from berth_policy.reading import has, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, mapping

WANTED = {"DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_HOST_IP": "127.0.0.1"}
"""Variables of vLLM: no statistics, and its own parts on loopback."""


def check(resource: Resource) -> Iterator[Finding]:
    """Look at ConfigMaps that configure vLLM."""
    data = mapping(resource.props.get("data")) if has(resource.props, "data") else {}
    if any(str(key).startswith("VLLM_") for key in data):
        for key, value in WANTED.items():
            if at(data, key) != value:
                yield Finding(f"data.{key} is {said(at(data, key))}", repr(value))


RULE = Rule(
    name="engines-silent",
    group="supply_chain",
    title="vLLM sends no statistics of use, and its own parts talk on loopback.",
    why="Statistics go out where the network lets them; any other address is reached by other pods.",
    fix="Set DO_NOT_TRACK and VLLM_NO_USAGE_STATS to 1, VLLM_HOST_IP to 127.0.0.1.",
    types=("kubernetes:core/v1:ConfigMap",),
    check=check,
)
