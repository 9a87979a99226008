"""The reporter of a site, as a process: what it counts, whom it tells, and when it does not know."""

from __future__ import annotations

import json
import shutil
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from berth_agents.hybrid.documents import report

from tests.agents.api_world import PODS, SLICES
from tests.agents.hybrid_world import TOKEN, Agent, Ground, ground
from tests.agents.pod_world import until
from tests.agents.router_world import free_port
from tests.agents.stand_ins import Authority, StandInGateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Json = dict[str, Any]
LABELS = {"app": "chat"}
MODELS = {"chat": {"service": "chat", "selector": LABELS, "metricsPort": "metrics"}}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground(tmp_path) as made:
        yield made


def put_pod(api: Any, name: str, address: str, port: int, **parts: Any) -> None:
    """A pod as an API server shows it; its gateway is a native sidecar's neighbour."""
    conditions = [{"type": "Ready", "status": "True" if parts.pop("ready", True) else "False"}]
    status = {"podIP": address, "phase": parts.pop("phase", "Running"), "conditions": conditions}
    metadata: Json = {"namespace": "models", "labels": parts.pop("labels", LABELS)}
    if parts.pop("ending", False):
        metadata["deletionTimestamp"] = "2026-11-28T12:00:00Z"
    spec = {
        "nodeName": parts.pop("node", "node-1"),
        "containers": [
            {"ports": [{"name": "http", "containerPort": 1}, {"name": "metrics", "containerPort": port}]}
        ],
    }
    assert not parts
    api.put(PODS, name, {"metadata": metadata, "spec": spec, "status": status})


def put_slice(api: Any, name: str, service: str, *addresses: str, ready: bool = True) -> None:
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses]
    labels = {"kubernetes.io/service-name": service}
    whole = {"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": endpoints}
    api.put(SLICES, name, {**whole, "ports": [{"name": "http", "port": 1}, {"name": "metrics", "port": 2}]})


async def ask(agent: Agent, token: str = TOKEN, **further: Any) -> tuple[int, Json]:
    scheme = "https" if further else "http"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with agent.session.get(
        f"{scheme}://127.0.0.1:{agent.port}/v1/site", headers=headers, **further
    ) as response:
        return response.status, await response.json()


async def test_it_counts_what_the_cluster_knows(here: Ground) -> None:
    port = free_port()
    gateways = [StandInGateway(f"127.0.0.{number}", port) for number in (2, 3, 4)]
    for number, gateway in enumerate(gateways):
        await gateway.start()
        here.stack.push_async_callback(gateway.stop)
        put_pod(here.api, f"chat-{number}", gateway.address, port)
    first, second, third = gateways
    first.depth, first.running, second.depth, second.running = 3, 4, 2, 1
    third.mode = "hang"
    put_slice(here.api, "chat-a", "chat", "127.0.0.2", "127.0.0.3")
    put_slice(here.api, "chat-b", "chat", "127.0.0.3", "127.0.0.4")
    put_slice(here.api, "chat-c", "chat", "127.0.0.9", ready=False)
    put_slice(here.api, "other", "other", "127.0.0.8")
    put_slice(here.api, "chat-6", "chat", "fd00::2", "fd00::3")  # the same pods in the other family
    # Starts and ends cost; what waits for a node or has finished does not, nor does another model's.
    put_pod(here.api, "starting", "127.0.0.9", port, ready=False)
    put_pod(here.api, "ending", "127.0.0.9", port, ending=True)
    put_pod(here.api, "unplaced", "", port, ready=False, node="", phase="Pending")
    put_pod(here.api, "finished", "127.0.0.9", port, ready=False, phase="Succeeded")
    put_pod(here.api, "other", "127.0.0.9", port, labels={"app": "other"})
    agent = await here.reporter(MODELS)
    await until(agent.is_ready)
    status, found = await ask(agent)
    assert status == 200
    age = found["models"]["chat"].pop("ageSeconds")
    assert 0 <= age < 6
    numbers = {"waiting": 5, "running": 5, "slots": 8, "ready": 3, "billed": 5, "unread": 1}
    assert found == {"version": 1, "site": "home", "models": {"chat": numbers}}
    # As its reader reads it.
    seen = report(json.dumps(found), "home", "chat").seen
    assert (seen.per_replica, seen.known) == (2.5, True)

    third.mode, third.depth = "ok", 7
    third._released.set()

    async def whole() -> bool:
        chat = (await ask(agent))[1]["models"]["chat"]
        return (chat["waiting"], chat["unread"], chat["slots"]) == (12, 0, 12)

    await until(whole)
    here.api.remove(PODS, "chat-2")
    put_slice(here.api, "chat-b", "chat", "127.0.0.3")

    async def fewer() -> bool:
        chat = (await ask(agent))[1]["models"]["chat"]
        return (chat["waiting"], chat["ready"], chat["billed"]) == (5, 2, 4)

    await until(fewer)
    assert await agent.end() == 0


async def test_only_who_has_the_token_is_told(here: Ground) -> None:
    agent = await here.reporter(MODELS)
    await until(agent.is_ready)
    for wrong in ("", "another", TOKEN + "x", TOKEN[:-1], "ü"):
        status, body = await ask(agent, wrong)
        assert status == 401
        assert body == {"error": "the token is missing or not the site's"}
    assert (await ask(agent))[0] == 200
    # A new one counts at once, and the former no longer.
    (here.folder / "site-token").write_text("renewed")
    assert (await ask(agent, "renewed"))[0] == 200
    assert (await ask(agent))[0] == 401
    # Without one nobody is told, also who sends none.
    (here.folder / "site-token").write_text("")
    assert (await ask(agent, ""))[0] == 503
    written = json.dumps(agent.log)
    assert TOKEN not in written
    assert "renewed" not in written


async def test_it_says_that_it_does_not_know_its_cluster_yet(here: Ground) -> None:
    here.api.broken = True
    agent = await here.reporter(MODELS)
    await until(lambda: agent.says("/api/v1/namespaces/models/pods"))
    status, body = await ask(agent)
    assert status == 503
    assert "the cluster is not known" in body["error"]
    assert (await agent.probe("/live"))[0] == 200
    here.api.broken = False
    await until(agent.is_ready)
    status, body = await ask(agent)
    assert body["models"]["chat"]["ready"] == 0


async def test_a_renewed_certificate_counts_without_a_restart(here: Ground) -> None:
    folder = here.folder / "tls"
    folder.mkdir()

    def show(authority: Authority) -> None:
        pem = authority.sign("localhost", server=True)
        for name in ("tls.crt", "tls.key"):
            shutil.copy(pem, folder / f".{name}")
            (folder / f".{name}").replace(folder / name)

    show(here.authority)
    agent = await here.reporter(MODELS, BERTH_SITE_TLS=str(folder))
    await until(agent.is_ready)

    async def trusted(authority: Authority) -> bool:
        context = ssl.create_default_context(cadata=authority.pem)
        async with aiohttp.ClientSession() as session:
            url = f"https://127.0.0.1:{agent.port}/v1/site"
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with session.get(
                url, headers=headers, ssl=context, server_hostname="localhost"
            ) as response:
                return response.status == 200

    assert await trusted(here.authority)
    with pytest.raises(aiohttp.ClientError):
        async with agent.session.get(f"http://127.0.0.1:{agent.port}/v1/site"):
            pass
    later = Authority(here.folder, "later")
    show(later)
    await until(lambda: trusted(later))
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await trusted(here.authority)
