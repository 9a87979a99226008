"""The runtime, made quick for a pack whose policies only read, and share one view of the stack.

For every policy anew, the runtime turns each resource's message into Python and wraps it against unknown
values: 0.6 ms for a Deployment of ours, so 35 s for 1,000 of them and 60 policies. Here a message is
converted once, when it is first read, by the runtime's own functions, and only for policies that look at its
type. Other packs in the same process are left as they are. See docs/decisions/0014-policies.md.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pulumi_policy.policy
from pulumi_policy import Policy

runtime: Any = pulumi_policy.policy
"""The runtime: no export of its module is promised, so each name is looked for first."""

_ANALYZER = "_PolicyAnalyzerServicer"
_POLICIES = "_PolicyAnalyzerServicer__policies"
_NEEDED = ("json_format", "deserialize_properties", "unknown_checking_proxy")


class _Shared(threading.local):
    """The request that this thread answers, if it answers one.

    Attributes:
        made: what its messages were converted to, by their identity.
        kinds: the types of its resources.
    """

    made: "dict[int, _Converted] | None" = None
    kinds: frozenset[str] = frozenset()


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


class Sieve(list[Policy]):
    """Policies, of which each request sees those that look at types of its resources.

    A policy says so by an attribute `types`, beginnings of type tokens; one that has none looks at all.
    """

    def __init__(self, policies: Iterable[Policy]) -> None:
        super().__init__(policies)
        self._chosen: dict[frozenset[str], list[Policy]] = {}

    def __iter__(self) -> Iterator[Policy]:
        if _shared.made is None:
            return super().__iter__()
        chosen = self._chosen.get(_shared.kinds)
        if chosen is None:
            chosen = [one for one in super().__iter__() if self._looks(one)]
            self._chosen[_shared.kinds] = chosen
        return iter(chosen)

    def _looks(self, policy: Policy) -> bool:
        types: tuple[str, ...] = getattr(policy, "types", ())
        return not types or any(kind.startswith(types) for kind in _shared.kinds)


class _First:
    """A request about a whole stack: the first policy gets its resources, the others none.

    The runtime makes objects of all resources for each policy. Policies of this pack share one view of the
    stack, which the first one makes; see `Run`.
    """

    def __init__(self, request: Any) -> None:
        self._left = [request]

    @property
    def resources(self) -> Sequence[Any]:
        """All of them, once."""
        return self._left.pop().resources if self._left else ()


def _within(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Share conversions while a request is answered: not those of a remediation, which may write."""

    def answer_once(self: object, request: Any, context: object) -> Any:
        if not isinstance(getattr(self, _POLICIES, None), Sieve):
            return answer(self, request, context)
        whole = hasattr(request, "resources")
        asked = _First(request) if whole else request
        _shared.kinds = (
            frozenset(one.type for one in request.resources) if whole else frozenset({request.type})
        )
        _shared.made = {}
        try:
            return answer(self, asked, context)
        finally:
            _shared.made = None

    return answer_once
