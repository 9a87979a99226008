"""A proof as text of 80 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .verdicts import Chain, Link, Proof

_WORDS = {"passed": "passed ", "failed": "FAILED ", "unknown": "unknown"}
_WIDTH = 80


def page(proof: Proof) -> str:
    """The static part as text."""
    lines = [f"==== {proof.stack}: {proof.verdict}"]
    for chain in proof.chains:
        lines += _chain(chain)
    lines += [line for note in proof.notes for line in _wrapped("  ", note)]
    return "\n".join(lines)


def _chain(chain: Chain) -> list[str]:
    pool = f", pool {chain.pool}" if chain.pool else ""
    where = f" at {chain.cluster}" if chain.cluster else ""
    lines = _wrapped("", f"{chain.autoscaler}{where}{pool}: {chain.verdict}")
    for link in chain.links:
        lines += _link(link)
    return lines


def _link(link: Link) -> list[str]:
    lines = [f"  {_WORDS[link.verdict]}  {link.title} ({link.name})"]
    for finding in link.findings:
        lines += _wrapped("           ", finding.detail)
        if finding.verdict == "failed":
            lines += _wrapped("           between: ", " and ".join(finding.objects))
        if finding.remedy and finding.verdict != "passed":
            lines += _wrapped("           do: ", finding.remedy)
    for figure in link.figures:
        seconds = "?" if figure.seconds is None else f"{figure.seconds:g} s"
        lines += _wrapped(f"           {seconds:>7}  ", f"{figure.step}: {figure.source}")
    return lines


def _wrapped(before: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=before, subsequent_indent=" " * len(before), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
