"""The certificate lives long, is renewed in time, and what is broken is named."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from berth_agents.metrics_adapter import certificate
from cryptography import x509

NAMES = ("adapter.system.svc", "adapter.system.svc.cluster.local")
NOW = datetime(2026, 11, 1, tzinfo=UTC)
MADE = certificate.issue(NAMES, NOW)


def test_a_new_one_serves_and_is_not_due() -> None:
    assert certificate.problem(MADE, NAMES, NOW) is None
    assert certificate.renewed(MADE, NAMES, NOW) is None
    assert certificate.expiry(MADE) == NOW + certificate.LIFE


def test_its_repr_shows_no_key() -> None:
    assert "KEY" not in repr(MADE)


def test_renewal_keeps_the_ca_and_comes_before_the_end() -> None:
    due = NOW + certificate.LIFE - certificate.RENEW_BEFORE + timedelta(minutes=1)
    following = certificate.renewed(MADE, NAMES, due)
    assert following is not None
    assert following.ca_bundle == MADE.ca_bundle
    assert following.certificate != MADE.certificate
    assert certificate.problem(following, NAMES, due) is None
    assert certificate.problem(following, NAMES, due + certificate.LIFE - timedelta(days=1)) is None
    assert certificate.renewed(following, NAMES, due) is None


def test_forty_years_of_daily_looks_never_leave_a_moment_without_trust() -> None:
    """What was trusted yesterday signs what is served today: a late look at the APIService breaks nothing."""
    material, now = MADE, NOW
    bundles = set()
    for _ in range(40 * 365):
        now += timedelta(days=1)
        trusted_yesterday = x509.load_pem_x509_certificates(material.ca_bundle)
        following = certificate.renewed(material, NAMES, now)
        if following is None:
            continue
        served = x509.load_pem_x509_certificate(following.certificate)
        assert any(_signed(served, ca) for ca in trusted_yesterday)
        material = following
        assert certificate.problem(material, NAMES, now) is None
        bundles.add(material.ca_bundle)
    assert len(bundles) >= 4
    assert len(x509.load_pem_x509_certificates(material.ca_bundle)) <= 2


def _signed(served: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        served.verify_directly_issued_by(ca)
    except Exception:  # noqa: BLE001 - it says in several ways that it is not
        return False
    return True


OTHER = certificate.issue(NAMES, NOW)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (dataclasses.replace(MADE, certificate=b"no PEM"), "cannot be read"),
        (dataclasses.replace(MADE, key=b""), "cannot be read"),
        (dataclasses.replace(MADE, ca_bundle=b""), "cannot be read"),
        (dataclasses.replace(MADE, key=OTHER.key), "tls.key is not the key of tls.crt"),
        (dataclasses.replace(MADE, ca_key=OTHER.ca_key), "ca.key is not the key of ca.crt"),
        (dataclasses.replace(MADE, certificate=OTHER.certificate, key=OTHER.key), "signed tls.crt"),
        (certificate.issue(NAMES[:1], NOW), "lacks the names adapter.system.svc.cluster.local"),
        (certificate.issue(NAMES, NOW - timedelta(days=400)), "tls.crt is valid from"),
        (certificate.issue(NAMES, NOW + timedelta(days=400)), "signed tls.crt"),
    ],
)
def test_what_is_broken_is_named(broken: certificate.Material, said: str) -> None:
    found = certificate.problem(broken, NAMES, NOW)
    assert found is not None
    assert said in found
