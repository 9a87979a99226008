"""`berth key`: the API key of a stack that runs on this machine."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from typing import TYPE_CHECKING

import click

from berth.cli.errors import UserError
from berth.cli.paths import cache_folder

if TYPE_CHECKING:
    from pathlib import Path


def key_file(stack: str) -> Path:
    """Return where the key of a local stack is kept."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", stack) or stack.startswith("."):
        raise UserError(f"'{stack}' is no stack's name: letters, digits, '-', '_' and '.' make one")
    return cache_folder() / "keys" / stack


def ensure_key(stack: str) -> str:
    """Return the stack's key, made at random (256 bits) the first time, in a file of mode 0600."""
    path = key_file(stack)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        draft = path.with_name(f".{stack}.{os.getpid()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"berth-{secrets.token_urlsafe(32)}\n")
        # A link appears whole or not at all, and the first of two runs wins.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()


@click.command()
@click.argument("stack")
def key(stack: str) -> None:
    """Print the API key that `berth up STACK` gave to a local STACK."""
    path = key_file(stack)
    if not path.is_file():
        raise UserError(
            f"there is no key for the stack '{stack}' on this machine; "
            "`./berth up local` makes the key of 'local'. "
            f"Stacks with keys here: {', '.join(known()) or 'none'}"
        )
    click.echo(path.read_text().strip())


def known() -> list[str]:
    """Return the stacks that have a key on this machine."""
    folder = cache_folder() / "keys"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
