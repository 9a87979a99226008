"""`berth weights`: ask a hub which files a model's weights are, and keep the answer in a file."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import click

from berth.cli.console import Console, human_size
from berth.cli.errors import UserError
from berth.cli.paths import ROOT

_PATIENCE_SECONDS = 30.0  # after which nothing is tried again: somebody waits
PINS_FOLDER = ROOT / "stacks" / "weights"


@click.group()
def weights() -> None:
    """Pin the weights of the catalogue's models, whose files a hub has, and say which they are."""


@weights.command()
@click.argument("model")
@click.option(
    "--revision", default="main", show_default=True, help="Branch, tag or commit; the commit is kept."
)
@click.option(
    "--hub", "url", metavar="URL", help="The hub, or a mirror with its API.  [default: huggingface.co]"
)
@click.option(
    "--file", "only", multiple=True, metavar="NAME", help="Weights to take, where there are several."
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the hub's token, for models behind a licence.  [default: $HF_TOKEN]",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=PINS_FOLDER,
    help="Where the answer is kept.  [default: stacks/weights]",
)
def pin(  # noqa: PLR0917 - click passes them by name
    model: str,
    revision: str,
    url: str | None,
    only: tuple[str, ...],
    token_file: Path | None,
    folder: Path,
) -> None:
    """Ask the hub for the commit and the digests of MODEL's files.

    Writes stacks/weights/MODEL.yaml, which belongs into version control: stacks
    serve exactly these files, and a change of them is reviewed like any other.
    """
    from berth_catalogue.errors import CatalogueError
    from berth_catalogue.models import HubWeights, models
    from berth_catalogue.models import model as known
    from berth_catalogue.weights_pins import PinnedFile, Pins, pins_text, read_pins
    from berth_serving.hub import HUB, Hub, HubError
    from berth_serving.manifest import ManifestError
    from berth_serving.pinning import pin as ask

    try:
        found = known(model).weights
    except CatalogueError as error:
        raise UserError(str(error)) from None
    if not isinstance(found, HubWeights):
        on_hub = ", ".join(key for key, one in models().items() if isinstance(one.weights, HubWeights))
        raise UserError(
            f"the weights of {model} come with a package and are pinned already; on a hub: {on_hub}"
        )
    console = Console()
    token = token_file.read_text().strip() if token_file else os.environ.get("HF_TOKEN", "").strip()
    try:
        with console.step("weights", f"asking {url or HUB} for {found.repo} at {revision}"):
            hub = Hub(url or HUB, token=token, deadline=time.monotonic() + _PATIENCE_SECONDS)
            asked = ask(hub, found.repo, revision, only=only)
    except (HubError, ManifestError) as error:
        hint = "" if url else "; if the hub cannot be reached, name a mirror with --hub"
        raise UserError(f"{error}{hint if isinstance(error, HubError) else ''}", exit_code=1) from None
    files = tuple(PinnedFile(one.path, one.size, one.sha256) for one in asked.files)
    pins = Pins(asked.repo, asked.revision, files)
    path = folder / f"{model}.yaml"
    try:
        before = read_pins(path)
    except (FileNotFoundError, CatalogueError):
        before = None
    _write(path, pins_text(pins))
    console.line("weights", _change(before.revision if before else None, pins.revision, same=before == pins))
    click.echo(f"{path}: {len(files)} files, {human_size(pins.total_bytes)}, at {pins.revision}")


@weights.command()
@click.argument("model")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write it there; a folder gets berth-manifest.json."
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=PINS_FOLDER,
    help="Where the pins are.  [default: stacks/weights]",
)
def manifest(model: str, output: Path | None, folder: Path) -> None:
    """Write the manifest of MODEL's pinned files, to lie beside them.

    In a bucket, or in an image, it is called berth-manifest.json. Stacks give endpoints
    its digest, so the bytes must be these; no line end follows them.
    """
    from berth_catalogue.errors import CatalogueError
    from berth_catalogue.weights_pins import manifest_text, read_pins
    from berth_serving.weights_settings import MANIFEST_BESIDE

    path = folder / f"{model}.yaml"
    try:
        body = manifest_text(read_pins(path)).encode()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; ./berth weights pin {model} makes it") from None
    except CatalogueError as error:
        raise UserError(str(error)) from None
    if output is None:
        click.echo(body, nl=False)
        return
    target = output / MANIFEST_BESIDE if output.is_dir() else output
    try:
        target.write_bytes(body)
    except OSError as error:
        raise UserError(f"--output {target}: {error.strerror}", exit_code=1) from None
    click.echo(f"{target}: SHA-256 {hashlib.sha256(body).hexdigest()}")


def _change(before: str | None, now: str, *, same: bool) -> str:
    if before is None:
        return f"pinned at {now}"
    if same:
        return "unchanged"
    return f"was at {before}" if before != now else "the same commit, other files"


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
