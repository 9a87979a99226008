"""Quantities as Kubernetes writes them, as numbers."""

from __future__ import annotations

import re

_FACTORS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?)([A-Za-z]{0,2})")


def amount(quantity: object) -> float | None:
    """A quantity, such as 500m or 2Gi, as a number; None where it is none."""
    found = _QUANTITY.fullmatch(str(quantity).strip())
    factor = _FACTORS.get(found[2]) if found else None
    return None if found is None or factor is None else float(found[1]) * factor
