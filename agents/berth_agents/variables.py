"""Environment variables of agents: each is checked, and an error names it, its value and what is allowed."""

import re
from collections.abc import Mapping

from berth_agents.errors import SettingsError

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def log_level(environ: Mapping[str, str]) -> str:
    """`BERTH_LOG_LEVEL`; INFO."""
    level = environ.get("BERTH_LOG_LEVEL", "INFO").upper()
    if level not in _LEVELS:
        raise SettingsError(f"BERTH_LOG_LEVEL is {level!r}; allowed are {', '.join(_LEVELS)}.")
    return level


def name(environ: Mapping[str, str], key: str) -> str:
    """The name of a Kubernetes object."""
    value = environ.get(key, "")
    if not _DNS_LABEL.fullmatch(value):
        raise SettingsError(
            f"{key} is {value!r}; it must be the name of a Kubernetes object: lower-case letters, digits and "
            "'-', at most 63 characters."
        )
    return value


def port(environ: Mapping[str, str], key: str, default: int, *, lowest: int) -> int:
    """A port; 0, where it is allowed, takes a free one."""
    text = environ.get(key) or str(default)
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= 65535:  # noqa: PLR2004 - the last port
        raise SettingsError(f"{key} is {text!r}; it must be a port, {lowest} to 65535.")
    return int(text)


def seconds(
    environ: Mapping[str, str], key: str, default: float, *, lowest: float = 0.1, highest: float = 300
) -> float:
    """A duration within limits, both included."""
    text = environ.get(key) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not lowest <= value <= highest:
        raise SettingsError(f"{key} is {text!r}; it must be a number of seconds, {lowest:g} to {highest:g}.")
    return value
