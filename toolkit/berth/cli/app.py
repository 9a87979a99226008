"""The root command. Nothing heavy is imported until a command is chosen."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
import traceback
from typing import NoReturn

import click

from berth.cli.paths import log_folder

# name: (module, what it does). The help text is here so that `--help` imports no command.
COMMANDS = {
    "up": ("environment", "Bring an environment to what its stack file says."),
    "preview": ("previews", "Show what `up` would change, and change nothing."),
    "plan": ("plan", "Say whether models fit and what they cost, before a deployment."),
    "drift": ("drift", "Show what a cluster has that a stack's program did not ask."),
    "render": ("render", "Write a stack as YAML for Argo CD and Flux, or as a Helm chart."),
    "down": ("environment", "Remove everything that a stack made."),
    "outputs": ("environment", "Print a stack's outputs."),
    "choose": ("choose", "Compare cloud, own hardware, hybrid and managed endpoints."),
    "new": ("new", "Write the file of a new stack."),
    "explain": ("explain", "Say where each setting of a stack comes from."),
    "schema": ("schema", "Print the JSON Schema of stack files."),
    "policy": ("policy", "Check stacks against the policy pack, and change nothing."),
    "permissions": ("permissions", "Derive the least permissions that a stack needs."),
    "weights": ("weights", "Pin the weights of a model to what its hub has."),
    "key": ("key", "Print the API key of a local stack."),
    "load": ("load", "Put open-loop load on a stack and watch it scale."),
    "calibrate": ("calibrate", "Measure how fast a replica is, for the planner."),
    "dash": ("dash", "Show a stack's dashboards on a local page, or check their data."),
    "status": ("status", "Say what runs, how loaded it is, what fires and what it costs now."),
    "serve": ("serve", "Run the model server alone, on loopback."),
    "cluster": ("cluster", "The local Kubernetes: start, stop, status, delete, logs, kubectl."),
    "images": ("images", "Build, push and pin the container images."),
    "judge": ("judge", "Judge every stack's objects by other people's tools."),
    "prove": ("prove", "Prove that a stack scales, from its metric to a new node."),
    "drill": ("drill", "Break a site of a stack for real, under load, and see what holds."),
    "doctor": ("doctor", "Say what is wrong: with a stack that runs, or with this machine."),
    "test": ("test", "Run the tests."),
}

# Errors that a person can cause, by class name: their message is the whole story.
EXPECTED = frozenset(
    {
        "berth.cli.errors.UserError",
        "berth.deployer.errors.DeployError",
        "berth.judges.errors.JudgeError",
        "berth.localcluster.errors.ClusterError",
        "berth.operations.errors.OperationsError",
        "berth.rendering.errors.RenderError",
        "berth_images.errors.ImagesError",
        "berth_planner.errors.PlannerError",
        "berth_stacks.errors.SettingsError",
    }
)


# Of those, what is no wrong input and no lack of this machine, but work that failed.
FAILURES = frozenset(
    {
        "berth.judges.errors.JudgeFailedError",
        "berth.localcluster.errors.ApiError",
        "berth.localcluster.errors.BuildError",
        "berth.localcluster.errors.BusyError",
        "berth.localcluster.errors.CleanupError",
        "berth.localcluster.errors.ClusterStartError",
        "berth.localcluster.errors.ImageError",
        "berth.operations.errors.ClusterReadError",
        "berth.operations.errors.EndpointError",
        "berth_images.errors.BuildError",
        "berth_images.errors.RegistryError",
    }
)

_NO_FOLDER = "a file is where a folder should be: set BERTH_CACHE to another folder, and run this again"

# What the system may refuse, and what to do about it.
ENVIRONMENT = {
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.ENOSPC: "the disk is full: free some space, or set BERTH_CACHE to another disk, and run this again",
    errno.EDQUOT: "your quota is used up: free some space, or set BERTH_CACHE, and run this again",
    errno.EROFS: "that is read-only: set BERTH_CACHE to a folder that can be written, and run this again",
    errno.EACCES: "you may not write there: set BERTH_CACHE to a folder of your own, and run this again",
    errno.EPERM: "you may not do that: set BERTH_CACHE to a folder of your own, or run this as root",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table above."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one command that was asked for."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"berth.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"berth.cli.{COMMANDS[cmd_name][0]}.{cmd_name} is no command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the closest one there is."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command '{args[0]}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}
)
@click.version_option("0.1.0", prog_name="berth")
def cli() -> None:
    """Berth takes a language model to production as code.

    `berth up local --yes` makes a real Kubernetes on this machine and a
    language model in it that answers; `berth COMMAND --help` says more.
    """


def _expected(error: BaseException) -> bool:
    return any(f"{kind.__module__}.{kind.__qualname__}" in EXPECTED for kind in type(error).__mro__)


def _exit_code(error: BaseException) -> int:
    named: int | None = getattr(error, "exit_code", None)
    if named is not None:
        return named
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return 1 if names & FAILURES else 2


def _unexpected(error: BaseException) -> NoReturn:
    try:
        trace = log_folder() / "crash.log"
        trace.write_text("".join(traceback.format_exception(error)))
        where = f"the details are in {trace}"
    except OSError:
        where = "the details could not be written to the log folder"
    click.echo(f"berth: a defect of Berth itself: {type(error).__name__}: {error}; {where}", err=True)
    sys.exit(70)


def main() -> NoReturn:
    """Run the command line; exit codes: 0 done, 1 failed, 2 wrong input or environment, 130 interrupted."""
    try:
        sys.exit(cli.main(prog_name="berth", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("berth: interrupted; running the same command again goes on from here", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in ENVIRONMENT:
            _unexpected(error)
        where = f": {error.filename}" if error.filename else ""
        click.echo(f"berth: {error.strerror}{where}; {ENVIRONMENT[error.errno]}", err=True)
        sys.exit(2)
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback reaches a person
        if not _expected(error):
            _unexpected(error)
        click.echo(f"berth: {error}", err=True)
        sys.exit(_exit_code(error))
