"""The controller of a hybrid router, as a process: hears sites, writes weights that the router takes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio import create_subprocess_exec, subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from berth_agents.hybrid import controller, documents
from berth_agents.hybrid.settings import ControllerSettings
from berth_agents.hybrid.weights import LAST_SECONDS, RENEW_SECONDS, WeightsMap
from berth_agents.kube import ClusterAccess, KubeClient
from berth_agents.router import overlay
from berth_agents.router.document import parse
from prometheus_client.parser import text_string_to_metric_families

from tests.agents.api_world import CONFIG_MAPS
from tests.agents.hybrid_world import TOKEN, Agent, Ground, Site, ground
from tests.agents.pod_world import until
from tests.agents.router_world import document
from tests.agents.stand_ins import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Json = dict[str, Any]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground(tmp_path) as made:
        made.api.put(CONFIG_MAPS, "front-weights", {})
        yield made


def router_document() -> str:
    """What the stack says of the same sites."""
    backends = {name: {"service": {"namespace": "models", "name": name}} for name in ("home", "cloud")}
    variants = {
        "home": {"backends": ["home", "cloud"]},
        "cloud": {"backends": ["cloud", "home"]},
        "bank-home": {"backends": ["home"]},
    }
    routes = [
        {"name": "bank", "match": {"headers": {"x-bank": "yes"}}, "weights": {"bank-home": 100}},
        {"name": "all", "weights": {"home": 100}},
    ]
    return json.dumps(document(backends=backends, variants=variants, routes=routes))


def written(here: Ground) -> Json | None:
    data = here.api.items[CONFIG_MAPS]["front-weights"].get("data") or {}
    return json.loads(data["weights.json"]) if "weights.json" in data else None


async def weights(here: Ground) -> Json:
    found = written(here)
    return found["routes"]["all"] if found else {}


async def told(agent: Agent) -> dict[tuple[str, str], float]:
    async with agent.session.get(f"http://127.0.0.1:{agent.port}/metrics") as response:
        text = await response.text()
    return {
        (sample.name, sample.labels.get("site") or sample.labels.get("reason") or ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels["router"] == "front" and sample.labels["model"] == "chat"
    }


async def test_overload_overflows_and_comes_home(here: Ground) -> None:
    home, cloud = await here.site("home"), await here.site("cloud")
    home.says(waiting=20, running=8)
    agent = await here.controller(here.hybrid(home, cloud))

    async def at_cloud() -> bool:
        return (await weights(here)).get("cloud", 0) >= 20

    await until(at_cloud)
    await until(agent.is_ready)
    assert set(home.asked) == set(cloud.asked) == {f"Bearer {TOKEN}"}
    # As the router reads it: residents stay, the others are divided.
    text = here.api.items[CONFIG_MAPS]["front-weights"]["data"]["weights.json"]
    read = overlay.overlaid(parse(router_document()), text, datetime.now(UTC))
    bank, everybody = (dict(route.weights) for route in read.routes)
    assert bank == {"bank-home": 10_000}
    assert everybody["cloud"] >= 2_000
    assert sum(everybody.values()) == 10_000
    manager, body = here.api.applied[-1]
    assert manager == "berth-hybrid"
    assert body.keys() == {"apiVersion", "kind", "metadata", "data"}
    until_then = datetime.fromisoformat(json.loads(text)["until"]) - datetime.now(UTC)
    assert timedelta(0) < until_then <= timedelta(seconds=60)
    found = await told(agent)
    assert found["berth_hybrid_waiting", "home"] == 20
    assert found["berth_hybrid_cost_dollars_per_hour", "cloud"] == 3.0
    assert found["berth_hybrid_cost_cap_dollars_per_hour", ""] == 20
    assert found["berth_hybrid_site_preference", "cloud"] == 2
    assert found["berth_hybrid_decisions_total", "overflow"] >= 2
    assert found["berth_hybrid_decisions_total", "retreat"] == 0
    assert found["berth_hybrid_site_weight_ratio", "cloud"] >= 0.2
    assert found["berth_hybrid_written_timestamp_seconds", ""] > 0
    home.says()

    async def at_home() -> bool:
        return (await weights(here)) == {"home": 100.0, "cloud": 0.0}

    await until(at_home)
    # Written when something changes, not at every decision.
    assert len(here.api.applied) <= len(agent.said("Decided")) + 2


async def test_a_lost_site_loses_its_load_and_a_silent_one_keeps_it(here: Ground) -> None:
    home, cloud = await here.site("home"), await here.site("cloud")
    agent = await here.controller(here.hybrid(home, cloud))

    async def all_at(name: str) -> bool:
        return (await weights(here)).get(name) == 100

    await until(lambda: all_at("home"))
    home.says(ready=0, billed=1)
    await until(lambda: all_at("cloud"))
    # It serves again, and from now on says nothing.
    home.says()
    await until(lambda: all_at("home"))
    await home.stop()
    await until(lambda: agent.says("home is silent"))

    async def silent() -> bool:
        found = await told(agent)
        return (
            found["berth_hybrid_site_silent_seconds", "home"] > 1
            and ("berth_hybrid_waiting", "home") not in found
            and ("berth_hybrid_waiting", "cloud") in found
            and found["berth_hybrid_cost_dollars_per_hour", "home"] == 0
        )

    await until(silent)
    assert await all_at("home")
    assert (await agent.probe())[0] == 200
    await home.start()

    async def heard() -> bool:
        return not await agent.says("silent")

    await until(heard)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"name": "elsewhere"}, "the reporter is of the site 'elsewhere', not of 'cloud'"),
        ({"status": 503}, "answered 503"),
        ({"said": {"waiting": -1}}, "models.chat.waiting is -1"),
        ({"said": {"waiting": 0}}, "models.chat.ready is missing"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_said(here: Ground, said: Json, words: str) -> None:
    home, cloud = await here.site("home"), await here.site("cloud")
    text = here.hybrid(home, cloud)
    for name, value in said.items():
        setattr(cloud, name, value)
    agent = await here.controller(text)
    await until(lambda: agent.says(words))
    await until(agent.is_ready)


async def test_another_token_is_said_and_a_renewed_one_counts(here: Ground) -> None:
    home, cloud = await here.site("home"), await here.site("cloud")
    (here.folder / "site-token").write_text("former")
    agent = await here.controller(here.hybrid(home, cloud))
    await until(lambda: agent.says("refuses the token"))
    (here.folder / "site-token").write_text("two\nlines")
    await until(lambda: agent.says("printable ASCII without blanks"))
    (here.folder / "site-token").write_text(TOKEN)

    async def heard() -> bool:
        return (await agent.probe()) == (200, "ready\n")

    await until(heard)
    assert TOKEN not in json.dumps(agent.log)


async def test_a_site_beyond_proves_who_it_is(here: Ground) -> None:
    home = await here.site("home")
    cloud = Site("cloud", certificate=here.authority.sign("localhost", server=True))
    cloud.says()
    await cloud.start()
    here.stack.push_async_callback(cloud.stop)
    text = here.hybrid(home, cloud)
    ca_file = here.folder / "site-ca.crt"
    ca_file.write_text(Authority(here.folder, "another").pem)
    text["sites"][1] |= {
        "url": f"https://127.0.0.1:{cloud.port}",
        "caFile": str(ca_file),
        "serverName": "localhost",
    }
    agent = await here.controller(text)
    await until(lambda: agent.says("certificate verify failed"))
    assert not cloud.asked, "the token is told to nobody who has not proved who it is"
    # The right CA counts when it is there, without a restart.
    ca_file.write_text(here.authority.pem)

    async def heard() -> bool:
        return (await agent.probe()) == (200, "ready\n")

    await until(heard)
    assert set(cloud.asked) == {f"Bearer {TOKEN}"}
    text["sites"][1]["serverName"] = "elsewhere.example"
    other = await here.controller(text)
    await until(lambda: other.says("elsewhere.example"))


async def test_it_goes_on_from_the_weights_in_force_and_leaves_them(here: Ground) -> None:
    def put(until_then: timedelta) -> str:
        moment = (datetime.now(UTC) + until_then).strftime("%Y-%m-%dT%H:%M:%SZ")
        routes = {"bank": {"bank-home": 100}, "all": {"home": 55.5, "cloud": 44.5}}
        text = json.dumps({"version": 1, "until": moment, "routes": routes})
        here.api.put(CONFIG_MAPS, "front-weights", {"data": {"weights.json": text}})
        return text

    sites = [Site("home", port=1), Site("cloud", port=1)]  # nobody answers
    before = put(timedelta(seconds=50))
    agent = await here.controller(here.hybrid(*sites))
    await until(agent.is_ready)
    assert here.api.items[CONFIG_MAPS]["front-weights"]["data"]["weights.json"] != before
    assert await weights(here) == {"home": 55.5, "cloud": 44.5}
    left = here.api.items[CONFIG_MAPS]["front-weights"]["data"]["weights.json"]
    agent.process.send_signal(signal.SIGTERM)
    assert await agent.process.wait() == 0
    assert here.api.items[CONFIG_MAPS]["front-weights"]["data"]["weights.json"] == left
    # Those that have ended are no longer in force.
    put(timedelta(seconds=-1))
    second = await here.controller(here.hybrid(*sites))
    await until(second.is_ready)
    assert await weights(here) == {"home": 100.0, "cloud": 0.0}


async def test_weights_that_cannot_be_read_or_written_are_said(here: Ground) -> None:
    home, cloud = await here.site("home"), await here.site("cloud")
    here.api.remove(CONFIG_MAPS, "front-weights")
    agent = await here.controller(here.hybrid(home, cloud))
    await until(lambda: agent.says("configmaps/front-weights: 404"))
    assert (await agent.probe())[0] == 503
    here.api.put(CONFIG_MAPS, "front-weights", {"data": {"weights.json": "{}"}})
    await until(agent.is_ready)
    assert agent.said("The weights that are there are passed over")
    assert await weights(here) == {"home": 100.0, "cloud": 0.0}
    here.api.broken = True
    home.says(waiting=20, running=8)

    async def failed() -> bool:
        return bool(agent.said("The weights could not be written"))

    await until(failed)
    here.api.broken = False

    async def at_cloud() -> bool:
        return (await weights(here)).get("cloud", 0) > 0

    await until(at_cloud)


async def test_weights_are_renewed_long_before_they_end(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 * RENEW_SECONDS < LAST_SECONDS
    monkeypatch.setattr(controller, "RENEW_SECONDS", 0.2)
    what = documents.hybrid(json.dumps(here.hybrid(Site("home", port=1), Site("cloud", port=1))))
    settings = ControllerSettings(
        here.folder, here.folder / "site-token", host="127.0.0.1", metrics_port=0, probes_port=0
    )
    access = ClusterAccess(
        f"https://localhost:{here.api.port}", here.folder / "token", here.folder / "ca.crt"
    )
    async with KubeClient(access) as client:
        made = controller.Controller(settings, what, [], WeightsMap(client, what))
        running = asyncio.create_task(made.run())

        async def thrice() -> bool:
            return len(here.api.applied) >= 3

        await until(thrice)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    texts = [json.loads(body["data"]["weights.json"]) for _, body in here.api.applied]
    assert all(text["routes"] == texts[0]["routes"] for text in texts)


@pytest.mark.parametrize(
    ("word", "parts", "words"),
    [
        ("divide", {}, "allowed is 'report' or 'control'"),
        ("control", None, "BERTH_HYBRID_DOCUMENT is ''"),
        ("report", None, "BERTH_SITE is ''"),
        ("control", {"sites": []}, "routes.bank is 'home'"),
        ("control", {"polices": {}}, "polices does not exist; did you mean 'policy'?"),
        ("control", {"policy": {"overflowAt": 1, "returnBelow": 2}}, "return_below is 2"),
        ("control", {"policy": {"costCapPerHour": "4"}}, "policy.costCapPerHour is '4'"),
        ("control", {"routes": {"all": ["cloud", "home"]}}, "routes.all is ['cloud', 'home']"),
        ("control", {"routes": {"all": ["home", "cloud"], "eu": ["mars"]}}, "routes.eu is 'mars'"),
        ("control", {"everySeconds": 0}, "everySeconds is 0"),
        ("control", {"router": "Front"}, "router has 'Front'"),
    ],
)
async def test_wrong_settings_are_named(here: Ground, word: str, parts: Json | None, words: str) -> None:
    environment = {"PATH": os.environ["PATH"]}
    if parts is not None:
        sites = [Site("home", port=1), Site("cloud", port=1)]
        (here.folder / "hybrid.json").write_text(json.dumps(here.hybrid(*sites, **parts)))
        environment |= {
            "BERTH_HYBRID_DOCUMENT": str(here.folder / "hybrid.json"),
            "BERTH_HYBRID_TOKEN_FILE": str(here.folder / "site-token"),
            "KUBERNETES_SERVICE_HOST": "localhost",
            "KUBERNETES_SERVICE_PORT": str(here.api.port),
            "BERTH_SERVICE_ACCOUNT_DIR": str(here.folder),
        }
    process = await create_subprocess_exec(
        sys.executable, "-m", "berth_agents.hybrid", word, env=environment, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert words in json.loads(errors)["error"]
