"""`berth serve`: the model server alone, for a first taste."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.console import Console, curl
from berth.cli.paths import cache_folder

if TYPE_CHECKING:
    from berth_serving.supervisor import Event


def _tell(console: Console, event: Event) -> None:
    facts = ", ".join(f"{name} {value}" for name, value in event.facts.items() if event.kind != "ready")
    console.line("serve", f"{event.message.rstrip('.')}{f' ({facts})' if facts else ''}")
    if event.kind != "ready":
        return
    url = event.facts["url"]
    click.echo(f"The model answers at {url}; Ctrl-C ends it. Ask it from another terminal:\n{curl(str(url))}")


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address; beyond loopback needs --key-file."
)
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option(
    "--metrics-port", default=0, type=click.IntRange(0, 65535), help="Of /metrics; 0 takes a free one."
)
@click.option("--slots", default=4, show_default=True, type=click.IntRange(1, 64), help="Sequences at once.")
@click.option(
    "--threads", default=0, type=click.IntRange(0, 256), help="Of the engine; 0 is by the CPU limit."
)
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="File with the API key that clients must send."
)
def serve(**options: Any) -> None:
    """Run the model server on loopback: gateway, llama.cpp, SmolLM2-135M.

    It speaks TGI, OpenAI and the plain contract; no Kubernetes is involved.
    """
    from berth_serving.local import LocalSettings
    from berth_serving.local import serve as run

    console = Console()
    settings = LocalSettings(cache=cache_folder(), **options)
    code = asyncio.run(run(settings, lambda event: _tell(console, event)))
    if code:
        raise click.exceptions.Exit(code)
