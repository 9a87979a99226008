"""The controller's settings, from its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from berth_agents import variables
from berth_agents.errors import SettingsError

_MOST_SECONDS = 3600


@dataclass(frozen=True)
class Settings:
    """What differs between one router and another.

    Attributes:
        folder: shared with Envoy (`BERTH_ROUTER_FOLDER`).
        document: the mounted document that a pod begins with (`BERTH_ROUTER_DOCUMENT`).
        namespace: of the router (`BERTH_ROUTER_NAMESPACE`).
        config_map: whose entry `router.json` is the document (`BERTH_ROUTER_CONFIG_MAP`).
        host: address to listen on (`BERTH_ROUTER_HOST`; `0.0.0.0`).
        port: where probes are answered (`BERTH_ROUTER_PORT`; 9001; 0 takes a free one, which the log names).
        load_port: where it tells what it holds for models that sleep (`BERTH_ROUTER_LOAD_PORT`; without it
            nowhere; 0 takes a free one, which the log names).
        keys: folder with a folder of API keys for each backend that only they may wake (`BERTH_ROUTER_KEYS`);
            without it nobody's key wakes one.
        pre_stop_seconds: it serves on for so long after SIGTERM (`BERTH_ROUTER_PRE_STOP_SECONDS`; 10).
        drain_seconds: then requests have so long to end (`BERTH_ROUTER_DRAIN_SECONDS`; 60).
        log_level: `BERTH_LOG_LEVEL`; INFO.
    """

    folder: Path
    document: Path
    namespace: str
    config_map: str
    host: str = "0.0.0.0"  # noqa: S104 - the kubelet reaches the pod by its address
    port: int = 9001
    load_port: int | None = None
    keys: Path | None = None
    pre_stop_seconds: float = 10.0
    drain_seconds: float = 60.0
    log_level: str = "INFO"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: a variable is missing, or its value is not allowed.
        """
        folder = Path(environ.get("BERTH_ROUTER_FOLDER", ""))
        if not folder.is_absolute() or not folder.is_dir():
            raise SettingsError(
                f"BERTH_ROUTER_FOLDER is {str(folder)!r}; it must be a folder, shared with Envoy."
            )
        document = Path(environ.get("BERTH_ROUTER_DOCUMENT", ""))
        if not document.is_absolute():
            raise SettingsError(f"BERTH_ROUTER_DOCUMENT is {str(document)!r}; it must be an absolute path.")
        keys = environ.get("BERTH_ROUTER_KEYS")
        if keys and not Path(keys).is_absolute():
            raise SettingsError(f"BERTH_ROUTER_KEYS is {keys!r}; it must be an absolute path.")
        most = _MOST_SECONDS
        return cls(
            folder=folder,
            document=document,
            namespace=variables.name(environ, "BERTH_ROUTER_NAMESPACE"),
            config_map=variables.name(environ, "BERTH_ROUTER_CONFIG_MAP"),
            host=environ.get("BERTH_ROUTER_HOST") or cls.host,
            port=variables.port(environ, "BERTH_ROUTER_PORT", cls.port, lowest=0),
            load_port=(
                variables.port(environ, "BERTH_ROUTER_LOAD_PORT", 0, lowest=0)
                if environ.get("BERTH_ROUTER_LOAD_PORT")
                else None
            ),
            keys=Path(keys) if keys else None,
            pre_stop_seconds=variables.seconds(
                environ, "BERTH_ROUTER_PRE_STOP_SECONDS", cls.pre_stop_seconds, lowest=0, highest=most
            ),
            drain_seconds=variables.seconds(
                environ, "BERTH_ROUTER_DRAIN_SECONDS", cls.drain_seconds, lowest=0, highest=most
            ),
            log_level=variables.log_level(environ),
        )
