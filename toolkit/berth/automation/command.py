"""The `pulumi` executable: found once, run without a terminal, ended in order."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

from pulumi.automation import CommandResult, PulumiCommand
from pulumi.automation.errors import InvalidVersionError, create_command_error

from .errors import no_pulumi

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import IO

_QUIET = {"PULUMI_AUTOMATION_API": "true", "PULUMI_SKIP_UPDATE_CHECK": "true"}


class Command(PulumiCommand):
    """The Automation API's command, with three things it lacks.

    Each child runs in a process group of its own, so that Ctrl-C in a terminal reaches it once, through
    `interrupt`: the CLI takes a second signal as "terminate at once", which can lose track of resources.
    It never reads the terminal. And a value can be handed over on standard input (`feed`), which a secret
    must be: command lines are public.
    """

    def __init__(self) -> None:
        self._running: subprocess.Popen[str] | None = None
        self._guard = threading.Lock()
        self._interrupted = False
        try:
            super().__init__()
        except FileNotFoundError:
            raise no_pulumi("there is no `pulumi` executable on PATH") from None
        except (OSError, subprocess.CalledProcessError) as error:
            raise no_pulumi(f"the `pulumi` executable does not run: {error}") from None
        except InvalidVersionError as error:
            raise no_pulumi(str(error).rstrip(".")) from None

    def interrupt(self) -> None:
        """End what runs in order: it starts nothing new, finishes what is under way, frees the stack."""
        with self._guard:
            if not self._interrupted and self._running is not None and self._running.poll() is None:
                self._running.send_signal(signal.SIGINT)
            self._interrupted = True

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: Callable[[str], object] | None = None,
        on_error: Callable[[str], object] | None = None,
    ) -> CommandResult:
        """Run one command; as the Automation API's, raises `CommandError` where it fails."""
        return self._run(args, cwd, additional_env, (on_output, on_error), None)

    def feed(self, args: list[str], cwd: str, additional_env: Mapping[str, str], text: str) -> CommandResult:
        """Run one command with `text` on its standard input."""
        return self._run(args, cwd, additional_env, (None, None), text)

    def _run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        told: tuple[Callable[[str], object] | None, Callable[[str], object] | None],
        text: str | None,
    ) -> CommandResult:
        flags = [] if "--non-interactive" in args else ["--non-interactive"]
        with self._guard:
            # A second operation after Ctrl-C would undo the point of it; reading outputs would do no harm,
            # but nobody waits for them.
            if self._interrupted:
                raise create_command_error(CommandResult("", "stopped on request", 1))
            child = subprocess.Popen(
                [self.command, *flags, *args],
                stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env={**os.environ, **additional_env, **_QUIET},
                encoding="utf-8",
                errors="replace",
                process_group=0,
            )
            self._running = child
        with child:
            lines: tuple[list[str], list[str]] = ([], [])
            readers = [
                threading.Thread(target=_drain, args=each, daemon=True)
                for each in zip((child.stdout, child.stderr), told, lines, strict=True)
            ]
            for reader in readers:
                reader.start()
            if text is not None and child.stdin is not None:
                try:
                    child.stdin.write(text)
                    child.stdin.close()
                except BrokenPipeError:
                    pass  # it failed before it read: its exit code and words say why
            for reader in readers:
                reader.join()
            code = child.wait()
        result = CommandResult("\n".join(lines[0]), "\n".join(lines[1]), code)
        if code != 0:
            raise create_command_error(result)
        return result


def _drain(stream: IO[str], told: Callable[[str], object] | None, kept: list[str]) -> None:
    for line in stream:
        text = line.rstrip()
        kept.append(text)
        if told is not None:
            told(text)
