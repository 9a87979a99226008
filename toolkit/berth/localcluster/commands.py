"""Running the machine's own tools."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from .errors import ClusterError, MissingToolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandError(ClusterError):
    """A tool of the machine failed; the message holds its command line and what it said."""


def environment(*folders: Path) -> dict[str, str]:
    """The environment of everything we start: ``folders`` first on the path.

    The caller's own is left out: an HTTP_PROXY in it would send the cluster's own traffic to that proxy, and
    a secret in it would be readable for as long as the cluster runs.
    """
    path = ":".join([*map(str, folders), _SYSTEM_PATH])
    return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8"}


def run(
    *command: str | Path,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    accept: Sequence[int] = (0,),
) -> str:
    """Run ``command`` to its end within ``timeout`` seconds and return what it printed.

    Raises:
        CommandError: it ended with a code not in ``accept``, or not in time.
        MissingToolError: there is no such program.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env=environment() if env is None else dict(env),
            timeout=timeout,
            check=False,
            cwd=os.sep,
        )
    except FileNotFoundError:
        raise MissingToolError(f"{words[0]} is not installed; `berth doctor` says what installs it") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"`{' '.join(words)}` did not end within {timeout:g} s") from None
    if done.returncode not in accept:
        said = (done.stderr or done.stdout).strip() or "nothing"
        raise CommandError(f"`{' '.join(words)}` ended with {done.returncode} and said: {said}")
    return done.stdout
