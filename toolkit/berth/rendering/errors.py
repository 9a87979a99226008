"""Errors of rendering.

RenderError: a stack cannot be written in the wanted form; the message names every object and what to do.
"""


class RenderError(Exception):
    """Nothing was written. Exit code 1, or 2 where what was asked for is wrong in itself."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
