"""Texts made fit for a log: shortened, and without what looks like a person's or a secret's."""

from __future__ import annotations

from berth_serving.filters.checks import PatternCheck, replaced

MOST_CHARACTERS = 4000
_KINDS = {
    "[email]": [r"[\w.+%-]+@[\w-]+(\.[\w-]+)+"],
    "[secret]": [
        r"(?i)\bbearer\s+[\w.~+/=-]{8,}",
        r"\b(sk|pk|hf|ghp|gho|glpat|xox[abpr])[_-][\w-]{8,}",
        r"\bAKIA[0-9A-Z]{16}\b",
        r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(-----END [A-Z ]*PRIVATE KEY-----)?",
        r"(?i)\b(password|passwd|secret|api[_-]?key|token)\s*[:=]\s*\S+",
    ],
    "[number]": [
        r"\b[A-Z]{2}\d{2}( ?[A-Z0-9]{4}){3,7}( ?[A-Z0-9]{1,3})?\b",
        r"\+?\(?\d[\d ()./-]{6,}\d",
    ],
    "[address]": [r"\b\d{1,3}(\.\d{1,3}){3}\b", r"\b([0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}\b"],
}
_CHECKS = {word: PatternCheck(patterns) for word, patterns in _KINDS.items()}


def redacted(text: str) -> str:
    """At most `MOST_CHARACTERS` of a text, redacted; what is cut off is said."""
    # Redacted before it is cut, or half an address would be left at the end.
    cut = text[: 2 * MOST_CHARACTERS]
    for word, check in _CHECKS.items():
        cut = replaced(cut, check.find(cut), word)
    if len(cut) <= MOST_CHARACTERS and len(text) <= 2 * MOST_CHARACTERS:
        return cut
    return f"{cut[:MOST_CHARACTERS]}… (of {len(text)} characters)"
