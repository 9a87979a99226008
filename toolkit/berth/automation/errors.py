"""What can go wrong between here and the Pulumi CLI, as one tree.

```
berth.deployer.DeployError
└── PulumiError          the CLI ended with an error that is none of the ones below
    ├── NoPulumi         no `pulumi` executable, or one that does not run or is too old
    ├── NotLoggedIn      no state backend is chosen, or it does not accept this login
    ├── NoStack          the backend has no such stack
    ├── Passphrase       the stack's secrets cannot be opened
    ├── StackLocked      another update holds the stack
    ├── NoPlugin         a provider's plugin cannot be installed
    └── DeployersStack   Berth's deployer made this stack
```

`explain` tells them apart by the CLI's own sentences; each source is named beside its pattern.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from berth.deployer import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable

_COLOR = re.compile(r"<\{%.*?%\}>|\x1b\[[0-9;]*[A-Za-z]")
_HOLDER = re.compile(r"created by (\S+?)@(\S+) \(pid (\d+)\) at (\S+)")
_PLUGIN = re.compile(r"(?:resource|language) plugin '?(pulumi-[\w-]+)'?(?:\s*at version (v[\w.+-]+))?")
_LONGEST = 1_500  # characters of the CLI's own words in one message
_WITHOUT = (
    "Without it, `berth preview` plans every stack, and `berth up` deploys those whose resources are all "
    "Kubernetes objects."
)


class PulumiError(DeployError):
    """The Pulumi CLI ended with an error; the text quotes it."""

    code = "pulumi"


class NoPulumi(PulumiError):  # noqa: N818 - reads as the state it reports
    """There is no Pulumi CLI that can be used."""

    code = "no-pulumi"


class NotLoggedIn(PulumiError):  # noqa: N818 - reads as the state it reports
    """No backend keeps the stack's state yet, or it refuses."""

    code = "login"


class NoStack(PulumiError):  # noqa: N818 - reads as the state it reports
    """The backend does not know the stack."""

    code = "no-stack"


class Passphrase(PulumiError):  # noqa: N818 - reads as the state it reports
    """The stack's secrets cannot be opened."""

    code = "passphrase"


class StackLocked(PulumiError):  # noqa: N818 - reads as the state it reports
    """Another update holds the stack; the text says who, since when, and what to do."""

    code = "locked"


class NoPlugin(PulumiError):  # noqa: N818 - reads as the state it reports
    """A provider's plugin is not there and could not be fetched."""

    code = "plugin"


class DeployersStack(PulumiError):  # noqa: N818 - reads as the state it reports
    """The stack's record in a cluster says that Berth's deployer made it."""

    code = "engine"


def plain(text: str) -> str:
    """The CLI's text without colours: engine events carry them as `<{%fg 1%}>`, terminals as escapes."""
    return _COLOR.sub("", text)


def no_pulumi(reason: str) -> NoPulumi:
    """The error for a CLI that cannot be used, with where to get one and what works without it."""
    return NoPulumi(
        f"--engine pulumi: {reason}. Install the Pulumi CLI (https://www.pulumi.com/docs/install/) so that "
        f"`pulumi version` works in this shell. {_WITHOUT}"
    )


def explain(stderr: str, stdout: str, stack: str) -> PulumiError:
    """The one error that a failed command's output stands for.

    The patterns are the CLI's own words (pulumi/pulumi): `pkg/backend/diy/lock.go` for locks of backends that
    one keeps oneself, `pkg/backend/httpstate` for conflicts and logins, `pkg/secrets/passphrase`,
    `pkg/cmd/pulumi/stack`, and `InstallPluginError` for plugins.
    """
    text = plain(f"{stderr}\n{stdout}")
    for pattern, made in _SENTENCES:
        if re.search(pattern, text):
            return made(text, stack)
    return PulumiError(f"the Pulumi CLI failed on stack '{stack}': {_last(text)}")


def _locked(text: str, stack: str) -> PulumiError:
    held = "; ".join(
        f"{user} on {host} (process {pid}) since {since}" for user, host, pid, since in _HOLDER.findall(text)
    )
    by = held or "somebody else; the backend's web page of the stack says by whom"
    return StackLocked(
        f"stack '{stack}' is being changed by {by}. Wait for that to end; if it is dead, run "
        f"`pulumi cancel --stack {stack}`, then repeat"
    )


def _no_stack(_: str, stack: str) -> PulumiError:
    return NoStack(
        f"the Pulumi CLI's backend has no stack '{stack}'. Create it with `--create` (that runs `pulumi "
        f"stack init {stack}`), or log in to the backend that has it. A stack that Berth's own deployer "
        "made is reached without --engine"
    )


def _wrong_passphrase(_: str, stack: str) -> PulumiError:
    return Passphrase(
        f"the passphrase of stack '{stack}' is wrong: set PULUMI_CONFIG_PASSPHRASE, or the file that "
        "PULUMI_CONFIG_PASSPHRASE_FILE names, to the one it was created with"
    )


def _no_passphrase(_: str, stack: str) -> PulumiError:
    return Passphrase(
        f"stack '{stack}' keeps its secrets by passphrase: set PULUMI_CONFIG_PASSPHRASE or "
        "PULUMI_CONFIG_PASSPHRASE_FILE"
    )


def _login(_: str, __: str) -> PulumiError:
    return NotLoggedIn(
        "the Pulumi CLI is not logged in to a backend. Set PULUMI_BACKEND_URL or run `pulumi login URL`: "
        "s3://BUCKET, gs://BUCKET or file://FOLDER keep the state yourself; Pulumi Cloud needs "
        "PULUMI_ACCESS_TOKEN"
    )


def _no_plugin(text: str, _: str) -> PulumiError:
    found = _PLUGIN.search(text)
    if found is None:
        return NoPlugin(
            "a provider's plugin is not installed, and fetching it failed. Run `pulumi install` where there "
            f"is a network. The CLI said: {_last(text)}"
        )
    kind, _, short = found[1].removeprefix("pulumi-").partition("-")
    version = f" {found[2]}" if found[2] else ""
    return NoPlugin(
        f"the plugin {found[1]}{version} is not installed, and fetching it failed. Run "
        f"`pulumi plugin install {kind} {short}{version}` where there is a network. It said: {_last(text)}"
    )


_SENTENCES: tuple[tuple[str, Callable[[str, str], PulumiError]], ...] = (
    (r"the stack is currently locked by|Another update is currently in progress", _locked),
    (r"no stack named.*found", _no_stack),
    (r"incorrect passphrase", _wrong_passphrase),
    (r"passphrase must be set", _no_passphrase),
    (r"PULUMI_ACCESS_TOKEN must be set|invalid access token|No credentials provided", _login),
    (r"Could not automatically download and install|no (?:resource|language) plugin", _no_plugin),
)


def _last(text: str) -> str:
    """The CLI's own reason: its `error:` lines and what follows them, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    start = next((n for n, line in enumerate(lines) if line.startswith("error:")), len(lines) - 1)
    return " ".join(lines[max(start, 0) :]).removeprefix("error: ")[:_LONGEST] or "it gave no reason"
