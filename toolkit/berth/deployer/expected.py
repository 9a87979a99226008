"""What controllers are expected to write, so that it is no drift: data with reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import yaml

from .errors import ConfigError
from .values import dotted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .managed import Writer
    from .values import Path

SHIPPED = File(__file__).with_name("expected.yaml")
_LISTS = ("managers", "kinds", "paths")


@dataclass(frozen=True)
class Expected:
    """One sort of writing that is no drift.

    Attributes:
        managers: field managers' names; `*` stands for anything, here and below.
        kinds: `Kind.group`, `Kind` for the core group.
        paths: paths such as `spec.replicas` and `metadata.annotations["a/b"]`.
        reason: why nobody has to do anything about it.
        subresource: only through this one; None for any.
    """

    managers: tuple[str, ...]
    kinds: tuple[str, ...]
    paths: tuple[str, ...]
    reason: str
    subresource: str | None = None

    def covers(self, writer: Writer, group_kind: str, path: Path) -> bool:
        """Whether what this writer wrote there is expected."""
        if self.subresource is not None and self.subresource != writer.subresource:
            return False
        return (
            _any(writer.manager, self.managers)
            and _any(group_kind, self.kinds)
            and _any(dotted(path), self.paths)
        )


def _any(text: str, globs: Iterable[str]) -> bool:
    return any(re.fullmatch(re.escape(glob).replace(r"\*", ".*"), text, re.DOTALL) for glob in globs)


def load_expected(file: File = SHIPPED) -> tuple[Expected, ...]:
    """The entries of a file.

    Raises:
        ConfigError: it cannot be read, or an entry is wrong.
    """
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: no YAML: {error}") from None
    if not isinstance(content, list):
        raise ConfigError(f"{file}: a list of entries is wanted, each with managers, kinds, paths and reason")
    return tuple(_entry(file, number, raw) for number, raw in enumerate(content, start=1))


def _entry(file: File, number: int, raw: Any) -> Expected:
    where = f"{file}: entry {number}"
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: managers, kinds, paths and reason are wanted, not {raw!r}")
    odd = sorted(str(key) for key in raw.keys() - {*_LISTS, "reason", "subresource"})
    if odd:
        raise ConfigError(f"{where}: {odd[0]!r} is none of managers, kinds, paths, reason, subresource")
    lists = {}
    for name in _LISTS:
        value = raw.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
            raise ConfigError(f"{where}: {name} must be a list of texts, not {value!r}")
        lists[name] = tuple(value)
    reason, subresource = raw.get("reason"), raw.get("subresource")
    if not isinstance(reason, str) or not reason.strip():
        raise ConfigError(f"{where}: reason is missing: say why this is no drift")
    if subresource is not None and not isinstance(subresource, str):
        raise ConfigError(f"{where}: subresource must be a text, not {subresource!r}")
    return Expected(**lists, reason=reason, subresource=subresource)
