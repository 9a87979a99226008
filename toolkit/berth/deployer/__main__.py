"""`python -m berth.deployer preview|up|down|outputs`: the deployer without the berth command."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from . import (
    DeployError,
    Event,
    PolicyPack,
    Report,
    RunRequest,
    down,
    load_config,
    load_project,
    load_recorded,
    outputs,
    preview,
    render,
    up,
)
from .values import shown

if TYPE_CHECKING:
    from collections.abc import Sequence


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m berth.deployer", description=__doc__)
    parser.add_argument("command", choices=["preview", "up", "down", "outputs"])
    parser.add_argument("--stack", required=True, help="the stack's name")
    parser.add_argument("--project-dir", type=Path, help="the folder of Pulumi.yaml; default: this one")
    parser.add_argument("--program", type=Path, help="a program without Pulumi.yaml; needs --project")
    parser.add_argument("--project", help="the project's name, with --program")
    parser.add_argument(
        "--config", action="append", default=[], metavar="KEY=VALUE", help="never for a secret"
    )
    parser.add_argument("--kubeconfig", help="for down and outputs: do not run the program, use this cluster")
    parser.add_argument("--context", help="the context in --kubeconfig")
    parser.add_argument(
        "--policy-pack", action="append", default=[], type=Path, metavar="DIR", help="may be repeated"
    )
    parser.add_argument(
        "--policy-pack-config", action="append", default=[], type=Path, metavar="FILE", help="one per pack"
    )
    parser.add_argument("--offline", action="store_true", help="preview without asking any cluster")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--layout", choices=["tree", "flat"], default="tree", help="how to show resources")
    parser.add_argument("--diff", action="store_true", help="show every property that changes")
    parser.add_argument("--show-secrets", action="store_true", help="with outputs: print secret ones, too")
    options = parser.parse_args(arguments)
    if options.program and not options.project:
        parser.error("--program needs --project")
    if options.policy_pack_config and len(options.policy_pack_config) != len(options.policy_pack):
        parser.error("give --policy-pack-config as often as --policy-pack, or not at all")
    return options


def _request(options: argparse.Namespace) -> RunRequest:
    given = dict(pair.partition("=")[::2] for pair in options.config)
    clusters = ((options.kubeconfig, options.context),) if options.kubeconfig or options.context else ()
    packs = tuple(map(PolicyPack, options.policy_pack, options.policy_pack_config or repeat(None)))
    if options.program:
        return RunRequest(
            options.program,
            options.project,
            options.stack,
            given,
            offline=options.offline,
            kubeconfigs=clusters,
            policy_packs=packs,
        )
    project = load_project(options.project_dir or Path.cwd())
    config, secret_keys = load_config(project.folder, options.stack)
    return RunRequest(
        project.program,
        project.name,
        options.stack,
        {**config, **given},
        secret_keys,
        root=project.folder,
        python=project.python,
        offline=options.offline,
        kubeconfigs=clusters,
        recorded=load_recorded(project.folder, options.stack),
        policy_packs=packs,
    )


def _print_event(event: Event) -> None:
    if event.kind != "planned":
        sys.stderr.write(f"{event.message}\n")


async def _run(options: argparse.Namespace) -> int:
    request = _request(options)
    if options.command == "outputs":
        found = await outputs(request)
        values = {key: getattr(value, "value", value) for key, value in found.items()}
        sys.stdout.write(json.dumps(shown(values if options.show_secrets else found), indent=2) + "\n")
        return 0
    if options.command == "preview":
        report: Report = await preview(request, on_event=_print_event)
    else:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        command = up if options.command == "up" else down
        report = await command(request, on_event=_print_event, stop=stop)
    text = (
        json.dumps(report.to_json(), indent=2) + "\n"
        if options.json
        else render(report, diff=options.diff, layout=options.layout)
    )
    sys.stdout.write(text)
    return 0 if report.ok else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 for a failed run, 2 for a request that is wrong in itself."""
    try:
        return asyncio.run(_run(_parse(arguments)))
    except DeployError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
