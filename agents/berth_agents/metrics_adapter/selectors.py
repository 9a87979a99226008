"""Label selectors as Kubernetes writes them in a query: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>3`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_SYMBOLS = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">"})
_END = ""


class SelectorError(ValueError):
    """A label selector that Kubernetes would refuse too."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. `operator` is in, notin, exists, absent, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether the labels meet the condition; as in Kubernetes, `notin` is met without the key."""
        value = labels.get(self.key)
        match self.operator:
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case "notin":
                return value is None or value not in self.values
            case "in":
                return value is not None and value in self.values
            case _:
                if value is None or not _INTEGER.fullmatch(value):
                    return False
                (bound,) = self.values
                return int(value) > int(bound) if self.operator == "gt" else int(value) < int(bound)


Selector = tuple[Requirement, ...]


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Say whether the labels meet every requirement; an empty selector is met by all."""
    return all(requirement.matches(labels) for requirement in selector)


def parse(text: str) -> Selector:
    """Parse a label selector.

    Raises:
        SelectorError: it is not one; the message says where.
    """
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def parse(self) -> Selector:
        if not self._tokens:
            return ()
        found = [self._requirement()]
        while self._peek() == ",":
            self._take()
            found.append(self._requirement())
        if self._peek() != _END:
            raise self._error("',' or the end")
        return tuple(found)

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _take(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _error(self, wanted: str) -> SelectorError:
        return SelectorError(
            f"label selector {self._text!r}: found {self._peek()!r} where {wanted} is expected"
        )

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._take()
            return Requirement(self._key(), "absent")
        key = self._key()
        operator = self._peek()
        match operator:
            case "" | ",":
                return Requirement(key, "exists")
            case "=" | "==" | "!=":
                self._take()
                return Requirement(key, "notin" if operator == "!=" else "in", frozenset({self._value()}))
            case "in" | "notin":
                self._take()
                return Requirement(key, operator, self._set())
            case "<" | ">":
                self._take()
                if not _INTEGER.fullmatch(self._peek()):
                    raise self._error("an integer")
                return Requirement(key, "gt" if operator == ">" else "lt", frozenset({self._take()}))
            case _:
                raise self._error("one of =, ==, !=, in, notin, <, >, ','")

    def _key(self) -> str:
        if self._peek() in _SYMBOLS or self._peek() == _END:
            raise self._error("a label's key")
        prefix, slash, name = self._peek().rpartition("/")
        if not _NAME.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
            raise self._error("a label's key ([prefix/]name)")
        return self._take()

    def _value(self) -> str:
        """A label's value, which may be empty: `a=` and `a in (,b)` are selectors."""
        if self._peek() in {_END, ",", ")"}:
            return ""
        if not _NAME.fullmatch(self._peek()):
            raise self._error("a label's value")
        return self._take()

    def _set(self) -> frozenset[str]:
        if self._take() != "(":
            self._at -= 1
            raise self._error("'('")
        values = {self._value()}
        while self._peek() == ",":
            self._take()
            values.add(self._value())
        if self._peek() != ")":
            raise self._error("',' or ')'")
        self._take()
        return frozenset(values)
