"""`--context` and the nodes of somebody's cluster: a stand-in API server that shows what a test tells it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.cli.stackfile import find_stack
from berth.operations.errors import NoNodeError
from berth.operations.nodes import address_among

from tests.agents.stand_ins import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Json = dict[str, Any]


def node(name: str, *, ready: str = "True", cordoned: bool = False, address: str = "198.18.0.7") -> Json:
    addresses = [{"type": "Hostname", "address": name}]
    return {
        "metadata": {"name": name},
        "spec": {"unschedulable": True} if cordoned else {},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "reason": "KubeletNotReady"}],
            "addresses": [*addresses, *([{"type": "InternalIP", "address": address}] if address else [])],
        },
    }


LAME = [
    node("a", ready="False"),
    node("b", cordoned=True),
    node("c", address=""),
    {"metadata": {"name": "d"}},
]


def test_the_address_is_that_of_the_first_node_that_takes_pods() -> None:
    assert address_among([*LAME, node("z"), node("y", address="198.18.0.8")], "kind-dev") == "198.18.0.8"


def test_why_no_node_does_is_said_of_each() -> None:
    with pytest.raises(NoNodeError) as caught:
        address_among(LAME, "kind-dev")
    said = "a is not Ready (KubeletNotReady); b is cordoned; c has no InternalIP; d is not Ready."
    assert said in str(caught.value)
    with pytest.raises(NoNodeError, match="kind-dev: the cluster has no node"):
        address_among([], "kind-dev")


def test_only_who_is_reached_at_a_node_needs_its_address() -> None:
    local, onprem = find_stack("local"), find_stack("onprem")
    assert local.lacks_node_address, "its model is on a NodePort"
    assert not onprem.lacks_node_address, "its model is behind a load balancer"
    sites = {key: {**site, "nodeAddress": "198.18.0.2"} for key, site in local.config["berth:sites"].items()}
    assert not replace(local, config={**local.config, "berth:sites": sites}).lacks_node_address


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """Give the kubeconfig of a cluster whose one node is not Ready, with the context `starting`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"kind": "NodeList", "items": [node("one", ready="False")]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Authority(tmp_path, "ca").sign("api", server=True))
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    cluster = {"server": f"https://127.0.0.1:{server.server_port}", "insecure-skip-tls-verify": True}
    file = tmp_path / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "starting", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    try:
        yield file
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_cluster_whose_nodes_start_is_no_defect(kubeconfig: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "berth.cli", "up", "local", "--context", "starting"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "BERTH_CACHE": str(tmp_path / "cache"),
            "KUBECONFIG": str(kubeconfig),
        },
        capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    said = " ".join(done.stderr.split())
    assert "--context starting: no node is Ready" in said
    assert "one is not Ready (KubeletNotReady)" in said
    assert "set nodeAddress of the site in" in said
    assert "Traceback" not in done.stderr
