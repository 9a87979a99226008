"""`berth key`: the API keys of stacks, in this machine's cache or in a stack's file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from typing import TYPE_CHECKING

import click

from berth.cli.errors import UserError
from berth.cli.paths import ROOT, cache_folder

if TYPE_CHECKING:
    from pathlib import Path

API_KEYS = "berth:apiKeys"


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
@click.option("--add", "holder", metavar="NAME", help="Make a key for NAME, and keep it in the stack's file.")
def key(stack: str, holder: str | None) -> None:
    """Print the API key that `berth up STACK` gave to a local STACK.

    With --add: make a key, put it into stacks/Pulumi.STACK.yaml, encrypted by
    PULUMI_CONFIG_PASSPHRASE, and print it, once.
    """
    if holder is not None:
        click.echo(_add(stack, holder))
        return
    path = key_file(stack)
    if not path.is_file():
        raise UserError(
            f"there is no key for the stack '{stack}' on this machine; "
            "`./berth up local` makes that of 'local', `./berth key STACK --add NAME` one of another stack. "
            f"Stacks with keys here: {', '.join(known()) or 'none'}"
        )
    click.echo(path.read_text().strip())


def _add(stack: str, holder: str) -> str:
    """Make a key for somebody, in the stack's file; the key."""
    from berth.cli.stackfile import find_stack
    from berth.deployer.config import load_config, set_secret

    found = find_stack(stack)
    if found.is_local:
        raise UserError(f"the stack '{stack}' is local: `./berth up {stack}` makes its key by itself")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", holder):
        raise UserError(f"--add '{holder}': 1 to 63 lower-case letters, digits, '-' and '.' make a name")
    config, _ = load_config(ROOT, stack)
    try:
        keys = json.loads(config.get(API_KEYS, "{}"))
    except ValueError:
        keys = None
    if not isinstance(keys, dict):
        raise UserError(
            f"{found.file}: {API_KEYS} is no mapping of keys by name; remove it, then add keys anew"
        )
    if holder in keys:
        raise UserError(
            f"{found.file}: {API_KEYS} has a key of '{holder}' already; take another name, and remove the "
            "old one when nobody uses it any more"
        )
    made = f"berth-{secrets.token_urlsafe(32)}"
    set_secret(ROOT, stack, API_KEYS, json.dumps({**keys, holder: made}))
    return made


def known() -> list[str]:
    """Return the stacks that have a key on this machine."""
    folder = cache_folder() / "keys"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
