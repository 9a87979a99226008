"""Reading settings from environment variables, with errors a person can act on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class SettingsError(ValueError):
    """One or more variables are wrong; the message has a line for each."""


class Reader:
    """Reads variables and collects every fault, so that one start shows them all."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[str] = []

    def fault(self, message: str) -> None:
        """Note one more fault."""
        self.faults.append(message)

    def finish(self) -> None:
        """Raise if anything was wrong.

        Raises:
            SettingsError: with one line per fault.
        """
        if self.faults:
            raise SettingsError("\n".join(self.faults))

    def text(self, name: str, default: str) -> str:
        """A string; set but empty counts as unset."""
        return self._environ.get(name, "").strip() or default

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        """One of `allowed`."""
        value = self.text(name, default)
        if value not in allowed:
            self.fault(f"{name}={value!r}: must be one of {', '.join(allowed)}")
            return default
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """`true` or `false`."""
        return self.choice(name, "true" if default else "false", ("true", "false")) == "true"

    def integer(self, name: str, default: int, low: int, high: int, *, unit: str) -> int:
        """A whole number in low..high."""
        return int(self._number(int, name, default, low=low, high=high, unit=unit))

    def seconds(self, name: str, default: float, low: float, high: float) -> float:
        """A time in seconds in low..high."""
        return self._number(float, name, default, low=low, high=high, unit="seconds")

    def amount(self, name: str, default: float, low: float, high: float, *, unit: str) -> float:
        """A number in low..high."""
        return self._number(float, name, default, low=low, high=high, unit=unit)

    def path(self, name: str) -> Path | None:
        """A path; None where unset."""
        value = self.text(name, "")
        return Path(value) if value else None

    def _number(
        self, parse: Callable[[str], float], name: str, default: float, *, low: float, high: float, unit: str
    ) -> float:
        raw = self.text(name, str(default))
        try:
            value = parse(raw)
        except ValueError:
            self.fault(f"{name}={raw!r}: must be a number of {unit} from {low} to {high}")
            return default
        if not low <= value <= high:
            self.fault(f"{name}={raw}: must be from {low} to {high} {unit}")
            return default
        return value


def refuse(program: str, error: Exception, *, code: int = 2) -> NoReturn:
    """End the process with `code` and one line per fault on stderr, without a traceback."""
    for line in str(error).splitlines():
        print(f"{program}: {line}", file=sys.stderr)  # noqa: T201 - for the person who started it
    raise SystemExit(code)
