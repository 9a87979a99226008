"""Gateways that serve by HTTPS, behind a real Envoy: whom it trusts, and an authority that is renewed."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from tests.agents.router_world import PATIENCE, Gateway, Router, running
from tests.agents.stand_ins import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAME = "localhost"
"""Stands for a Service's name: what certificates of a test's authority carry."""


def showing(authority: Authority) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate of an authority."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(authority.sign("gateway", server=True))
    return found


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give the one that signed the gateway's certificate."""
    return Authority(tmp_path, "ca")


@pytest.fixture
async def gateway(authority: Authority) -> AsyncIterator[Gateway]:
    """Give a gateway that serves by HTTPS."""
    made = await Gateway("a", tls=showing(authority)).start()
    yield made
    await made.stop()


def trusting(authority: Path, name: str = NAME) -> dict[str, Any]:
    """Backends whose certificates carry a name and are signed by an authority."""
    tls = {"serverName": name, "caFile": str(authority)}
    service = {"service": {"namespace": "models", "name": "one"}, "tls": tls}
    return {"backends": {"one": service, "two": service}}


async def answers(router: Router, status: int) -> None:
    """Wait until requests are answered so; Envoy's workers hear of a change a moment after it was made."""
    async with asyncio.timeout(PATIENCE):
        while (await router.get())[0] != status:
            pass


async def distrusts(router: Router) -> None:
    """Wait until the log says that a certificate was not taken."""
    await answers(router, 503)
    async with asyncio.timeout(PATIENCE):
        while not any("CERTIFICATE_VERIFY_FAILED" in str(line["connection"]) for line in router.access_log()):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def test_requests_go_to_who_proves_its_name(
    tmp_path: Path, gateway: Gateway, authority: Authority
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    where = {"one": [gateway.host], "two": [gateway.host]}
    async with running(folder, where, **trusting(authority.file)) as router:
        assert (await router.variants(20)).total() == 20
        assert gateway.requests == 20
        # The same gateway by another name than its certificate's is nobody's gateway.
        await router.tell(**trusting(authority.file, "chat.room.svc"))
        await distrusts(router)
        seen = gateway.requests
        assert (await router.get())[0] == 503
        assert gateway.requests == seen, "no request, and no key, went to who did not prove its name"


async def test_a_renewed_authority_counts_without_a_restart(
    tmp_path: Path, gateway: Gateway, authority: Authority
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    mounted = tmp_path / "mounted.crt"
    mounted.write_text(authority.pem)
    where = {"one": [gateway.host], "two": [gateway.host]}
    async with running(folder, where, **trusting(mounted)) as router:
        assert (await router.get())[0] == 200
        second = Authority(tmp_path, "second")
        await gateway.stop()
        gateway.tls = showing(second)
        await gateway.start()
        await distrusts(router)
        mounted.write_text(second.pem)
        await router.tell(**trusting(mounted))
        await answers(router, 200)
        # Half a file is refused, and what was in force stays.
        mounted.write_text(second.pem[:200])
        with pytest.raises(Exception, match="Envoy refuses"):
            await router.tell(**trusting(mounted))
        assert (await router.get())[0] == 200
