"""Reading a component's args: each is checked once, as early as its value is known.

A value that the program knows is checked while the component is constructed, so a mistake points at the line
that made it. A `pulumi.Output` is checked when it resolves. Either way the error is an `ArgumentError`.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pulumi

T = TypeVar("T")
R = TypeVar("R")
Check = Callable[[Any], T]
_REQUIRED: Any = object()


class ArgumentError(pulumi.RunError, ValueError):
    """A component got an argument that it cannot accept.

    Being a `pulumi.RunError` it ends a program with its message alone, without a traceback.

    Attributes:
        component: who refused, such as "ModelServer 'chat'".
        argument: path of the argument, such as "termination.grace_seconds".
        given: what it was, for people; never a secret.
        allowed: what would have been accepted.
        remedy: what to do, where that is not plain; else "".
    """

    def __init__(self, component: str, argument: str, given: str, allowed: str, remedy: str = "") -> None:
        end = f"; {remedy}" if remedy else ""
        super().__init__(f"{component}: argument '{argument}' {given}; allowed: {allowed}{end}")
        self.component = component
        self.argument = argument
        self.given = given
        self.allowed = allowed
        self.remedy = remedy


class Refusal(Exception):  # noqa: N818 - it never leaves this room; callers see ArgumentError
    """What a check raises: what would have been allowed, and the next step where that is not plain.

    `given` says what the value is, where the whole of it would hide what is wrong.
    """

    def __init__(self, allowed: str, remedy: str = "", given: str = "") -> None:
        super().__init__(allowed)
        self.given = given
        self.allowed = allowed
        self.remedy = remedy


def is_known(value: Any) -> bool:
    """Whether the whole value, with everything in it, is there while the program runs."""
    if isinstance(value, pulumi.Output) or inspect.isawaitable(value):
        return False
    if isinstance(value, Mapping):
        return all(is_known(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return all(is_known(item) for item in value)
    return True


def combine(function: Callable[..., R | pulumi.Output[R]], *inputs: Any) -> pulumi.Input[R]:
    """The function of the inputs: at once where all are known, else an output of it."""
    if all(is_known(value) for value in inputs):
        return function(*inputs)
    return pulumi.Output.all(*inputs).apply(lambda values: function(*values))


def filled(value: pulumi.Input[R]) -> pulumi.Input[R] | None:
    """The value, or None where it is empty: an empty list in an object is noise in every diff."""
    return combine(lambda known: known or None, value)


class Arguments:
    """The args of one component, or of one group inside them.

    Unknown keys are refused at once: a setting that is misspelt must not be passed over in silence.
    """

    def __init__(self, component: str, given: Any, accepted: type, path: str = "") -> None:
        """Take what was given.

        Args:
            component: who asks, for messages, such as "ModelServer 'chat'".
            given: the args; None counts as empty.
            accepted: the TypedDict that says which keys there are.
            path: where the group hangs in the component's args, "" for the args themselves.
        """
        self._component = component
        self._path = path
        if isinstance(given, pulumi.Output) or inspect.isawaitable(given):
            raise self._error(
                path or "args",
                "an output",
                "a mapping that the program knows; the values in it may be outputs",
                "pass a dict and put the outputs inside",
            )
        if given is not None and not isinstance(given, Mapping):
            raise self._error(
                path or "args", repr(given), f"a mapping as {accepted.__name__} describes it", ""
            )
        self._given: Mapping[str, Any] = {k: v for k, v in (given or {}).items() if v is not None}
        keys = _keys(accepted)
        for key in self._given:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, n=1)
                remedy = f"did you mean '{near[0]}'?" if near else "remove it"
                allowed = f"one of {', '.join(sorted(keys))}"
                raise ArgumentError(component, self._where(str(key)), "does not exist", allowed, remedy)
        self._keys = keys

    def __contains__(self, key: str) -> bool:
        self._assert_declared(key)
        return key in self._given

    def group(self, key: str, accepted: type, default: Mapping[str, Any] | None = None) -> "Arguments":
        """The group of args under a key; one that is absent is the default, or empty."""
        self._assert_declared(key)
        return Arguments(self._component, self._given.get(key, default), accepted, self._where(key))

    def groups(self, key: str, accepted: type) -> list["Arguments"]:
        """The list of groups under a key; one that is absent is empty."""
        self._assert_declared(key)
        given = self._given.get(key, [])
        if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
            raise self._error(key, repr(given), f"a list of {accepted.__name__}", "")
        return [
            Arguments(self._component, item, accepted, f"{self._where(key)}[{i}]")
            for i, item in enumerate(given)
        ]

    def named(self, key: str, accepted: type) -> dict[str, "Arguments"]:
        """The groups under a key, by names of the program's own; one that is absent is empty."""
        where = self._where(key)
        return {
            name: Arguments(self._component, item, accepted, f"{where}.{name}")
            for name, item in self.plain_mapping(key).items()
        }

    def plain_mapping(self, key: str) -> Mapping[str, Any]:
        """The mapping under a key, whose values nobody has looked at; one that is absent is empty."""
        self._assert_declared(key)
        given = self._given.get(key, {})
        if not isinstance(given, Mapping):
            raise self._error(key, repr(given), "a mapping that the program knows", "")
        return {str(name): item for name, item in given.items()}

    def checked(self, key: str, check: Check[T], value: Any) -> T:
        """A value that belongs to a key, checked.

        Raises:
            ArgumentError: it is refused.
        """
        return self._checked(key, check, value)

    def read(self, key: str, check: Check[T], default: T = _REQUIRED) -> pulumi.Input[T]:
        """The argument, checked; the default where it is absent.

        Raises:
            ArgumentError: it is refused by the check, or absent without a default.
        """
        value = self._value(key, check, default)
        return combine(lambda known: self._checked(key, check, known), value)

    def maybe(self, key: str, check: Check[T]) -> pulumi.Input[T] | None:
        """The argument as `read` gives it, None where it is absent."""
        return self.read(key, check) if key in self else None

    def plain(self, key: str, check: Check[T], default: T = _REQUIRED) -> T:
        """The argument as `read` gives it, where it decides which objects exist: it must be known.

        Raises:
            ArgumentError: as `read`, and where the value is an output.
        """
        value = self._value(key, check, default)
        if not is_known(value):
            raise self._error(
                key, "an output", "a value that the program knows, since it decides which objects exist", ""
            )
        return self._checked(key, check, value)

    def refuse(self, key: str, given: Any, allowed: str, remedy: str = "") -> ArgumentError:
        """The error for an argument that contradicts another one."""
        return self._error(key, str(given), allowed, remedy)

    def _value(self, key: str, check: Check[T], default: Any) -> Any:
        self._assert_declared(key)
        if key in self._given:
            return self._given[key]
        if default is _REQUIRED:
            try:
                check(None)
            except Refusal as refusal:
                raise self._error(key, "missing", refusal.allowed, refusal.remedy) from None
            raise self._error(key, "missing", "a value", "")
        return default

    def _checked(self, key: str, check: Check[T], value: Any) -> T:
        try:
            return check(value)
        except Refusal as refusal:
            given = refusal.given or _shown(key, value)
            raise self._error(key, given, refusal.allowed, refusal.remedy) from None

    def _where(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _error(self, key: str, given: str, allowed: str, remedy: str) -> ArgumentError:
        where = self._where(key) if key not in {self._path, "args"} else key
        return ArgumentError(self._component, where, f"is {given}", allowed, remedy)

    def _assert_declared(self, key: str) -> None:
        if key not in self._keys:
            raise KeyError(f"{self._where(key)} is read but not declared in the args' TypedDict")


def _keys(accepted: type) -> frozenset[str]:
    required: frozenset[str] = getattr(accepted, "__required_keys__", frozenset())
    optional: frozenset[str] = getattr(accepted, "__optional_keys__", frozenset())
    return required | optional


def _shown(key: str, value: Any) -> str:
    # The values of these are credentials; the message goes to logs and pull requests.
    if key in {"api_keys", "kubeconfig", "token", "admin_password", "secrets"}:
        return "[secret]"
    return repr(value)
