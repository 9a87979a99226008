"""`berth new`: make the file of a stack."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from berth.cli.errors import UserError
from berth.cli.stackfile import STACKS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_MODEL = "qwen2.5-7b-instruct"


@click.command()
@click.argument("stack")
@click.option("--ground", metavar="NAME", help="aws, gcp, own or sagemaker.")
@click.option("--accelerator", metavar="KEY", help="Such as nvidia-l4; cpu on own hardware.")
@click.option("--model", metavar="KEY", help="Model of the catalogue.")
@click.option("--environment", metavar="NAME", help="development or production.")
@click.option("--region", metavar="NAME", help="Region of the cloud.")
def new(
    stack: str,
    *,
    ground: str | None,
    accelerator: str | None,
    model: str | None,
    environment: str | None,
    region: str | None,
) -> None:
    """Make stacks/Pulumi.STACK.yaml, which previews as it is.

    On a terminal it asks for what the options leave out; elsewhere the
    ground has to be named, and the rest is chosen.
    """
    from berth_stacks.new import ENVIRONMENTS, GROUNDS, REGIONS, CannotError, Wish, choices, stack_text

    file = free_file(stack)
    asked = sys.stdin.isatty()
    where = _said("ground", ground, GROUNDS, None, asked=asked)
    wish_ground = next(one for one in GROUNDS if one == where)
    devices = choices(wish_ground)
    usual = "nvidia-l4" if "nvidia-l4" in devices else devices[0]
    device = _said("accelerator", accelerator, devices, usual, asked=asked)
    models = _models(device)
    served = _said("model", model, models, _MODEL if _MODEL in models else models[0], asked=asked)
    kind = _said("environment", environment, ENVIRONMENTS, "development", asked=asked)
    place = region or REGIONS[wish_ground]
    if asked and region is None and place:
        place = click.prompt("region", default=place)
    try:
        text = stack_text(Wish(wish_ground, served, device, kind, place))
    except CannotError as error:
        raise UserError(f"no stack '{stack}': {error}") from None
    file.write_text(text, encoding="utf-8")
    click.echo(f"wrote stacks/{file.name}; next: ./berth preview {stack}")


def free_file(stack: str) -> Path:
    """The file that the stack will have."""
    if not _NAME.fullmatch(stack):
        raise UserError(
            f"'{stack}' is no name of a stack; allowed: 1 to 40 lower-case letters, digits and '-'"
        )
    file = STACKS / f"Pulumi.{stack}.yaml"
    if file.exists():
        raise UserError(f"stacks/{file.name} exists; name another stack, or remove the file first")
    return file


def _said(name: str, given: str | None, known: Sequence[str], usual: str | None, *, asked: bool) -> str:
    """What an option says, or a person, or what is usual."""
    if given is None and not asked and usual is not None:
        return usual
    if given is None and not asked:
        raise UserError(f"--{name} is missing; one of {', '.join(known)}")
    word: str = given if given is not None else click.prompt(name, default=usual, type=click.Choice([*known]))
    if word not in known:
        from berth_stacks.errors import nearest

        where = "" if name in {"ground", "environment"} else " there"
        hint = f"; {found}" if (found := nearest(word, [*known])) and not _exists(name, word) else ""
        raise UserError(f"--{name} is '{word}'; allowed{where}: {', '.join(known)}{hint}")
    return word


def _exists(name: str, word: str) -> bool:
    """Whether it is in the catalogue, so that no slip of the pen is to be guessed."""
    from berth_catalogue.accelerators import accelerators
    from berth_catalogue.models import models

    return word in {"accelerator": accelerators(), "model": models()}.get(name, {})


def _models(device: str) -> list[str]:
    """The models that some engine serves there."""
    from berth_catalogue.engines import engines
    from berth_catalogue.models import models
    from berth_catalogue.pairings import pairings

    formats = {
        format_ for name, where in pairings() if where == device for format_ in engines()[name].formats
    }
    return [key for key, one in models().items() if one.weights.format in formats]
