"""What the planner computes memory with: every constant with its range and its source.

from berth_catalogue.planning import planning
planning().profile("vllm", "0.30.0").logit_bytes.expected  # 14.0
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from berth_catalogue.errors import unknown
from berth_catalogue.reading import Entry, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.sources import Source

_DATA = "planning.yaml"
PARTS = ("attention", "feed_forward", "experts")
"""Parts of a model that a quantisation can change; embeddings and norms keep 16 bits."""


@dataclass(frozen=True, slots=True)
class Range:
    """A figure with its error bar."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """How many bits a weight takes, scales included, and in which parts."""

    name: str
    bits: float
    parts: tuple[str, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What an engine takes besides weights and cache, from one version on; see planning.yaml."""

    engine: str
    since: str
    fraction: Range
    covers_activations: bool
    logit_bytes: Range
    experts_kept: bool
    overhead_one: Range
    overhead_several: Range
    graphs: Range
    batched_large: int
    batched_other: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """All of them.

    Attributes:
        visible: share of an accelerator's memory that an engine sees.
        weights: what weights take, of what their bits make.
        expert_factor: workspace of experts, of what its two buffers make.
        cache_bytes: bytes of a cached value, by the type's name.
        quantisations: by name.
        profiles: of each engine, the newest first.
        cpu_base: by engine, what it takes of main memory besides weights and cache, MiB.
        sources: of what is said of no engine.
    """

    visible: Range
    weights: Range
    expert_factor: Range
    cache_bytes: Mapping[str, int]
    quantisations: Mapping[str, Quantisation]
    profiles: Mapping[str, tuple[Profile, ...]]
    cpu_base: Mapping[str, Range]
    sources: tuple[Source, ...]

    def profile(self, engine: str, version: str) -> Profile | None:
        """The engine's newest profile that is not newer than a version; None where nothing was measured."""
        known = self.profiles.get(engine, ())
        return next((one for one in known if _numbers(one.since) <= _numbers(version)), None)

    def quantisation(self, name: str) -> Quantisation:
        """One quantisation.

        Raises:
            CatalogueError: it is not in the data; the message lists those that are.
        """
        if name not in self.quantisations:
            raise unknown("quantisation", name, self.quantisations, _DATA)
        return self.quantisations[name]


@cache
def planning() -> Planning:
    """The data, read once.

    Raises:
        CatalogueError: they are wrong.
    """
    top = load(_DATA)
    table = top.sources()
    visible, seen_in = _cited(top.entry("visible"), "share", table)
    weights, weighed_in = _cited(top.entry("weights"), "share", table)
    factor, fitted_to = _cited(top.entry("expert_factor"), "factor", table)
    cpu = {key: _cited(one, "base_mib", table) for key, one in top.entry("cpu").entries()}
    cache_bytes = top.entry("cache_bytes")
    made = Planning(
        visible=visible,
        weights=weights,
        expert_factor=factor,
        cache_bytes=MappingProxyType({key: cache_bytes.whole(key) for key in cache_bytes.keys()}),  # noqa: SIM118 - an entry, no dict
        quantisations=MappingProxyType(
            {key: _quantisation(key, one, table) for key, one in top.entry("quantisations").entries()}
        ),
        profiles=MappingProxyType(
            {key: _profiles(key, one, table) for key, one in top.entry("engines").entries()}
        ),
        cpu_base=MappingProxyType({key: base for key, (base, _) in cpu.items()}),
        sources=tuple(
            dict.fromkeys((*seen_in, *weighed_in, *fitted_to, *(one for _, of in cpu.values() for one in of)))
        ),
    )
    top.end()
    return made


def _profiles(engine: str, entry: Entry, table: Mapping[str, Source]) -> tuple[Profile, ...]:
    made = [_profile(engine, since, one, table) for since, one in entry.entries()]
    return tuple(sorted(made, key=lambda one: _numbers(one.since), reverse=True))


def _profile(engine: str, since: str, entry: Entry, table: Mapping[str, Source]) -> Profile:
    overhead, batched = entry.entry("overhead_gib"), entry.entry("batched_tokens")
    made = Profile(
        engine=engine,
        since=since,
        fraction=_range(entry, "fraction"),
        covers_activations=entry.text("covers_activations", ("held", "left-out")) == "held",
        logit_bytes=_range(entry, "logit_bytes"),
        experts_kept=entry.text("experts_kept", ("kept", "released")) == "kept",
        overhead_one=_range(overhead, "one"),
        overhead_several=_range(overhead, "several"),
        graphs=_range(entry, "graphs_gib"),
        batched_large=batched.whole("large"),
        batched_other=batched.whole("other"),
        sources=entry.cited(table),
    )
    for one in (overhead, batched, entry):
        one.end()
    return made


def _quantisation(name: str, entry: Entry, table: Mapping[str, Source]) -> Quantisation:
    made = Quantisation(
        name=name,
        bits=entry.number("bits"),
        parts=entry.texts("parts", PARTS),
        sources=entry.cited(table),
    )
    entry.end()
    return made


def _cited(entry: Entry, key: str, table: Mapping[str, Source]) -> tuple[Range, tuple[Source, ...]]:
    made = _range(entry, key), entry.cited(table)
    entry.end()
    return made


def _range(entry: Entry, key: str) -> Range:
    values = entry.numbers(key, count=3)
    if list(values) != sorted(values):
        raise entry.wrong(key, list(values), "three numbers, the lowest first: low, expected, high")
    return Range(*values)


def _numbers(version: str) -> tuple[int, ...]:
    """A version's numbers: v0.30.0 and 0.30 alike, up to the first part that is none."""
    found: list[int] = []
    for part in version.removeprefix("v").split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
