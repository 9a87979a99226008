"""What only another place can answer: open findings.

A preview shows them as warnings and as the stack's output `findings`. A real run is refused while one is open
that leaves nothing to deploy, such as an image without a reference; in production by any.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi

from berth_stacks import build
from berth_stacks.errors import Path, dotted
from berth_stacks.settings import Stack


@dataclass(frozen=True, order=True)
class Finding:
    """One question that is open.

    Attributes:
        path: the setting that will answer it, or that it is about.
        text: what is not known, and how to know it.
        blocks_everywhere: whether nothing can be deployed before; else only production is held back.
    """

    path: Path
    text: str
    blocks_everywhere: bool

    def __str__(self) -> str:
        return f"{dotted(self.path)} {self.text}"


class FindingsError(pulumi.RunError, ValueError):
    """A stack cannot be deployed before its findings are answered; the message lists them."""

    def __init__(self, stack: str, findings: list[str]) -> None:
        count = "1 finding is" if len(findings) == 1 else f"{len(findings)} findings are"
        super().__init__("\n  ".join([f"stack '{stack}' cannot be deployed: {count} open", *findings]))


def open_findings(stack: Stack, *, has_api_keys: bool) -> Iterator[Finding]:
    """Everything that is open for a stack whose settings are right."""
    if not has_api_keys and not stack.api_keys_secret and stack.models:
        remedy = "pulumi config set --secret --path 'berth:apiKeys.<name>' \"$(openssl rand -hex 24)\""
        yield Finding(("apiKeys",), f"has no keys of clients: {remedy}", blocks_everywhere=True)
    for role in sorted(build.roles(stack) - stack.images.refs.keys()):
        path: Path = ("images", "refs", role)
        remedy = "./berth images push, then ./berth images pin"
        yield Finding(path, f"is not known: {remedy}", blocks_everywhere=True)


def announce(stack: str, environment: str, findings: tuple[Finding, ...]) -> list[str]:
    """Warn of what is open, and refuse a real run that it holds back.

    Returns:
        The findings as sorted texts, for the stack's outputs.

    Raises:
        FindingsError: this is no preview, and the stack cannot be deployed.
    """
    texts = sorted(map(str, findings))
    production = environment == "production"
    blocking = sorted(str(one) for one in findings if production or one.blocks_everywhere)
    if blocking and not pulumi.runtime.is_dry_run():
        raise FindingsError(stack, blocking)
    for text in texts:
        pulumi.log.warn(f"open finding: {text}")
    return texts
