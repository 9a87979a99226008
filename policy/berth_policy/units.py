"""Quantities as Kubernetes writes them."""

import re

_FACTORS = {
    "": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]+)|([A-Za-z]{0,2}))")


def amount(quantity: object) -> float | None:
    """A quantity such as 500m or 2Gi as a number; None where it is none."""
    if isinstance(quantity, int | float) and not isinstance(quantity, bool):
        return float(quantity)
    found = _QUANTITY.fullmatch(str(quantity).strip())
    if not found:
        return None
    if found[2]:
        return float(found[1]) * 10.0 ** int(found[2])
    factor = _FACTORS.get(found[3] or "")
    return None if factor is None else float(found[1]) * factor


def number(value: object, otherwise: float) -> float:
    """A number as it is, or as a text says it; `otherwise` where it is absent or none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return float(str(value))
    except ValueError:
        return otherwise
