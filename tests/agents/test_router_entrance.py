"""The router's own entrance: TLS whose certificate is swapped, what it logs, what it shows of itself."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from berth_agents.router import files
from berth_images.programs import envoy as envoy_program

from tests.agents.router_world import Gateway, read, running
from tests.agents.stand_ins import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """Give a gateway."""
    made = await Gateway("a").start()
    yield made
    await made.stop()


def mount(folder: Path, authority: Authority, name: str) -> Path:
    """Mount a certificate as Kubernetes does: files are links into a folder that is swapped."""
    pem = authority.sign(name, server=True)
    version = folder / f"..{name}"
    version.mkdir(parents=True)
    for file in ("tls.crt", "tls.key"):
        (version / file).write_bytes(pem.read_bytes())
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(f"..data/{file}")
    new = folder / "..data_tmp"
    new.symlink_to(version.name)
    new.replace(folder / "..data")
    return folder


async def shown(port: int, authority: Authority) -> tuple[str, str]:
    """Who the router says it is, and by which protocol."""
    context = ssl.create_default_context(cadata=authority.pem)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    tls = writer.get_extra_info("ssl_object")
    (((_, name),),) = tls.getpeercert()["subject"]
    protocol = tls.selected_alpn_protocol()
    writer.close()
    return name, protocol


async def test_a_new_certificate_counts_without_a_restart(tmp_path: Path, gateway: Gateway) -> None:
    authority = Authority(tmp_path, "ca")
    mounted = mount(tmp_path / "tls", authority, "first")
    folder = tmp_path / "run"
    folder.mkdir()
    where = {"one": [gateway.host], "two": [gateway.host]}
    async with running(folder, where, listener={"tls": str(mounted)}) as router:
        assert await shown(router.port, authority) == ("first", "h2")
        mount(mounted, authority, "second")
        async with asyncio.timeout(60):
            while (await shown(router.port, authority))[0] != "second":  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)


async def test_it_shows_metrics_and_readiness_and_nothing_else(tmp_path: Path, gateway: Gateway) -> None:
    async with running(tmp_path, {"one": [gateway.host], "two": [gateway.host]}) as router:
        await router.get()
        base = f"http://127.0.0.1:{router.metrics_port}"
        async with router.session.get(f"{base}/metrics") as response:
            metrics = await response.text()
        assert 'envoy_cluster_upstream_rq_total{envoy_cluster_name="one"}' in metrics
        async with router.session.get(f"{base}/ready") as response:
            assert (response.status, await response.text()) == (200, "LIVE\n")
        for method, path in (
            ("GET", "/config_dump"),
            ("POST", "/quitquitquit"),
            ("POST", "/ready"),
            ("GET", "/ready/../config_dump"),
        ):
            async with router.session.request(method, base + path) as response:
                assert response.status == 404


async def test_a_request_is_logged_without_content_query_or_key(tmp_path: Path, gateway: Gateway) -> None:
    async with running(tmp_path, {"one": [gateway.host], "two": [gateway.host]}) as router:
        canary = "canary-4711"
        async with router.session.post(
            f"http://127.0.0.1:{router.port}/generate?inputs={canary}",
            json={"inputs": canary},
            headers={"x-request-id": "mine-1", "authorization": f"Bearer {canary}", "x-berth-variant": "x"},
        ) as response:
            assert response.headers["x-request-id"] == "mine-1"
        assert gateway.seen[-1]["x-request-id"] == "mine-1"
        assert "x-berth-variant" not in gateway.seen[-1], "a client's word on what we decide is not passed on"
        async with asyncio.timeout(60):
            while not (lines := router.access_log()):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
    assert lines[0]["request_id"] == "mine-1"
    assert (lines[0]["path"], lines[0]["status"]) == ("/generate", 200)
    assert canary not in str(lines)
    assert canary not in router.log


async def test_nobody_to_ask_is_said_in_the_gateways_form(tmp_path: Path) -> None:
    async with running(tmp_path, {"one": [], "two": []}) as router:
        status, headers, body = await router.get()
    assert status == 503
    assert headers["retry-after"] == "1"
    assert body == '{"error":"no healthy upstream","error_type":"unavailable"}\n'


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"listener": {"accessLog": False, "trustedHops": 2}},
        {"limit": {"requestsPerMinute": 100_000}, "keys": {"a": {"sha256": "ab" * 32}}},
        {
            "backends": {
                "one": {"service": {"namespace": "models", "name": "one"}},
                "two": {
                    "hosts": [{"address": "models.example", "port": 443}],
                    "tls": {"serverName": "models.example"},
                },
            },
            "variants": {"main": {"backends": ["one", "two"]}, "next": {"backends": ["two", "one"]}},
        },
    ],
)
def test_envoy_finds_the_configuration_valid(tmp_path: Path, parts: dict[str, Any]) -> None:
    files.begin(read(**parts), tmp_path)
    done = subprocess.run(
        [envoy_program(), "--mode", "validate", "-c", tmp_path / files.BOOTSTRAP],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()
