"""The adapter's settings, from its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from berth_agents import variables


@dataclass(frozen=True)
class Settings:
    """What differs between one deployment of the adapter and another.

    Attributes:
        namespace: of the adapter, its Service and its certificate's Secret (`BERTH_ADAPTER_NAMESPACE`).
        service: name of its Service (`BERTH_ADAPTER_SERVICE`).
        host: address to listen on (`BERTH_ADAPTER_HOST`; `0.0.0.0`, `::` for a cluster with IPv6 alone).
        port: port to listen on (`BERTH_ADAPTER_PORT`; 6443; 0 takes a free one, which the log names).
        metrics_port: where it tells of itself, without TLS (`BERTH_ADAPTER_METRICS_PORT`; without it nowhere;
            0 takes a free one, which the log names).
        gateway_port: where gateways answer `/load` (`BERTH_ADAPTER_GATEWAY_PORT`; 9000).
        look_seconds: how often certificate, front proxy and APIService are looked at
            (`BERTH_ADAPTER_LOOK_SECONDS`; 5; three small calls to the API server each time).
        log_level: `BERTH_LOG_LEVEL`; INFO.
    """

    namespace: str
    service: str
    host: str = "0.0.0.0"  # noqa: S104 - the API server reaches the pod by its address
    port: int = 6443
    metrics_port: int | None = None
    gateway_port: int = 9000
    look_seconds: float = 5.0
    log_level: str = "INFO"

    @property
    def secret(self) -> str:
        """Name of the Secret that keeps the serving certificate."""
        return f"{self.service}-tls"

    @property
    def server_names(self) -> tuple[str, ...]:
        """Names of the Service that the certificate carries; the API server verifies the first one."""
        return (f"{self.service}.{self.namespace}.svc", f"{self.service}.{self.namespace}.svc.cluster.local")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: a variable is missing, or its value is not allowed.
        """
        return cls(
            namespace=variables.name(environ, "BERTH_ADAPTER_NAMESPACE"),
            service=variables.name(environ, "BERTH_ADAPTER_SERVICE"),
            host=environ.get("BERTH_ADAPTER_HOST") or cls.host,
            port=variables.port(environ, "BERTH_ADAPTER_PORT", cls.port, lowest=0),
            metrics_port=(
                variables.port(environ, "BERTH_ADAPTER_METRICS_PORT", 0, lowest=0)
                if environ.get("BERTH_ADAPTER_METRICS_PORT")
                else None
            ),
            gateway_port=variables.port(environ, "BERTH_ADAPTER_GATEWAY_PORT", cls.gateway_port, lowest=1),
            look_seconds=variables.seconds(environ, "BERTH_ADAPTER_LOOK_SECONDS", cls.look_seconds),
            log_level=variables.log_level(environ),
        )
