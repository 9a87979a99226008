"""`berth up`, `down` and `outputs`."""

from __future__ import annotations

import asyncio
import json
import signal
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.consent import consent
from berth.cli.console import Console, curl
from berth.cli.engines import PULUMI, create_option, engine_of, engine_option, secrets_provider_option
from berth.cli.errors import UserError
from berth.cli.local import remove_nodes
from berth.cli.mending import mend
from berth.cli.packs import judging, policy_options
from berth.cli.preparing import Need, NothingThereError, prepare
from berth.cli.reports import Teller, context_option, diff_option, finish, json_option, stack_argument
from berth.cli.stackfile import PROJECT, find_stack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from berth.deployer import Report, RunRequest

    Confirm = Callable[[Report], Awaitable[bool]]

PROOF_PROMPT = "What is Kubernetes?"
PROOF_TOKENS = 60


async def _stoppable(
    command: Callable[..., Awaitable[Report]], request: RunRequest, console: Console, confirm: Confirm | None
) -> Report:
    """Run `up` or `down` so that Ctrl-C or SIGTERM ends it in order and frees the stack's lock."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await command(request, on_event=Teller(console), stop=stop, confirm=confirm)


@click.command()
@stack_argument
@click.option("--yes", is_flag=True, help="Ask nothing: deploy, and install missing Debian tools.")
@click.option(
    "--simulated-gpus", type=click.IntRange(min=0), help="GPUs for the scheduler; no hardware behind them."
)
@click.option(
    "--ignore-doctor", is_flag=True, help="Go on although a cluster does not fit what the stack asks."
)
@click.option(
    "--take-back", is_flag=True, help="Write over fields that others wrote into, as `berth drift` shows them."
)
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates of the authority of HTTPS endpoints, for the question at the end.",
)
@click.option(
    "--server-name", default="", metavar="NAME", help="What their certificate says, if not the address."
)
@engine_option
@create_option
@secrets_provider_option
@context_option
@diff_option
@policy_options
@json_option
def up(
    stack: str,
    *,
    yes: bool,
    simulated_gpus: int | None,
    ignore_doctor: bool,
    take_back: bool,
    ca: Path | None,
    server_name: str,
    engine: str,
    create: bool,
    secrets_provider: str | None,
    context: str | None,
    diff: bool,
    packs: tuple[Path, ...],
    configs: tuple[Path, ...],
    policy_seconds: float,
    as_json: bool,
) -> None:
    """Bring an environment to what stacks/Pulumi.STACK.yaml says.

    For the stack `local` this makes a real Kubernetes on this machine first,
    about 8 minutes the first time on 2 cores, seconds later on.
    """
    from berth.cli.doctor import require_fit

    judged = judging(packs, configs, policy_seconds)
    if take_back and engine == PULUMI:
        raise UserError("--take-back: for Pulumi's provider, annotate the object with pulumi.com/patchForce")
    console = Console()
    confirm = consent(stack, "up", yes=yes)
    if ca is not None:
        from berth.operations.tls import trusted

        trusted(ca)  # wrong input is said before anything is changed
    used = engine_of(engine, stack, create=create, secrets_provider=secrets_provider)
    mend(stack, console)
    prepared = prepare(
        stack, console, need=Need.CHANGE, context=context, yes=yes, gpus=simulated_gpus,
        by_pulumi=engine == PULUMI,
    )  # fmt: skip
    if prepared.is_foreign and not ignore_doctor:
        looked = prepared
        if engine == PULUMI:
            # Its request lacks the file's settings, which the CLI reads itself; the doctor opens no secret.
            looked = prepare(stack, Console(quiet=True), need=Need.LOOK, context=context, offline=True)
        require_fit(looked.request, console)
    request = replace(judged(prepared.request), take_back=take_back)
    report = asyncio.run(_stoppable(used.up, request, console, confirm))
    proofs: list[dict[str, Any]] = []
    if report.ok and prepared.key is not None:
        proofs = [
            _prove(
                console, where, url, prepared.key, ca=ca, server_name=server_name,
                hold=_hold(report.outputs, where),
            )
            for where, url in _endpoints(report.outputs).items()
        ]  # fmt: skip
    finish(report, as_json=as_json, diff=diff, extra={"completions": proofs})
    for proof in proofs:
        if "error" not in proof and not as_json:
            click.echo(_proof_text(proof, stack))
    if report.ok and not as_json:
        click.echo(watched_text(report.outputs), nl=False)
    if failed := [str(proof["error"]) for proof in proofs if "error" in proof]:
        raise UserError("everything was deployed, but " + "; ".join(failed), exit_code=1)


def _endpoints(outputs: Mapping[str, Any]) -> dict[str, str]:
    endpoints = outputs.get("endpoints")
    return dict(endpoints) if isinstance(endpoints, dict) else {}


def _hold(outputs: Mapping[str, Any], where: str) -> float:
    """How long a request may wait until a model wakes; 0 where a replica is always there."""
    models = outputs.get("models")
    found = models.get(where) if isinstance(models, dict) else None
    return float(found.get("holdSeconds") or 0) if isinstance(found, dict) else 0.0


def _prove(
    console: Console,
    where: str,
    url: str,
    key: str,
    *,
    ca: Path | None,
    server_name: str,
    hold: float,
) -> dict[str, Any]:
    """Ask the model one question through its Service: a deployment that cannot answer has failed."""
    from berth.operations import ask
    from berth.operations.errors import EndpointError

    proof: dict[str, Any] = {"endpoint": where, "url": url, "prompt": PROOF_PROMPT}
    try:
        with console.step("proof", f"asking {where} at {url}"):
            asking = ask(
                url, key, PROOF_PROMPT, max_new_tokens=PROOF_TOKENS, ca=ca, server_name=server_name,
                wait_seconds=60.0 + hold, request_seconds=30.0 + hold,
            )  # fmt: skip
            answer = asyncio.run(asking)
    except EndpointError as error:
        return {**proof, "error": str(error)}
    if not answer.text.strip():
        return {**proof, "error": f"{where} at {url} answered, but with no text: the model does not work"}
    return {
        **proof,
        "text": answer.text,
        "tokens": answer.tokens,
        "seconds": answer.seconds,
    }


def watched_text(outputs: Mapping[str, Any]) -> str:
    """Where what watches a stack is, by site, and what it leaves out; "" where nobody watches."""
    found = outputs.get("monitoring")
    return "".join(
        f"\n{site} is watched:\n" + "".join(f"{line}\n" for line in _watched(known))
        for site, known in sorted(found.items() if isinstance(found, dict) else ())
    )


def _watched(known: Mapping[str, Any]) -> Iterator[str]:
    for part in ("prometheus", "alertmanager", "grafana"):
        if one := known.get(part):
            forward = f"kubectl -n {known['namespace']} port-forward svc/{one['service']} {int(one['port'])}"
            yield f"  {part.capitalize() + ':':14}{one.get('url') or forward}"
    reasons: dict[str, list[str]] = {}
    for job, why in known.get("absent", {}).items():
        reasons.setdefault(str(why), []).append(str(job))
    for why, jobs in sorted(reasons.items()):
        line = f"  not here: {', '.join(sorted(jobs))}: {why}"
        yield textwrap.fill(line, 80, subsequent_indent="    ", break_on_hyphens=False)


def _proof_text(proof: Mapping[str, Any], stack: str) -> str:
    return (
        f"\n{proof['endpoint']} answers at {proof['url']}\n"
        f"  asked:    {proof['prompt']}\n"
        f"  answered: {' '.join(str(proof['text']).split())}\n"
        f"  ({proof['tokens']} tokens in {proof['seconds']:.1f} s)\n"
        "Ask it yourself:\n"
        f"{curl(str(proof['url']), stack)}"
    )


@click.command()
@stack_argument
@click.option("--yes", is_flag=True, help="Remove it without asking.")
@engine_option
@context_option
@diff_option
@json_option
def down(stack: str, *, yes: bool, engine: str, context: str | None, diff: bool, as_json: bool) -> None:
    """Remove everything that STACK made; the local cluster itself stays."""
    from berth import deployer

    console = Console()
    confirm = consent(stack, "down", yes=yes)
    mend(stack, console)
    try:
        prepared = prepare(stack, console, need=Need.EXISTING, context=context, by_pulumi=engine == PULUMI)
    except NothingThereError as nothing:
        console.line("stack", f"{nothing}; nothing to remove")
        if as_json:
            click.echo(json.dumps(deployer.Report("down", PROJECT, stack).to_json(), indent=2))
        return
    report = asyncio.run(_stoppable(engine_of(engine, stack).down, prepared.request, console, confirm))
    if report.ok and not prepared.is_foreign:
        remove_nodes(find_stack(stack).local_sites, console)
    finish(report, as_json=as_json, diff=diff)


@click.command()
@stack_argument
@engine_option
@context_option
@json_option
def outputs(stack: str, *, engine: str, context: str | None, as_json: bool) -> None:
    """Print the outputs of STACK; secret ones as [secret]."""
    from berth.deployer.values import shown

    prepared = prepare(stack, Console(), need=Need.EXISTING, context=context, by_pulumi=engine == PULUMI)
    found = asyncio.run(engine_of(engine, stack).outputs(prepared.request))
    readable = shown(found)
    if as_json:
        click.echo(json.dumps(readable, indent=2))
        return
    for name, value in readable.items():
        click.echo(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")
