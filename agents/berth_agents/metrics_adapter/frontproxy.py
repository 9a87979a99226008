"""Who may ask: the API server's front proxy, as the cluster itself publishes it.

The API server authenticates and authorises a caller before it forwards the call, and proves itself with a
client certificate. Its CA and the names that are allowed stand in the ConfigMap
kube-system/extension-apiserver-authentication.
"""

import json
from dataclasses import dataclass

from cryptography import x509

from berth_agents.errors import AgentError
from berth_agents.kube import Json, KubeClient

PATH = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
_WHERE = "ConfigMap kube-system/extension-apiserver-authentication"


class FrontProxyError(AgentError):
    """The ConfigMap does not say who the front proxy is."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The front proxy's CA (PEM, one or several) and the allowed common names (none: all that it signed)."""

    ca: str
    names: frozenset[str]

    def allows(self, common_name: str | None) -> bool:
        """Say whether a certificate that the CA signed may ask under this common name."""
        return common_name is not None and (not self.names or common_name in self.names)


async def read_trust(client: KubeClient) -> Trust:
    """Read the ConfigMap.

    Raises:
        KubeError: it cannot be read.
        FrontProxyError: it lacks the front proxy's CA, or a value cannot be parsed.
    """
    return trust_of(await client.call("GET", PATH))


def trust_of(config_map: Json) -> Trust:
    """Take the front proxy's CA and allowed names from the ConfigMap."""
    data = config_map.get("data") or {}
    ca = data.get("requestheader-client-ca-file") or ""
    if not ca.strip():
        raise FrontProxyError(
            f"{_WHERE} has no requestheader-client-ca-file: the API server runs without an aggregation layer "
            "(--requestheader-client-ca-file), so no external metrics API can work in this cluster."
        )
    try:
        x509.load_pem_x509_certificates(ca.encode())
    except ValueError as error:
        raise FrontProxyError(
            f"{_WHERE}: requestheader-client-ca-file holds no certificate: {error}"
        ) from error
    text = data.get("requestheader-allowed-names") or "[]"
    try:
        names = json.loads(text)
    except ValueError as error:
        raise FrontProxyError(
            f"{_WHERE}: requestheader-allowed-names is {text!r}, no JSON list: {error}"
        ) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FrontProxyError(
            f"{_WHERE}: requestheader-allowed-names is {text!r}; it must be a JSON list of names"
        )
    return Trust(ca, frozenset(names))
