"""What the router does to requests: a real Envoy, told by our files, in front of stand-in gateways."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack
from itertools import product
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.agents.router_world import PATIENCE, Gateway, Router, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

ALICE, BOB, CARL = "alice-has-this-key", "bob-has-another-key", "carl-is-not-listed"


def listed(key: str, **limit: int) -> dict[str, Any]:
    found: dict[str, Any] = {"sha256": hashlib.sha256(key.encode()).hexdigest()}
    return {**found, "limit": limit} if limit else found


def _written(folder: Path) -> str:
    return "".join(file.read_text() for file in folder.iterdir() if file.is_file())


@pytest.fixture
async def gateways() -> AsyncIterator[list[Gateway]]:
    """Give four gateways."""
    async with AsyncExitStack() as stack:
        made = [Gateway(name) for name in ("a", "b", "c", "d")]
        for gateway in made:
            await gateway.start()
            stack.push_async_callback(gateway.stop)
        yield made


@pytest.fixture
def router(tmp_path: Path, gateways: list[Gateway]) -> Callable[..., AbstractAsyncContextManager[Router]]:
    """Give the function that starts a router: a and b behind `one`, c behind `two`."""
    a, b, c, _ = gateways

    def start(**parts: Any) -> AbstractAsyncContextManager[Router]:
        where = {"one": [a.host, b.host], "two": [c.host]}
        return running(tmp_path, parts.pop("where", where), **parts)

    return start


async def test_requests_are_divided_by_weight(router: Any) -> None:
    async with router() as running_router:
        found = await running_router.variants(3000)
    # 5 standard deviations of a binomial: once in two million runs by chance.
    assert abs(found["next"] - 300) < 5 * (3000 * 0.1 * 0.9) ** 0.5
    assert found.total() == 3000


async def test_a_user_stays_and_experiments_are_independent(router: Any) -> None:
    halves = {"main": 50, "next": 50}
    routes = [
        {"name": name, "match": {"headers": {"x-experiment": name}}, "weights": halves, "sticky": "X-User"}
        for name in ("first", "second")
    ]
    routes.append({"name": "rest", "weights": {"main": 100}})
    users = [f"user-{n}" for n in range(800)]
    async with router(routes=routes) as running_router:

        async def variant(user: str, experiment: str) -> str:
            _, headers, _ = await running_router.get(x_user=user, x_experiment=experiment)
            return str(headers["x-berth-variant"])

        async def assigned(experiment: str) -> dict[str, str]:
            found: dict[str, str] = {}
            left = iter(users)

            async def work() -> None:
                for user in left:
                    found[user] = await variant(user, experiment)

            await asyncio.gather(*(work() for _ in range(16)))
            return found

        first, second = await assigned("first"), await assigned("second")
        assert await assigned("first") == first
        # A router that knows nothing of the past assigns alike: it is a matter of the name alone.
        moved = dict(routes[0], weights={"main": 40, "next": 60})
        await running_router.tell(routes=[moved, *routes[1:]])
        shifted = await assigned("first")
    assert {user for user in users if first[user] == "next"} <= {
        user for user in users if shifted[user] == "next"
    }
    table = {
        pair: sum((first[user], second[user]) == pair for user in users)
        for pair in product(("main", "next"), repeat=2)
    }
    # Chi-square of independence with one degree of freedom; 10.83 is passed once in a thousand by chance, and
    # the assignment is no matter of chance here: it is the same in every run.
    rows = {one: sum(table[one, other] for other in halves) for one in halves}
    columns = {other: sum(table[one, other] for one in halves) for other in halves}
    expected = {(one, other): rows[one] * columns[other] / len(users) for one, other in table}
    assert sum((table[cell] - expected[cell]) ** 2 / expected[cell] for cell in table) < 10.83
    assert min(expected.values()) > 150


async def test_a_key_stays_with_its_variant(router: Any) -> None:
    route = {"name": "all", "weights": {"main": 50, "next": 50}, "sticky": "key"}
    async with router(routes=[route]) as running_router:
        seen = set()
        for n in range(20):
            found = await running_router.variants(10, authorization=f"Bearer key-of-somebody-{n}")
            assert len(found) == 1, "the same key was divided"
            seen |= found.keys()
    assert seen == {"main", "next"}


async def test_a_refusal_before_the_first_byte_is_tried_elsewhere(router: Any, gateways: Any) -> None:
    a, b, *_ = gateways
    a.mode = "full"
    route = {"name": "all", "weights": {"main": 100}}
    retries, ejection = {"budgetPercent": 100, "least": 100}, {"failures": 100}
    async with router(routes=[route], retries=retries, ejection=ejection) as running_router:
        await running_router.variants(40)
        await a.stop()  # now nothing listens there
        await running_router.variants(40)
        assert a.requests > 0
        assert b.requests == 80
        attempts = {line["attempts"] for line in running_router.access_log()}
    assert attempts >= {1, 2}


async def test_retries_keep_to_their_budget(router: Any, gateways: Any) -> None:
    *_, c, _ = gateways
    c.mode = "held-full"
    route = {"name": "all", "weights": {"next": 100}}
    retries = {"attempts": 1, "budgetPercent": 20, "least": 3}
    async with router(routes=[route], retries=retries, ejection={"failures": 100}) as running_router:
        asked = [asyncio.create_task(running_router.get()) for _ in range(50)]
        async with asyncio.timeout(PATIENCE):
            while c.requests < 50:  # noqa: ASYNC110 - it is told by a socket
                await asyncio.sleep(0.02)
        c.gate.set()
        statuses = [(await one)[0] for one in asked]
        assert statuses == [503] * 50
        # Every one of them was worth a retry, and a fifth of what is in flight may be one at a time.
        assert await running_router.stat("cluster.two.upstream_rq_retry_overflow") >= 10
        assert 1 <= c.requests - 50 <= 40
        _, headers, body = await running_router.get()
        assert headers["x-request-id"]
        assert body == ""


@pytest.mark.parametrize("mode", ["cut", "reset"])
async def test_what_was_begun_is_never_tried_again(router: Any, gateways: Any, mode: str) -> None:
    *_, c, _ = gateways
    c.mode = mode
    c.chunks.put_nowait(b"data: half\n\n")
    c.chunks.put_nowait(None)
    async with router(routes=[{"name": "all", "weights": {"next": 100}}]) as running_router:
        if mode == "cut":
            with pytest.raises(aiohttp.ClientError):
                await running_router.get()
        else:
            status, headers, body = await running_router.get()
            assert status == 503
            assert headers["retry-after"] == "1"
            assert '"error_type":"unavailable"' in body
    assert c.requests == 1


async def test_a_failing_pod_is_left_out(router: Any, gateways: Any) -> None:
    a, b, *_ = gateways
    a.mode = "broken"
    route = {"name": "all", "weights": {"main": 100}}
    async with router(routes=[route], ejection={"failures": 3, "seconds": 600}) as running_router:
        async with asyncio.timeout(PATIENCE):
            while not await running_router.stat("cluster.one.outlier_detection.ejections_active"):
                await running_router.get()
        before = a.requests
        await running_router.variants(50)
        assert a.requests == before
    assert b.requests >= 50


async def test_each_key_has_its_limit_and_no_key_is_in_a_file(router: Any, tmp_path: Path) -> None:
    keys = {"alice": listed(ALICE, requestsPerMinute=1, burst=3), "bob": listed(BOB)}
    limit = {"requestsPerMinute": 1, "burst": 5}
    async with router(keys=keys, limit=limit) as running_router:

        async def passed(key: str) -> int:
            answers = [await running_router.get(authorization=f"Bearer {key}") for _ in range(8)]
            for status, headers, body in answers:
                assert status in {200, 429}
                assert status == 200 or (headers["retry-after"] == "60" and "overloaded" in body)
            return sum(status == 200 for status, *_ in answers)

        # A minute's refill of one may fall into the test on a slow machine.
        assert await passed(ALICE) in {3, 4}
        assert await passed(BOB) in {5, 6}
        assert await passed(CARL) in {5, 6}
        # Another document does not give them a fresh start.
        await running_router.tell(keys=keys, limit=limit, routes=[{"name": "all", "weights": {"next": 100}}])
        assert await passed(ALICE) in {0, 1}
        assert (await running_router.get())[0] == 200
    written = _written(tmp_path)
    assert ALICE not in written
    assert BOB not in written
    assert CARL not in written
    assert {line["key"] for line in running_router.access_log()} == {"alice", "bob", None}


@pytest.mark.parametrize("length", [1, 54, 55, 56, 63, 64, 65, 119, 120, 4000])
async def test_keys_of_every_length_are_recognised(router: Any, length: int) -> None:
    key = ("k3y~" * 1000)[:length]
    routes = [
        {"name": "home", "match": {"keys": ["long"]}, "weights": {"next": 100}},
        {"name": "all", "weights": {"main": 100}},
    ]
    async with router(keys={"long": listed(key)}, routes=routes) as running_router:
        assert await running_router.variants(1, authorization=f"Bearer {key}") == {"next": 1}
        assert await running_router.variants(1, authorization=f"bearer  {key} ") == {"next": 1}
        assert await running_router.variants(1, authorization=f"Bearer {key}x") == {"main": 1}
        assert await running_router.variants(1, authorization=key) == {"main": 1}
        assert await running_router.variants(1) == {"main": 1}


async def test_another_backend_takes_over_and_residents_stay(router: Any, gateways: Any) -> None:
    a, b, c, _ = gateways
    keys = {"alice": listed(ALICE)}
    parts: dict[str, Any] = {
        "keys": keys,
        "variants": {"anywhere": {"backends": ["one", "two"]}, "home": {"backends": ["one"]}},
        "routes": [
            {"name": "residents", "match": {"keys": ["alice"]}, "weights": {"home": 100}},
            {"name": "marked", "match": {"headers": {"x-residency": "home"}}, "weights": {"home": 100}},
            {"name": "all", "weights": {"anywhere": 100}},
        ],
    }
    async with router(**parts) as running_router:
        await running_router.variants(20)
        assert c.requests == 0, "the first backend serves while it can"
        await a.stop()
        await b.stop()  # a site that is gone without a word: nothing listens
        found = await running_router.variants(40)
        assert found == {"anywhere": 40}
        assert c.requests == 40
        assert (await running_router.get(authorization=f"Bearer {ALICE}"))[0] == 503
        assert (await running_router.get(x_residency="home"))[0] == 503
        assert c.requests == 40, "what must stay at home went elsewhere"
        await running_router.tell(where={"one": [], "two": [c.host]}, **parts)
        assert await running_router.variants(10) == {"anywhere": 10}


async def test_a_stream_outlives_every_change(router: Any, gateways: Any) -> None:
    a, b, c, d = gateways
    for gateway in (a, b):
        gateway.mode = "stream"
    main = {"name": "all", "weights": {"main": 100}}
    after = {"name": "all", "weights": {"next": 100}}
    async with router(where={"one": [a.host], "two": [c.host]}, routes=[main]) as running_router:
        url = f"http://127.0.0.1:{running_router.port}/generate_stream"
        async with running_router.session.post(url) as response:
            expected = b""

            async def goes_on(text: bytes) -> None:
                nonlocal expected
                expected += text
                a.chunks.put_nowait(text)
                assert await response.content.readexactly(len(text)) == text

            await goes_on(b"before ")
            await running_router.tell(routes=[after])
            await goes_on(b"weights ")
            await running_router.tell(routes=[after], where={"one": [b.host], "two": [c.host]})
            await goes_on(b"pods ")
            await running_router.tell(routes=[after], ejection={"failures": 7}, connectSeconds=3)
            await goes_on(b"clusters ")
            only = {"two": {"service": {"namespace": "models", "name": "two"}}}
            await running_router.tell(
                routes=[after],
                backends=only,
                variants={"next": {"backends": ["two"]}},
                where={"two": [c.host, d.host]},
            )
            await goes_on(b"gone ")
            assert await running_router.variants(10) == {"next": 10}
            a.chunks.put_nowait(None)
            assert await response.read() == b""
        assert expected == b"before weights pods clusters gone "
        assert not (running_router.folder / "eds-one.json").exists()


async def test_a_hundred_changes_under_load_fail_no_request(router: Any, gateways: Any) -> None:
    *_, d = gateways
    async with router() as running_router:
        done = asyncio.Event()
        served = 0

        async def load() -> None:
            nonlocal served
            while not done.is_set():
                status, _, body = await running_router.get()
                assert status == 200, body
                served += 1

        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(load()) for _ in range(8)]
            third = {"two": [*running_router.where["two"], d.host]}
            for n in range(100):
                weights = {"main": n % 101, "next": 100 - n % 101}
                where = {**running_router.where, **third} if n % 10 == 0 else running_router.where
                await running_router.tell(where=where, routes=[{"name": "all", "weights": weights}])
            await running_router.tell(routes=[{"name": "all", "weights": {"next": 100}}])
            done.set()
        assert all(worker.done() for worker in workers)
        assert served > 100
        # All of it counts from the moment that it was told.
        assert await running_router.variants(50) == {"next": 50}
        assert await running_router.stat("http.clients.downstream_rq_5xx") == 0
        assert await running_router.stat("http.clients.rds.routes.update_rejected") == 0
