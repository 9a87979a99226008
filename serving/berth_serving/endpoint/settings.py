"""What a container that holds gateway and engine is told, and what of it each of the two gets."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from berth_serving.environment import Reader, SettingsError
from berth_serving.parent import PARENT_VARIABLE, tied
from berth_serving.settings import GatewaySettings
from berth_serving.supervisor import ENGINE_END_SECONDS, GATEWAY_FAREWELL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMAND = "BERTH_ENGINE_COMMAND"
STOP_SECONDS = 30.0
"""What SageMaker leaves between SIGTERM and SIGKILL (developer guide, your-algorithms-inference-code, read
2026-11-28). Of Vertex AI nothing is documented."""
_RESERVE_SECONDS = 2.0
_END_SECONDS = ENGINE_END_SECONDS + GATEWAY_FAREWELL_SECONDS + _RESERVE_SECONDS
_OUR_PACKAGE = "berth_serving."
_PYTHONS = ("python3", "python")
_WORDS = 3  # python3 -m module
# What a gateway reads; an engine may read variables of the same names, and in a pod it sees none of them.
_GATEWAYS = (
    *("MAX_CONCURRENT_REQUESTS", "MAX_INPUT_TOKENS", "MAX_TOTAL_TOKENS", "MAX_STOP_SEQUENCES"),
    *("PAYLOAD_LIMIT", "MODEL_ID", "OTLP_ENDPOINT"),
)
_GATEWAYS_PREFIXES = ("BERTH_", "AIP_")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """What the supervisor needs to know.

    Attributes:
        command: BERTH_ENGINE_COMMAND, a JSON list of words.
        engine_port: of BERTH_ENGINE_URL.
        metrics_port: BERTH_METRICS_PORT.
        stop_seconds: BERTH_STOP_SECONDS, between SIGTERM and SIGKILL.
        drain_seconds: BERTH_DRAIN_SECONDS, as far as stop_seconds leave room for it.
        asked_drain_seconds: BERTH_DRAIN_SECONDS.
        gateway_user: BERTH_GATEWAY_USER, uid and gid of the gateway, which others speak to, where the
            container is root's, as SageMaker's guide asks for; None is the container's own.
        log_level: BERTH_LOG_LEVEL.
        environ: of all of them, with what the cloud says filled in.
    """

    command: tuple[str, ...]
    engine_port: int
    metrics_port: int
    stop_seconds: float
    drain_seconds: float
    asked_drain_seconds: float
    gateway_user: tuple[int, int] | None
    log_level: str
    environ: Mapping[str, str]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> EndpointSettings:
        """Read and check the variables, the gateway's too.

        Raises:
            SettingsError: naming each wrong one.
        """
        told = {**environ, **_from_the_cloud(environ)}
        read = Reader(told)
        command = _command(read, told)
        stop = read.seconds("BERTH_STOP_SECONDS", STOP_SECONDS, _END_SECONDS + 1, 3600)
        try:
            gateway = GatewaySettings.from_environment(told)
        except SettingsError as error:
            raise SettingsError("\n".join([*read.faults, str(error)])) from None
        if not gateway.metrics_port:
            read.fault(
                "BERTH_METRICS_PORT=0: must be a port from 1 to 65535, for the gateway is watched there"
            )
        port = urlsplit(gateway.engine_url).port
        if not port:
            read.fault(f"BERTH_ENGINE_URL={gateway.engine_url!r}: must name the engine's port")
        user = _user(read)
        read.finish()
        drain = min(gateway.drain_seconds, stop - _END_SECONDS)
        return cls(
            command=command,
            engine_port=port or 0,
            metrics_port=gateway.metrics_port,
            stop_seconds=stop,
            drain_seconds=drain,
            asked_drain_seconds=gateway.drain_seconds,
            gateway_user=user,
            log_level=gateway.log_level,
            environ={**told, "BERTH_DRAIN_SECONDS": f"{drain:g}", PARENT_VARIABLE: str(os.getpid())},
        )

    @property
    def engine_is_ours(self) -> bool:
        """Whether the engine is a program of this package."""
        return is_ours(self.command)

    @property
    def engine_command(self) -> list[str]:
        """How the engine is started, so that it ends with this process."""
        return ours(*self.command[2:]) if self.engine_is_ours else tied(self.command)

    @property
    def engine_environment(self) -> dict[str, str]:
        """What the engine sees."""
        return dict(self.environ) if self.engine_is_ours else foreign(self.environ)


def ours(*words: str) -> list[str]:
    """A program of this package by this interpreter, with the environment heeded as it is here."""
    return [sys.executable, *(["-I"] if sys.flags.isolated else []), "-m", *words]


def is_ours(command: Sequence[str]) -> bool:
    """Whether a command is `python3 -m` and a module of this package."""
    return (
        len(command) >= _WORDS
        and Path(command[0]).name in _PYTHONS
        and command[1] == "-m"
        and command[2].startswith(_OUR_PACKAGE)
    )


def foreign(environ: Mapping[str, str], site: Path | None = None) -> dict[str, str]:
    """An environment without what is the gateway's and what this package's image set for its own Python.

    Args:
        environ: that of this process.
        site: the folder that this package lies in.
    """
    site = site or Path(__file__).resolve().parents[2]
    own = str(site) in environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        key: value
        for key, value in environ.items()
        if not key.startswith(_GATEWAYS_PREFIXES)
        and key not in _GATEWAYS
        # Where the path is not ours, the engine's image set them, and needs them.
        and not (own and key.startswith("PYTHON"))
    }


def _from_the_cloud(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    if not environ.get("BERTH_HOST"):
        found["BERTH_HOST"] = "0.0.0.0"  # noqa: S104 - the container's address, where the cloud calls it
    vertex = environ.get("BERTH_MANAGED_CLOUD") == "vertex"
    if vertex and environ.get("BERTH_WEIGHTS_SOURCE") == "gcs" and not environ.get("BERTH_WEIGHTS_URL"):
        # Where Vertex AI has put the model's artifacts.
        found["BERTH_WEIGHTS_URL"] = environ.get("AIP_STORAGE_URI", "")
    return found


def _user(read: Reader) -> tuple[int, int] | None:
    text = read.text("BERTH_GATEWAY_USER", "")
    if not text:
        return None
    uid, _, gid = text.partition(":")
    if not uid.isdigit() or not gid.isdigit():
        read.fault(f"BERTH_GATEWAY_USER={text!r}: must be <uid>:<gid>, two numbers")
        return None
    if os.geteuid() != 0:
        read.fault(f"BERTH_GATEWAY_USER={text!r}: only root may start it as another user; leave it out")
    return int(uid), int(gid)


def _command(read: Reader, environ: Mapping[str, str]) -> tuple[str, ...]:
    text = read.text(COMMAND, "")
    try:
        words = json.loads(text or "null")
    except ValueError:
        words = None
    if not isinstance(words, list) or not words or not all(isinstance(one, str) and one for one in words):
        shown = text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - a line of a terminal
        read.fault(
            f'{COMMAND}={shown!r}: must be a JSON list of words, such as ["vllm", "serve", "/opt/ml/model"]'
        )
        return ()
    if not is_ours(words) and shutil.which(words[0], path=environ.get("PATH")) is None:
        read.fault(f"{COMMAND}: {words[0]!r} is no program in this image (PATH={environ.get('PATH')!r})")
    return tuple(words)
