"""Settings of the two processes, from their environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from berth_agents import variables
from berth_agents.errors import SettingsError

_TOKEN = re.compile(r"[\x21-\x7e]+")
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - the pod's address, guarded by its network policy


@dataclass(frozen=True)
class ReporterSettings:
    """What differs between one site's reporter and another's.

    Attributes:
        site: its name (`BERTH_SITE`).
        namespace: of the models (`BERTH_SITE_NAMESPACE`).
        document: what it reports (`BERTH_SITE_DOCUMENT`, a file; read once).
        token_file: holds the word that lets ask (`BERTH_SITE_TOKEN_FILE`; read again for each answer).
        tls: folder with tls.crt and tls.key (`BERTH_SITE_TLS`; without it plain HTTP; a renewed one counts).
        host: address to listen on (`BERTH_SITE_HOST`; `0.0.0.0`).
        port: where it is asked (`BERTH_SITE_PORT`; 8080; 0 takes a free one, which the log names).
        probes_port: where /live and /ready are, without TLS (`BERTH_SITE_PROBES_PORT`; 9001; 0 as above).
        log_level: `BERTH_LOG_LEVEL`; INFO.
    """

    site: str
    namespace: str
    document: Path
    token_file: Path
    tls: Path | None = None
    host: str = _EVERYWHERE
    port: int = 8080
    probes_port: int = 9001
    log_level: str = "INFO"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "ReporterSettings":
        """Read the settings.

        Raises:
            SettingsError: a variable is missing, or its value is not allowed.
        """
        tls = environ.get("BERTH_SITE_TLS")
        if tls and not (Path(tls) / "tls.crt").is_file():
            raise SettingsError(f"BERTH_SITE_TLS is {tls!r}; it must be a folder with tls.crt and tls.key.")
        return cls(
            site=variables.name(environ, "BERTH_SITE"),
            namespace=variables.name(environ, "BERTH_SITE_NAMESPACE"),
            document=_file(environ, "BERTH_SITE_DOCUMENT"),
            token_file=_file(environ, "BERTH_SITE_TOKEN_FILE"),
            tls=Path(tls) if tls else None,
            host=environ.get("BERTH_SITE_HOST") or cls.host,
            port=variables.port(environ, "BERTH_SITE_PORT", cls.port, lowest=0),
            probes_port=variables.port(environ, "BERTH_SITE_PROBES_PORT", cls.probes_port, lowest=0),
            log_level=variables.log_level(environ),
        )


@dataclass(frozen=True)
class ControllerSettings:
    """What differs between one controller and another.

    Attributes:
        document: what it divides (`BERTH_HYBRID_DOCUMENT`, a file; read once).
        token_file: holds the word that reporters ask for (`BERTH_HYBRID_TOKEN_FILE`; read for each question).
        host: address to listen on (`BERTH_HYBRID_HOST`; `0.0.0.0`).
        metrics_port: where /metrics is (`BERTH_HYBRID_METRICS_PORT`; 9000; 0 takes a free one, which the log
            names).
        probes_port: where /live and /ready are (`BERTH_HYBRID_PROBES_PORT`; 9001; 0 as above).
        log_level: `BERTH_LOG_LEVEL`; INFO.
    """

    document: Path
    token_file: Path
    host: str = _EVERYWHERE
    metrics_port: int = 9000
    probes_port: int = 9001
    log_level: str = "INFO"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "ControllerSettings":
        """Read the settings.

        Raises:
            SettingsError: a variable is missing, or its value is not allowed.
        """
        return cls(
            document=_file(environ, "BERTH_HYBRID_DOCUMENT"),
            token_file=_file(environ, "BERTH_HYBRID_TOKEN_FILE"),
            host=environ.get("BERTH_HYBRID_HOST") or cls.host,
            metrics_port=variables.port(environ, "BERTH_HYBRID_METRICS_PORT", cls.metrics_port, lowest=0),
            probes_port=variables.port(environ, "BERTH_HYBRID_PROBES_PORT", cls.probes_port, lowest=0),
            log_level=variables.log_level(environ),
        )


def _file(environ: Mapping[str, str], key: str) -> Path:
    path = Path(environ.get(key, ""))
    if not path.is_absolute() or not path.is_file():
        raise SettingsError(f"{key} is {environ.get(key, '')!r}; it must be the absolute path of a file.")
    return path


def text_of(path: Path) -> str:
    """A mounted file.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def token_of(path: Path) -> str:
    """The word in a mounted file, without the line's end.

    Raises:
        SettingsError: it cannot be read, is empty, or cannot be sent in a header.
    """
    token = text_of(path).strip()
    if not _TOKEN.fullmatch(token):
        raise SettingsError(
            f"{path} has {len(token)} characters; it must hold the word that lets ask, one line of "
            "printable ASCII without blanks"
        )
    return token
