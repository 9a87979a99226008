"""Prometheus behind a cluster's API server: the path, the user's credentials, and a token that runs out."""

from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING

import pytest
import yaml
from berth.operations.dash import PrometheusError, through_api_server
from berth.operations.errors import KubeconfigError

from tests.agents.stand_ins import Authority
from tests.toolkit.dash.conftest import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def api_server(tmp_path: Path) -> Iterator[tuple[StandIn, Path]]:
    """A stand-in by HTTPS, and a kubeconfig that trusts it."""
    authority = Authority(tmp_path, "cluster")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.sign("server", server=True))
    with StandIn() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        cluster = {
            "server": f"https://localhost:{server.server_address[1]}",
            "certificate-authority": str(authority.file),
        }
        (tmp_path / "token").write_text("first-token\n")
        kubeconfig = {
            "current-context": "there",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"tokenFile": str(tmp_path / "token")}}],
            "contexts": [{"name": "there", "context": {"cluster": "c", "user": "u"}}],
        }
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(kubeconfig))
        yield server, file
        server.shutdown()
        thread.join(30)


def test_it_is_asked_through_the_proxy_as_the_kubeconfigs_user(api_server: tuple[StandIn, Path]) -> None:
    server, kubeconfig = api_server
    with through_api_server(str(kubeconfig), "", "berth-monitoring", "berth-prometheus", 9090) as prometheus:
        assert prometheus.range("up", 1, 2, 1) == []
        [(path, query)] = server.asked
        proxy = "/api/v1/namespaces/berth-monitoring/services/berth-prometheus:9090/proxy"
        assert path == f"{proxy}/api/v1/query_range"
        assert query["query"] == ["up"]
        assert server.authorisations == ["Bearer first-token"]
        # The token runs out, and the kubeconfig has a new one.
        server.valid = "Bearer second-token"
        (kubeconfig.parent / "token").write_text("second-token\n")
        assert prometheus.range("up", 1, 2, 1) == []
        assert server.authorisations[1:] == ["Bearer first-token", "Bearer second-token"]
        server.valid = "Bearer third-token"
        with pytest.raises(
            PrometheusError, match="service berth-prometheus in berth-monitoring does not let"
        ):
            prometheus.range("up", 1, 2, 1)


def test_a_kubeconfig_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(KubeconfigError, match="kubeconfig"),
        through_api_server(str(tmp_path / "kubeconfig"), "", "n", "s", 1),
    ):
        raise AssertionError
