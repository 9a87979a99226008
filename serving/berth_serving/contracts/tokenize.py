"""TGI's `/tokenize` and `/chat_tokenize`: the tokens of a text, each with what it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving.contracts.tgi import unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth_serving.contracts.fields import Fields
    from berth_serving.contracts.model import Limits
    from berth_serving.engines.protocol import Piece

# How far ahead a piece is looked for that does not stand where it should: a tokenizer may change spaces.
_NEAR = 64


class SimpleToken(msgspec.Struct, gc=False):
    """TGI's token of a text; start and stop count characters."""

    id: int
    text: str
    start: int
    stop: int


def parse(read: Fields, limits: Limits) -> tuple[str, bool]:
    """The text, and whether what every prompt begins with is added.

    TGI takes a whole generation request here and heeds its text alone: so `parameters` may be there.

    Raises:
        ValidationError: naming field, value and what is allowed.
        UnsupportedParameter: the engine does not say what its tokens stand for.
    """
    inputs = read.required("inputs")
    add_special = read.boolean("add_special_tokens", default=True)
    read.mapping("parameters")
    read.boolean("stream")
    read.finish()
    if "tokenize" in limits.unsupported:
        raise unsupported("inputs", "tokenize", limits)
    return inputs, add_special


def tokens_of(text: str, pieces: Sequence[Piece]) -> list[SimpleToken]:
    """Where each token stands in the text. Several of one character share it; one of none has no width."""
    data = text.encode()
    # Character that each byte belongs to, and one more for the end.
    index = [place for place, character in enumerate(text) for _ in character.encode()] + [len(text)]
    made, at = [], 0
    for piece in pieces:
        begin, at = _span(data, piece.text, at)
        start = index[begin]
        stop = start if at == begin else index[at - 1] + 1
        made.append(SimpleToken(piece.id, text[start:stop], start, stop))
    return made


def _span(data: bytes, piece: bytes | None, at: int) -> tuple[int, int]:
    if not piece:
        return at, at
    for wanted in (piece, piece.lstrip(b" ")):
        if wanted and data.startswith(wanted, at):
            return at, at + len(wanted)
    found = data.find(piece, at, at + _NEAR)
    return (at, at) if found < 0 else (found, found + len(piece))


def answer(tokens: Sequence[SimpleToken]) -> bytes:
    """The body of `/tokenize`."""
    return msgspec.json.encode(tokens)


def chat_answer(text: str, tokens: Sequence[SimpleToken]) -> bytes:
    """The body of `/chat_tokenize`."""
    made: dict[str, Any] = {"tokenize_response": tokens, "templated_text": text}
    return msgspec.json.encode(made)
