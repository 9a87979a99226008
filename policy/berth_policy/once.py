"""Each message is converted once and when it is read, not at once and anew for each policy.

The runtime turns a resource's message into Python and wraps it against unknown values for every policy:
0.6 ms for a Deployment of ours, so 35 s for 1,000 of them and 60 policies. All policies here only read, so
they share one conversion per request, by the runtime's own functions: docs/decisions/0014-policies.md.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import pulumi_policy.policy

runtime: Any = pulumi_policy.policy
"""The runtime: no export of its module is promised, so each name is looked for first."""

_ANALYZER = "_PolicyAnalyzerServicer"
_NEEDED = ("json_format", "deserialize_properties", "unknown_checking_proxy")


class _Shared(threading.local):
    """What the request that this thread answers was converted to, by identity of the message."""

    made: "dict[int, _Converted] | None" = None


_shared = _Shared()


class _Converted(Mapping[str, Any]):
    """A message's properties, converted when they are first read."""

    def __init__(self, message: object, convert: Callable[[object], Mapping[str, Any]]) -> None:
        self.message = message  # kept, so that its identity stays its own
        self._convert = convert

    @cached_property
    def _properties(self) -> Mapping[str, Any]:
        return self._convert(self.message)

    def __getitem__(self, key: str) -> Any:
        return self._properties[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._properties)

    def __len__(self) -> int:
        return len(self._properties)


class _Conversion:
    """Stands for the module `json_format` in the runtime, which uses this one function of it."""

    def __init__(self, module: Any, convert: Callable[[object], Mapping[str, Any]]) -> None:
        self._module = module
        self._convert = convert

    def MessageToDict(self, message: object) -> Any:  # noqa: N802 - the name there
        """The message's properties, the same ones each time within a request."""
        if _shared.made is None:
            return self._module.MessageToDict(message)
        known = _shared.made.get(id(message))
        if known is None:
            known = _shared.made[id(message)] = _Converted(message, self._convert)
        return known


def _unless_converted(function: Callable[..., Any]) -> Callable[..., Any]:
    def convert(value: object, *others: object) -> Any:
        return value if isinstance(value, _Converted) else function(value, *others)

    return convert


def convert_once() -> None:
    """Let policies share conversions; does nothing where the runtime looks different from what it was."""
    analyzer: Any = getattr(runtime, _ANALYZER, None)
    if not all(hasattr(runtime, name) for name in _NEEDED) or isinstance(runtime.json_format, _Conversion):
        return
    if not all(hasattr(analyzer, name) for name in ("Analyze", "AnalyzeStack")):
        return
    module, deserialize = runtime.json_format, runtime.deserialize_properties
    wrap = runtime.unknown_checking_proxy

    def convert(message: object) -> Mapping[str, Any]:
        found: Mapping[str, Any] = wrap(deserialize(module.MessageToDict(message)))
        return found

    runtime.json_format = _Conversion(module, convert)
    runtime.deserialize_properties = _unless_converted(deserialize)
    runtime.unknown_checking_proxy = _unless_converted(wrap)
    for name in ("Analyze", "AnalyzeStack"):
        setattr(analyzer, name, _within(getattr(analyzer, name)))


def _within(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Share conversions while a request is answered: not those of a remediation, which may write."""

    def answer_once(self: object, request: object, context: object) -> Any:
        _shared.made = {}
        try:
            return answer(self, request, context)
        finally:
            _shared.made = None

    return answer_once
