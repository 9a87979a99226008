"""Where a figure was read: every entry of the catalogue has at least one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """Where figures were read.

    Attributes:
        what: which of the entry's figures it covers.
        origin: page, package or file, with the version or date that it gives itself.
        read: the day it was read, year-month-day.
    """

    what: str
    origin: str
    read: str
