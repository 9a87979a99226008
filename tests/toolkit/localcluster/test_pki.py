import datetime as dt
import socket
import ssl
import threading
from pathlib import Path

import pytest
from berth.localcluster import pki as module
from berth.localcluster.addresses import Plan
from berth.localcluster.pki import CLUSTER, ETCD, FRONT_PROXY, Leaf, Pki, control_plane_leaves, node_leaves
from cryptography import x509

PLAN = Plan(0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    pki = Pki(tmp_path_factory.mktemp("pki"))
    pki.ensure(_leaves())
    return pki


def _leaves() -> list[Leaf]:
    node = PLAN.node(1, "demo")
    return [*control_plane_leaves(PLAN), *node_leaves(node.name, node.address, 1)]


def test_nothing_is_made_twice(made: Pki) -> None:
    before = {file.name: file.read_bytes() for file in made.folder.iterdir()}
    assert made.ensure(_leaves()) == []
    assert {file.name: file.read_bytes() for file in made.folder.iterdir()} == before


def test_only_the_owner_reads_a_key(made: Pki) -> None:
    keys = list(made.folder.glob("*.key"))
    assert len(keys) > 10
    assert {file.stat().st_mode & 0o777 for file in keys} == {0o600}


def test_a_certificate_that_soon_expires_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki, leaf = Pki(tmp_path), Leaf("admin", CLUSTER, "me")
    monkeypatch.setattr(module, "_LEAF_LIFE", dt.timedelta(days=29))
    pki.ensure([leaf])
    monkeypatch.undo()
    assert pki.ensure([leaf]) == ["admin"]
    assert pki.ensure([leaf]) == []


def test_other_names_make_a_certificate_anew(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.ensure([Leaf("server", CLUSTER, "server", serves=["127.0.0.1"])])
    assert pki.ensure([Leaf("server", CLUSTER, "server", serves=["127.0.0.1", "a.example"])]) == ["server"]


def test_a_key_that_was_lost_is_made_anew(tmp_path: Path) -> None:
    pki, leaf = Pki(tmp_path), Leaf("admin", CLUSTER, "me")
    pki.ensure([leaf])
    pki.key("admin").unlink()
    assert pki.ensure([leaf]) == ["admin"]


def _shake_hands(pki: Pki, server: str, trusts: str, client: str, client_trusts: str) -> str | None:
    """Whether a real TLS server takes the client and the other way round; the server's error otherwise."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(pki.certificate(server), pki.key(server))
    ours.load_verify_locations(pki.certificate(trusts))
    ours.verify_mode = ssl.CERT_REQUIRED
    theirs = ssl.create_default_context(cafile=str(pki.certificate(client_trusts)))
    theirs.load_cert_chain(pki.certificate(client), pki.key(client))
    left, right = socket.socketpair()
    problem: list[str] = []

    def serve() -> None:
        try:
            with ours.wrap_socket(left, server_side=True) as wrapped:
                wrapped.sendall(b"hello")
        except OSError as error:
            problem.append(str(error))
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with theirs.wrap_socket(
            right, server_hostname=str(PLAN.gateway if server != "etcd" else PLAN.loopback)
        ) as wrapped:
            assert wrapped.recv(5) in {b"hello", b""}
    except OSError as error:
        problem.append(str(error))
        right.close()
    thread.join()
    return problem[0] if problem else None


def test_the_api_server_and_its_clients_take_each_other(made: Pki) -> None:
    for client in ("admin", "scheduler", "controller-manager", "proxy", "provisioner", "node1"):
        assert _shake_hands(made, "apiserver", CLUSTER, client, CLUSTER) is None


@pytest.mark.parametrize("intruder", ["admin", "node1", "front-proxy-client"])
def test_etcd_takes_the_api_server_alone(made: Pki, intruder: str) -> None:
    assert _shake_hands(made, "etcd", ETCD, "apiserver-etcd-client", ETCD) is None
    assert _shake_hands(made, "etcd", ETCD, intruder, ETCD) is not None


def test_a_client_of_the_cluster_cannot_speak_as_the_front_proxy(made: Pki) -> None:
    assert _shake_hands(made, "apiserver", FRONT_PROXY, "front-proxy-client", CLUSTER) is None
    assert _shake_hands(made, "apiserver", FRONT_PROXY, "admin", CLUSTER) is not None


def test_no_client_certificate_serves(made: Pki) -> None:
    usage = x509.ExtendedKeyUsageOID.SERVER_AUTH
    for leaf in _leaves():
        certificate = x509.load_pem_x509_certificate(made.certificate(leaf.name).read_bytes())
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert (usage in usages) == bool(leaf.serves), leaf.name
