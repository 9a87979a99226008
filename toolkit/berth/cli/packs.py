"""Options by which commands on stacks are given policy packs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from berth.deployer import RunRequest

FOLDER = click.Path(path_type=Path)
POLICY_SECONDS = 5.0

pack_option = click.option(
    "--policy-pack",
    "packs",
    multiple=True,
    metavar="DIR",
    type=FOLDER,
    help="Let this policy pack see every resource; may be repeated.",
)
config_option = click.option(
    "--policy-pack-config",
    "configs",
    multiple=True,
    metavar="FILE",
    type=FOLDER,
    help="JSON with levels and settings, one file per --policy-pack.",
)
seconds_option = click.option(
    "--policy-seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    default=POLICY_SECONDS,
    show_default=True,
    help="How long a policy may take over one resource.",
)


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the three options; the command gets `packs`, `configs` and `policy_seconds`."""
    return pack_option(config_option(seconds_option(command)))


def judging(
    packs: Sequence[Path], configs: Sequence[Path], seconds: float
) -> Callable[[RunRequest], RunRequest]:
    """Return what gives a request these policy packs, each with the configuration file at its place.

    Raises:
        UserError: there are not as many configuration files as packs, or a path leads nowhere.
    """
    if configs and len(configs) != len(packs):
        raise UserError(
            f"--policy-pack-config is given {len(configs)} times and --policy-pack {len(packs)} times; "
            "each configuration goes with the pack at the same place"
        )
    for folder in packs:
        if not (folder / "PulumiPolicy.yaml").is_file():
            raise UserError(f"{folder} is no policy pack: there is no {folder / 'PulumiPolicy.yaml'}")
    for file in configs:
        if not file.is_file():
            raise UserError(f"the policy pack's configuration {file} does not exist")
    given = [*configs, *([None] * (len(packs) - len(configs)))]
    pairs = [(folder.resolve(), file and file.resolve()) for folder, file in zip(packs, given, strict=True)]

    def change(request: RunRequest) -> RunRequest:
        from berth.deployer import PolicyPack

        found = tuple(PolicyPack(folder, file) for folder, file in pairs)
        return dataclasses.replace(request, policy_packs=found, policy_seconds=seconds)

    return change
