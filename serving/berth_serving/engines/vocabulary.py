"""What the entries of a vocabulary stand for, as tokenizers write them.

Byte-level ones (GPT-2's and its kin) write each byte as a character of its own: a space is Ġ. SentencePiece's
write a space as ▁ and a single byte as <0x0A>.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@cache
def _bytes_by_character() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, the rest for characters from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(256 + place): byte for place, byte in enumerate(others)},
    }


def bytes_of(entries: Sequence[str], text: str) -> list[bytes]:
    """The bytes of each entry.

    Args:
        entries: as the tokenizer writes them.
        text: what they are the tokens of; it decides between the two ways of writing.
    """
    table = _bytes_by_character()
    level = [bytes(table[one] for one in entry if one in table) for entry in entries]
    if text.encode() in b"".join(level):
        return level
    return [
        bytes([int(found[1], 16)]) if (found := _BYTE.fullmatch(entry)) else entry.replace("▁", " ").encode()
        for entry in entries
    ]
