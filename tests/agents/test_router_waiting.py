"""Waking from zero: a real Envoy and the controller hold what is asked of a sleeping model, and let it go."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import ssl
from io import BytesIO
from typing import TYPE_CHECKING, Any

from berth_agents.router.waiting import MOST_BYTES, WAKING
from berth_catalogue.exporters import exporters
from berth_serving.gateway import app as gateway_app

from tests.agents.api_world import SLICES
from tests.agents.pod_world import Pod, end, running_pod, until
from tests.agents.router_world import Gateway
from tests.agents.stand_ins import Authority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAIN = [{"name": "all", "weights": {"main": 100}}]
KEY, READER = "k3y-of-alice", "k3y-of-a-reader"
ALICE = {"authorization": f"Bearer {KEY}"}
Answer = tuple[int, "Mapping[str, str]", str]


def sleeping(**wakes: Any) -> dict[str, Any]:
    """Parts of a document whose model `one` may sleep."""
    services = {name: {"service": {"namespace": "models", "name": name}} for name in ("one", "two")}
    services["one"] = {**services["one"], "wakes": {"keys": False, **wakes}}
    return {"backends": services, "routes": MAIN, "ejection": {"failures": 5}}


async def told(pod: Pod, **parts: Any) -> None:
    """Tell it a document and wait until it counts; nothing is ready behind it."""
    pod.api.tell(**pod.documents(**parts))

    async def ready() -> bool:
        return (await pod.probe()) == (200, "ready\n")

    await until(ready)


async def ask(
    pod: Pod, path: str = "/generate", *, method: str = "POST", body: bytes = b"{}", **headers: str
) -> Answer:
    url = f"http://127.0.0.1:{pod.port}{path}"
    async with pod.session.request(method, url, data=BytesIO(body), headers=headers) as response:
        return response.status, response.headers, await response.text()


async def holds(pod: Pod, count: int) -> None:
    async def so_many() -> bool:
        return await pod.held() == count

    await until(so_many)


async def test_what_is_asked_of_a_sleeping_model_waits_and_is_answered(tmp_path: Path) -> None:
    async with running_pod(tmp_path, load=True) as pod:
        a, b, _ = pod.gateways
        await told(pod, **sleeping())
        assert await pod.held() == 0
        assert await pod.held("two") is None, "only models that wake are told of"
        asked = [asyncio.create_task(ask(pod, body=b"x" * 50_000)) for _ in range(40)]
        await holds(pod, 40)
        assert not any(one.done() for one in asked)
        assert 'berth_router_held_requests{backend="one",service="one"} 40' in await pod.metrics()
        pod.api.pods("one", a)
        for status, headers, body in await asyncio.gather(*asked):
            assert (status, json.loads(body)) == (200, {"from": "a"})
            assert headers["x-berth-backend"] == "one"
            assert headers["x-envoy-attempt-count"] == "2"
        assert (a.requests, a.received) == (40, 40 * 50_000)
        assert await pod.held() == 0
        assert await pod.outcomes() == {"let_go": 40}
        text = await pod.metrics()
        assert 'berth_router_held_seconds_bucket{backend="one",service="one",le="+Inf"} 40' in text
        assert 'berth_router_held_seconds_count{backend="one",service="one"} 40' in text
        # With a pod nobody waits, and when it is gone the next one does again.
        assert (await ask(pod))[1]["x-envoy-attempt-count"] == "1"
        pod.api.remove(SLICES, "one-a")
        await asyncio.sleep(0)
        again = [asyncio.create_task(ask(pod))]
        while await pod.held() == 0:
            if again[-1].done():  # the controller had not heard yet
                again.append(asyncio.create_task(ask(pod)))
            await asyncio.sleep(0.02)
        pod.api.pods("one", b)
        assert [(await one)[0] for one in again] == [200] * len(again)
        assert b.requests == 1


async def test_no_key_is_sent_away_at_once_and_wakes_nothing(tmp_path: Path) -> None:
    keys = tmp_path / "keys" / "one"
    keys.mkdir(parents=True)
    (keys / "alice").write_text(KEY + "\n")
    (keys / "reader").write_text(json.dumps({"key": READER, "scopes": ["read"]}))
    (keys / ".hidden").write_text("hidden-key")
    async with running_pod(tmp_path, keys=tmp_path / "keys", load=True) as pod:
        await told(pod, **sleeping(keys=True))
        for headers in ({}, {"authorization": "Bearer nobody"}, {"authorization": KEY},
                        {"authorization": "Bearer hidden-key"}):  # fmt: skip
            status, answered, body = await ask(pod, **headers)
            assert status == 401
            assert answered["www-authenticate"] == "Bearer"
            assert json.loads(body)["error_type"] == "authentication"
        status, _, body = await ask(pod, "/v1/chat/completions")
        assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_api_key")
        status, _, body = await ask(pod, authorization=f"Bearer {READER}")
        assert (status, json.loads(body)["error_type"]) == (403, "authorization")
        assert await pod.outcomes() == {"no_key": 6}
        # Who has one waits; a key that comes later counts without a restart.
        asked = [asyncio.create_task(ask(pod, **ALICE)),
                 asyncio.create_task(ask(pod, "/tokenize", authorization=f"Bearer {READER}"))]  # fmt: skip
        await holds(pod, 2)
        (keys / "late").write_text("a-late-key")

        async def waits() -> bool:
            late = asyncio.create_task(ask(pod, authorization="Bearer a-late-key"))
            while not late.done():
                if await pod.held() == 3:
                    asked.append(late)
                    return True
                await asyncio.sleep(0.02)
            assert (await late)[0] == 401
            return False

        await until(waits)
        pod.api.pods("one", pod.gateways[0])
        assert [(await one)[0] for one in asked] == [200] * 3
        logs = json.dumps(pod.log)
        assert KEY not in logs
        assert READER not in logs


async def test_looking_wakes_nothing(tmp_path: Path) -> None:
    async with running_pod(tmp_path, load=True) as pod:
        await told(pod, **sleeping())
        for method, path in (
            ("GET", "/health"), ("HEAD", "/"), ("GET", "/v1/models"), ("GET", "/info"), ("GET", "/metrics"),
            ("GET", "/generate"), ("OPTIONS", "/generate"), ("POST", "/feedback"), ("POST", "/nowhere"),
        ):  # fmt: skip
            status, headers, body = await ask(pod, path, method=method)
            assert (status, headers["retry-after"]) == (503, "1"), path
            assert headers["x-envoy-attempt-count"] == "1", "tried again for nothing"
            assert "asleep" in body or method == "HEAD"
        assert await pod.held() == 0
        assert await pod.outcomes() == {}


def test_what_wakes_is_what_asks_the_model() -> None:
    """Every route of the gateway that takes a POST, but for words about a former answer."""
    source = inspect.getsource(gateway_app.Gateway.__init__)
    posts = set(re.findall(r'"(/[\w/]*)": \{[^}]*"POST":', source)) - {"/feedback"}
    assert {path: gateway_app._SCOPES.get(path, "generate") for path in posts} == WAKING


async def test_only_so_many_wait_and_only_for_so_long(tmp_path: Path) -> None:
    async with running_pod(tmp_path, load=True) as pod:
        await told(pod, **sleeping(most=2))
        asked = [asyncio.create_task(ask(pod)) for _ in range(2)]
        await holds(pod, 2)
        # Many more than what makes a pod fail five times in a row: the room is not left out for it.
        for _ in range(20):
            status, headers, body = await ask(pod)
            assert (status, headers["retry-after"], headers["x-envoy-attempt-count"]) == (503, "1", "1")
            assert "x-envoy-ratelimited" not in headers
            assert json.loads(body) == {
                "error": "the model is asleep, and 2 requests wait for it", "error_type": "healthcheck"
            }  # fmt: skip
        asked[0].cancel()
        await holds(pod, 1)
        asked.append(asyncio.create_task(ask(pod)))
        await holds(pod, 2)
        pod.api.pods("one", pod.gateways[0])
        assert [(await one)[0] for one in asked[1:]] == [200, 200]
        assert await pod.outcomes() == {"too_many": 20, "client_gone": 1, "let_go": 2}
        pod.api.remove(SLICES, "one-a")
        await told(pod, **sleeping(holdSeconds=1))

        async def is_too_long() -> Any:
            status, headers, body = await ask(pod)
            return status == 503 and (headers, body)

        headers, body = await until(is_too_long)
        assert "did not wake within 1 s" in body
        assert (headers["retry-after"], headers["x-envoy-attempt-count"]) == ("1", "1")
        assert (await pod.outcomes())["too_long"] == 1


async def test_what_envoy_cannot_send_again_is_said_to_its_client(tmp_path: Path) -> None:
    async with running_pod(tmp_path, load=True) as pod:
        await told(pod, **sleeping(), retries={"attempts": 0, "budgetPercent": 0, "least": 0})
        large = asyncio.create_task(ask(pod, body=b"x" * (3 << 20)))
        small = asyncio.create_task(ask(pod))
        await holds(pod, 2)
        pod.api.pods("one", pod.gateways[0])
        status, headers, body = await large
        assert (status, headers["retry-after"]) == (503, "1")
        assert "send this request again" in json.loads(body)["error"]
        # Without any retries of its own a router still gives what waited to the pod.
        assert (await small)[0] == 200
        assert (await ask(pod, body=b"x" * (3 << 20)))[0] == 200


async def test_a_large_body_waits_as_well_where_it_is_to_be_kept(tmp_path: Path) -> None:
    async with running_pod(tmp_path, load=True) as pod:
        await told(pod, **sleeping(bodyBytes=4 << 20))
        asked = [asyncio.create_task(ask(pod, body=b"x" * size)) for size in (4 << 20, 3 << 20, 100)]
        larger = asyncio.create_task(ask(pod, body=b"x" * (5 << 20)))
        await holds(pod, 4)
        a = pod.gateways[0]
        pod.api.pods("one", a)
        answers = await asyncio.gather(*asked)
        assert [(status, headers["x-envoy-attempt-count"]) for status, headers, _ in answers] == [
            (200, "2")
        ] * 3
        assert a.received == (7 << 20) + 100
        status, headers, body = await larger
        assert (status, headers["retry-after"]) == (503, "1")
        assert "send this request again" in json.loads(body)["error"]


async def test_only_so_many_bytes_wait(tmp_path: Path) -> None:
    async with running_pod(tmp_path, load=True) as pod:
        size = 8 << 20
        await told(pod, **sleeping(bodyBytes=size))
        asked = [asyncio.create_task(ask(pod, body=b"x" * size)) for _ in range(MOST_BYTES // size + 1)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)

        async def rest_waits() -> bool:
            return await pod.held() == sum(not one.done() for one in asked)

        await until(rest_waits)
        away = [one.result() for one in asked if one.done()]
        assert 0 < len(away) < len(asked)
        for status, headers, body in away:
            assert (status, headers["retry-after"], headers["x-envoy-attempt-count"]) == (503, "1", "1")
            assert "too many bytes of requests wait" in body
        asked = [one for one in asked if not one.done()]
        pod.api.pods("one", pod.gateways[0])
        assert {(await one)[0] for one in asked} == {200}
        assert (await pod.outcomes())["too_many"] == len(away)


async def test_a_gateway_with_a_certificate_that_is_asked_for_its_health_wakes_too(tmp_path: Path) -> None:
    """The room itself has no certificate, and says 503 to the question for its health, as one that drains."""
    authority = Authority(tmp_path, "gateways")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.sign("localhost", server=True))
    gateway = await Gateway("t", tls=context).start()
    try:
        async with running_pod(tmp_path, load=True) as pod:
            parts = sleeping()
            parts["backends"]["one"] |= {
                "asked": True, "tls": {"serverName": "localhost", "caFile": str(authority.file)}
            }  # fmt: skip
            await told(pod, **parts)
            asked = asyncio.create_task(ask(pod))
            await holds(pod, 1)
            pod.api.pods("one", gateway)
            status, _, body = await asked
            assert (status, json.loads(body)) == (200, {"from": "t"})
    finally:
        await gateway.stop()


async def test_a_refused_change_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with running_pod(tmp_path, load=True) as pod:
        await told(pod, **sleeping())
        asked = asyncio.create_task(ask(pod))
        await holds(pod, 1)
        parts = sleeping()
        parts["backends"]["two"]["tls"] = {"serverName": "two", "caFile": "/nowhere/ca.crt"}
        pod.api.tell(**pod.documents(**parts))

        async def refuses() -> bool:
            return "Envoy refuses cds.json" in (await pod.probe())[1]

        await until(refuses)
        assert await pod.held() == 1
        pod.api.pods("one", pod.gateways[0])
        assert (await asked)[0] == 200


async def test_who_waits_at_a_router_that_ends_is_told_so(tmp_path: Path) -> None:
    async with running_pod(tmp_path, load=True, drain="1") as pod:
        await told(pod, **sleeping())
        asked = asyncio.create_task(ask(pod))
        await holds(pod, 1)
        assert await end(pod.controller) == 0
        status, headers, body = await asked
        assert (status, headers["retry-after"]) == (503, "1")
        assert "the router that held this request ends" in body


async def test_a_model_that_no_longer_wakes_holds_nobody(tmp_path: Path) -> None:
    async with running_pod(tmp_path, load=True) as pod:
        await told(pod, **sleeping())
        asked = asyncio.create_task(ask(pod))
        await holds(pod, 1)
        pod.api.tell(**pod.documents(routes=MAIN))
        assert (await asked)[0] == 503

        async def forgotten() -> bool:
            return await pod.held() is None

        await until(forgotten)
        status, _, body = await ask(pod)
        assert status == 503
        assert "no healthy upstream" in body


async def test_what_prometheus_is_told_is_whole(tmp_path: Path) -> None:
    async with running_pod(tmp_path, load=True) as pod:
        await told(pod, **sleeping())
        text = await pod.metrics()
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", text, flags=re.MULTILINE)
    told_of = exporters()["router-waiting"].metrics
    assert dict(kinds) == {name: one.type for name, one in told_of.items()}
    for name, one in told_of.items():
        carried = re.findall(rf"^{name}(?:_bucket|_sum|_count)?\{{(.*)\}} ", text, flags=re.MULTILINE)
        labels = {label for line in carried for label in re.findall(r'(\w+)="', line)} - {"le"}
        assert labels == set(one.labels), name
    # Nothing happened, and all of it is told, so that rates begin with 0.
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(line.endswith((" 0", " 0.000")) for line in lines)
    assert len(lines) == 1 + 6 + 12


async def test_without_a_room_a_router_is_as_it_was(tmp_path: Path) -> None:
    """Nobody to ask is 503 at once where nothing wakes, and nothing is told on a port more."""
    async with running_pod(tmp_path) as pod:
        await told(pod, routes=MAIN)
        status, headers, body = await ask(pod)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "no healthy upstream" in body
        assert not [one for one in pod.log if one["message"] == "Telling what is held"]
