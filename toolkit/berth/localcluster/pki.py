"""Keys and certificates of one cluster.

Three authorities, so that none can speak for another: the cluster's (API server, kubelets, every client), the
front proxy's (only the API server, towards aggregated API servers) and etcd's (only etcd and the API server).
Everything is ECDSA P-256. Authorities live ten years; the rest lives one year and is made anew by the first
`ensure` in its last 30 days, or when its names change.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .addresses import Plan

_AUTHORITY_LIFE = dt.timedelta(days=3650)
_LEAF_LIFE = dt.timedelta(days=365)
_RENEW_BEFORE = dt.timedelta(days=30)
# A clock that is set back a little must not make a fresh certificate invalid.
_BACKDATE = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Leaf:
    """A certificate to have: who it speaks for, and who signs it."""

    name: str
    authority: str
    common_name: str
    organisation: str | None = None
    serves: Sequence[str] = field(default=())
    """DNS names and addresses it serves under; empty for one that is only a client's."""


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write ``path`` so that it is whole or absent, and never readable by others for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
    temporary.replace(path)


@dataclass(frozen=True)
class Pki:
    """The folder with a cluster's keys (``<name>.key``) and certificates (``<name>.crt``)."""

    folder: Path

    def key(self, name: str) -> Path:
        """The private key called ``name``."""
        return self.folder / f"{name}.key"

    def certificate(self, name: str) -> Path:
        """The certificate called ``name``."""
        return self.folder / f"{name}.crt"

    def ensure(self, leaves: Sequence[Leaf]) -> list[str]:
        """Make what is missing, about to expire or for other names; return the names of what was made."""
        made = []
        for authority in dict.fromkeys(leaf.authority for leaf in leaves):
            if not self.certificate(authority).exists():
                self._make_authority(authority)
                made.append(authority)
        if not self.key("service-accounts").exists():
            self._new_key("service-accounts")
            made.append("service-accounts")
        for leaf in leaves:
            if leaf.authority in made or not self._is_good(leaf):
                self._make_leaf(leaf)
                made.append(leaf.name)
        return made

    def _new_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(self.key(name), pem)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        write_private(self.folder / f"{name}.pub", public, 0o644)
        return key

    def _load_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self.key(name).read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 (we write no other kind)
        return key

    def _load(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate(name).read_bytes())

    def _make_authority(self, name: str) -> None:
        key = self._new_key(name)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"berth {name}")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(self.certificate(name), certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def _make_leaf(self, leaf: Leaf) -> None:
        authority, authority_key = self._load(leaf.authority), self._load_key(leaf.authority)
        key = self._new_key(leaf.name)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name)]
        if leaf.organisation:
            subject.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, leaf.organisation))
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if leaf.serves:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + _LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
        )
        if leaf.serves:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in leaf.serves]), critical=False
            )
        pem = builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        # A crash in between leaves a pair that does not match, which _is_good sees.
        write_private(self.certificate(leaf.name), pem, 0o644)

    def _is_good(self, leaf: Leaf) -> bool:
        if not (self.certificate(leaf.name).exists() and self.key(leaf.name).exists()):
            return False
        certificate = self._load(leaf.name)
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            served = {str(name.value) for name in names}
        except x509.ExtensionNotFound:
            served = set()
        return (
            served == set(leaf.serves)
            and certificate.issuer == self._load(leaf.authority).subject
            and certificate.not_valid_after_utc - dt.datetime.now(dt.UTC) > _RENEW_BEFORE
            and certificate.public_key() == self._load_key(leaf.name).public_key()
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


CLUSTER, FRONT_PROXY, ETCD = "cluster-ca", "front-proxy-ca", "etcd-ca"
FRONT_PROXY_CLIENT = "front-proxy-client"


def control_plane_leaves(plan: Plan) -> list[Leaf]:
    """The certificates of the control plane and the administrator."""
    local = ["localhost", "127.0.0.1"]
    kubernetes = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    return [
        Leaf(
            "apiserver",
            CLUSTER,
            "kube-apiserver",
            serves=[*kubernetes, f"{kubernetes[-1]}.cluster.local", str(plan.api_service), str(plan.gateway)],
        ),
        # The group is what kubelets' authorisation lets in by the role bound in addons/rbac.yaml.
        Leaf("apiserver-kubelet-client", CLUSTER, "kube-apiserver-kubelet-client", "berth:kubelet-clients"),
        Leaf("apiserver-etcd-client", ETCD, "kube-apiserver"),
        Leaf("etcd", ETCD, "etcd", serves=[*local, str(plan.loopback)]),
        Leaf(FRONT_PROXY_CLIENT, FRONT_PROXY, FRONT_PROXY_CLIENT),
        Leaf("admin", CLUSTER, "berth-admin", "system:masters"),
        Leaf(
            "controller-manager",
            CLUSTER,
            "system:kube-controller-manager",
            serves=[*local, str(plan.gateway)],
        ),
        Leaf("scheduler", CLUSTER, "system:kube-scheduler", serves=[*local, str(plan.gateway)]),
        Leaf("proxy", CLUSTER, "system:kube-proxy"),
        Leaf("provisioner", CLUSTER, "berth:provisioner"),
    ]


def node_leaves(name: str, address: IPv4Address, index: int) -> list[Leaf]:
    """The certificate of one kubelet, both as a client and as a server."""
    return [Leaf(f"node{index}", CLUSTER, f"system:node:{name}", "system:nodes", serves=[name, str(address)])]
