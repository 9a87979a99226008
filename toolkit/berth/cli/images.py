"""`berth images`: build, push and pin."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from berth.cli.console import Console, human_size

if TYPE_CHECKING:
    from berth_images import BuiltImage

roles_argument = click.argument("roles", nargs=-1)
registry_option = click.option(
    "--registry", required=True, metavar="HOST/PATH", help="Where the images are: images.registry of a stack."
)
insecure_option = click.option(
    "--insecure", is_flag=True, help="Speak HTTP to a registry that is not on loopback."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _built(roles: tuple[str, ...], console: Console) -> dict[str, BuiltImage]:
    import berth_images

    return berth_images.build_all(roles or None, progress=lambda text: console.line("images", text))


@click.group()
def images() -> None:
    """Build the container images, push them to a registry, pin their digests.

    No container engine is needed. Each image has a Containerfile in images/
    too, for those who build with docker, podman or buildah.
    """


@images.command()
@roles_argument
@json_option
def build(roles: tuple[str, ...], as_json: bool) -> None:
    """Build the images of these ROLES, or all of them."""
    built = _built(roles, Console())
    if as_json:
        entries = [asdict(image) for image in built.values()]
        click.echo(json.dumps(entries, indent=2, default=str))
        return
    for image in built.values():
        click.echo(f"{image.reference}  {human_size(image.size)}\n  {image.digest}\n  {image.tar}")


@images.command()
@roles_argument
@registry_option
@insecure_option
@json_option
def push(roles: tuple[str, ...], registry: str, insecure: bool, as_json: bool) -> None:
    """Build, then push to a registry; prints references with digests."""
    from berth_images.publish import push as push_one

    console = Console()
    pushed = {
        role: push_one(image, registry, insecure=insecure, progress=lambda text: console.line("images", text))
        for role, image in _built(roles, console).items()
    }
    click.echo(json.dumps(pushed, indent=2) if as_json else "\n".join(pushed.values()))


@images.command()
@click.argument("role")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file.")
def sbom(role: str, output: Path | None) -> None:
    """Print what is in the image of this ROLE, as CycloneDX JSON."""
    from berth_images import bill_of_materials

    bill = bill_of_materials(_built((role,), Console())[role])
    if output is None:
        click.echo(bill)
        return
    try:
        output.write_bytes(bill)
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from None
    click.echo(str(output))


@images.command()
@roles_argument
@registry_option
@insecure_option
@json_option
def pin(roles: tuple[str, ...], registry: str, insecure: bool, as_json: bool) -> None:
    """Ask the registry for the digests; prints what a stack file needs."""
    from berth_images.publish import pin as pin_one
    from berth_images.publish import published_name, stack_settings

    built = _built(roles, Console())
    pins = {
        role: pin_one(str(published_name(image, registry)), insecure=insecure)
        for role, image in built.items()
    }
    if as_json:
        click.echo(json.dumps({role: pinned.reference for role, pinned in pins.items()}, indent=2))
    else:
        click.echo(stack_settings(pins), nl=False)
