"""The serving certificate and its CA: making, judging and renewing them. The clock is an argument.

The APIService trusts the CA, not the certificate, so a renewed certificate needs no change there. When the CA
itself nears its end, a new one is put in front of the old one in the bundle first, and signs from the next
renewal on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = timedelta(days=3650)
CA_RENEW_BEFORE = timedelta(days=730)
LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=120)
CLOCK_SKEW = timedelta(hours=1)  # other machines' clocks may be behind ours


@dataclass(frozen=True, slots=True)
class Material:
    """PEM texts. `ca_bundle` starts with the CA that `ca_key` belongs to."""

    ca_bundle: bytes
    ca_key: bytes
    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Material(…)"  # it holds private keys


def issue(names: Sequence[str], now: datetime) -> Material:
    """Make a CA and a certificate for the DNS names, all new."""
    ca_key = _new_key()
    ca = _new_ca(ca_key, now)
    certificate, key = _sign(names, now, ca, ca_key)
    return Material(_pem(ca), _pem_key(ca_key), certificate, key)


def problem(material: Material, names: Sequence[str], now: datetime) -> str | None:
    """Say why the material cannot serve these names, or `None`: it can, though it may be due for renewal."""
    try:
        bundle = x509.load_pem_x509_certificates(material.ca_bundle)
        ca_key = _load_key(material.ca_key)
        certificate = x509.load_pem_x509_certificate(material.certificate)
        key = _load_key(material.key)
    except (ValueError, TypeError) as error:
        return f"it cannot be read: {error}"
    if _public(bundle[0].public_key()) != _public(ca_key.public_key()):
        return "ca.key is not the key of ca.crt"
    if _public(certificate.public_key()) != _public(key.public_key()):
        return "tls.key is not the key of tls.crt"
    if not any(_signed_by(certificate, ca) for ca in bundle if _valid(ca, now)):
        return "no CA of ca.crt that is valid now signed tls.crt"
    if not _valid(certificate, now):
        return (
            f"tls.crt is valid from {certificate.not_valid_before_utc} to {certificate.not_valid_after_utc}"
        )
    missing = set(names) - set(_names(certificate))
    return f"tls.crt lacks the names {', '.join(sorted(missing))}" if missing else None


def renewed(material: Material, names: Sequence[str], now: datetime) -> Material | None:
    """Return what follows the material, or `None` where nothing is due. `problem` must be `None` for it."""
    bundle = x509.load_pem_x509_certificates(material.ca_bundle)
    ca = bundle[0]
    if ca.not_valid_after_utc - now < CA_RENEW_BEFORE:
        key = _new_key()
        valid = [old for old in bundle if _valid(old, now)]
        return Material(
            b"".join(_pem(each) for each in (_new_ca(key, now), *valid)),
            _pem_key(key),
            material.certificate,
            material.key,
        )
    certificate = x509.load_pem_x509_certificate(material.certificate)
    if certificate.not_valid_after_utc - now < RENEW_BEFORE:
        signed, key_pem = _sign(names, now, ca, _load_key(material.ca_key))
        return Material(material.ca_bundle, material.ca_key, signed, key_pem)
    return None


def expiry(material: Material) -> datetime:
    """Return when the serving certificate ends."""
    return x509.load_pem_x509_certificate(material.certificate).not_valid_after_utc


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _builder(
    subject: str, issuer: x509.Name | None, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer or name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _new_ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    # The date keeps two CAs of one bundle apart by name: verifiers look an issuer up by it.
    subject = f"berth-metrics-adapter-ca {now:%Y-%m-%dT%H:%M:%SZ}"
    return (
        _builder(subject, None, key, now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _sign(
    names: Sequence[str], now: datetime, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey
) -> tuple[bytes, bytes]:
    key = _new_key()
    certificate = (
        _builder("berth-metrics-adapter", ca.subject, key, now, LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return _pem(certificate), _pem_key(key)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("a key is not one that this adapter makes (EC P-256)")
    return key


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _signed_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)
