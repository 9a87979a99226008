"""What a stack itself says is open, since only another place can answer it."""

from collections.abc import Sequence

from berth_policy.environment import TYPE
from berth_policy.subject import Stack, sequence


def declared_open(stack: Stack) -> Sequence[str]:
    """The findings that the stack declares; a real run of it is refused while they are open."""
    return [str(text) for one in stack.of(TYPE) for text in sequence(one.props.get("findings"))]


def names(text: str, word: str) -> bool:
    """Whether a finding names a word, such as an image, as a whole."""
    return any(part.strip("\"'(),;") == word for part in text.split())
