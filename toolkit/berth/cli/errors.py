"""Errors of the command line itself.

UserError: what a person asked for cannot be done; the message says what to do.
"""


class UserError(Exception):
    """Wrong input, or an environment that lacks something. Exit code 2 unless said otherwise."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code
