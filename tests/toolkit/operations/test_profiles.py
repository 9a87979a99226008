"""Every profile on a real gateway with the real model, by HTTP and HTTPS; results in a real Prometheus."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import math
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest
from berth.cli.load import PROFILES as OFFERED
from berth.operations.diagnosis.probes import fetch
from berth.operations.errors import EndpointRefused, LoadSettingsError
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import read_access
from berth.operations.load import PROFILES, LoadSettings, Recording, packaged_prompts, render, run
from berth.operations.load.arrivals import offsets
from berth.operations.load.profiles import BURST, SWING
from berth.operations.load.prompts import long_prompts
from berth.operations.status import measure
from berth.operations.watching import Watcher
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.serving.conftest import KEY as GATEWAY_KEY
from tests.serving.conftest import engine, free_port, make_engine, make_gateway, wait_for, weights_file
from tests.toolkit.operations import monitoring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Their fixtures, here too.
__all__ = ["engine", "make_engine", "make_gateway", "weights_file"]
NAME = "models.example.org"


@pytest.fixture(scope="module")
def gateway(engine: Any, make_gateway: Callable[..., Any]) -> Any:
    limits = {"MAX_INPUT_TOKENS": "256", "MAX_TOTAL_TOKENS": "272", "BERTH_QUEUE_TIMEOUT_SECONDS": "600"}
    made = make_gateway(engine.url, **limits)
    wait_for(made.is_ready, "the gateway is ready")
    return made


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for a name that is not the address, which signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    cert, private = folder / "tls.crt", folder / "tls.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, private


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("berth.operations.load.runner.FIRST_ANSWER_SECONDS", 300.0)


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    with monitoring.prometheus(tmp_path, {"global": {}}) as url:
        yield url


def settings(gateway: Any, **changes: Any) -> LoadSettings:
    default = {"rate": 4.0, "duration_seconds": 1.0, "max_new_tokens": 3, "stall_seconds": 0.3}
    default["request_seconds"] = 600.0  # a busy machine is no failure
    return LoadSettings(**{"endpoint": gateway.url, "key": GATEWAY_KEY, **default, **changes})


def arrivals(profile: str, seconds: float, rate: float = 50.0) -> list[float]:
    return list(offsets("poisson", rate, PROFILES[profile].shape(seconds), 11))


def test_the_command_offers_every_profile() -> None:
    assert tuple(PROFILES) == OFFERED


def test_every_shape_lasts_as_long_as_the_run() -> None:
    for one, seconds in itertools.product(PROFILES.values(), (0.5, 59.0, 600.0)):
        assert math.isclose(sum(step.seconds for step in one.shape(seconds)), seconds), one.name


def test_a_burst_is_eight_times_as_much_in_a_quarter_of_each_minute() -> None:
    found = arrivals("burst", 120)
    in_bursts = sum(0.5 <= (moment % 60) / 60 < 0.75 for moment in found)
    # A quarter of the time at 8, three quarters at 1: 8 of every 11.
    assert in_bursts / len(found) == pytest.approx(BURST * 0.25 / (BURST * 0.25 + 0.75), abs=0.03)
    assert max(found) < 120


def test_a_day_has_its_night_and_its_peak() -> None:
    found = arrivals("diurnal", 240)
    by_hour = [sum(10 * hour <= moment < 10 * (hour + 1) for moment in found) for hour in range(24)]
    assert len(found) == pytest.approx(240 * 50, rel=0.05)  # the mean is the base rate
    assert max(range(24), key=by_hour.__getitem__) in range(12, 18)
    assert min(range(24), key=by_hour.__getitem__) in {*range(6), 23}
    assert max(by_hour) / min(by_hour) > (1 + SWING) / (1 - SWING) / 2


def test_constant_arrivals_follow_a_shape_exactly() -> None:
    found = list(offsets("constant", 4.0, PROFILES["burst"].shape(4.0), 0))
    assert sum(moment < 2 for moment in found) == 8
    assert sum(2 <= moment < 3 for moment in found) == 32
    assert sum(moment >= 3 for moment in found) == 4


@pytest.mark.parametrize("profile", list(PROFILES))
async def test_a_profile_on_a_real_gateway(gateway: Any, profile: str) -> None:
    rate = {"stalling": 10.0, "long-context": 2.0}.get(profile, 4.0)
    report = await run(settings(gateway, profile=profile, rate=rate))
    found = report.to_json()
    requests = found["requests"]
    ended = requests["ok"] + requests["stalled"] + requests["refused"]
    assert requests["sent"] == ended, found
    assert requests["ok"] > 0
    assert found["time_to_first_token_seconds"]["count"] == requests["ok"]
    assert found["settings"]["profile"] == profile
    assert (requests["stalled"] > 0) == (profile == "stalling")
    text = render(report)
    assert f"Profile {profile}: " in text
    assert max(len(line) for line in text.splitlines()) <= 80


async def test_long_prompts_nearly_fill_the_servers_own_limit(gateway: Any) -> None:
    limit = gateway.get("/info").json()["max_input_tokens"]
    before = gateway.metrics()
    await run(settings(gateway, profile="long-context", rate=3.0, arrivals="constant"))
    after = gateway.metrics()
    taken, asked = (
        after[name] - before[name]
        for name in ("tgi_request_input_length_sum", "tgi_request_input_length_count")
    )
    mean = (taken - 40) / (asked - 1)  # one short one asks whether anybody is there
    assert 0.6 * limit < mean <= limit


def test_long_prompts_differ_from_their_beginning_on() -> None:
    prompts = long_prompts(5_000, 1)
    assert len({prompt[:100] for prompt in prompts}) > 4
    assert {len(prompt) for prompt in prompts} == {5_000}
    assert max(map(len, long_prompts(20, 1))) <= 20
    assert max(map(len, packaged_prompts())) < 5_000


async def test_a_client_that_stalls_can_be_cut_off_and_harms_nobody() -> None:
    """Its answer outgrows every buffer between, so that a server notices."""
    stalled = _Stalled()
    async with await asyncio.start_server(stalled.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        report = await run(
            LoadSettings(
                endpoint=f"http://127.0.0.1:{port}", key="k", profile="stalling", rate=20.0,
                duration_seconds=1.0, stall_seconds=12.0,
            )
        )  # fmt: skip
    requests = report.to_json()["requests"]
    assert requests["stalled"] > 0
    # The stand-in cuts off whoever has taken nothing for some seconds, and those alone.
    assert sum(requests["stalled_errors"].values()) == requests["stalled"]
    assert requests["ok"] == requests["sent"] - requests["stalled"]
    assert requests["failed"] == 0
    assert "Stalled" in render(report)


class _Stalled:
    """A stand-in server whose answers are large, and which cuts off a client that takes nothing."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer.transport.set_write_buffer_limits(high=0)
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = json.loads(await reader.readexactly(size))
        if "messages" in body:
            said = {"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": 1}}
            text = json.dumps(said).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        token = {"token": {"id": 1, "text": "x" * 2_000, "special": False}, "generated_text": None}
        try:
            for number in range(60):
                last = {"generated_text": "all", "details": {"generated_tokens": 60}} if number == 59 else {}
                writer.write(b"data:" + json.dumps({**token, **last}).encode() + b"\n\n")
                async with asyncio.timeout(10):
                    await writer.drain()
        except (TimeoutError, ConnectionError):
            writer.transport.abort()
        else:
            writer.close()


async def test_an_https_endpoint_is_believed_by_its_authority_alone(
    engine: Any, make_gateway: Callable[..., Any], certificate: tuple[Path, Path]
) -> None:
    cert, private = certificate
    made = make_gateway(engine.url, BERTH_TLS_CERT_FILE=str(cert), BERTH_TLS_KEY_FILE=str(private))
    url = f"https://127.0.0.1:{made.port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/ready", verify=False).status_code == 200  # noqa: S501 - only whether it is up
        except httpx.TransportError:
            return False

    await asyncio.to_thread(wait_for, ready, "the gateway is ready")
    believed = settings(gateway=made, endpoint=url, ca=cert, server_name=NAME, duration_seconds=1.0)
    found = (await run(believed)).to_json()["requests"]
    assert found["ok"] == found["sent"] > 0
    # The name in the certificate is not the address, and nobody else vouches for it.
    for wrong in (replace(believed, server_name=""), replace(believed, ca=None)):
        with pytest.raises(EndpointRefused, match=r"certificate is not believed.*--ca FILE"):
            await run(wrong)


async def test_results_are_series_in_prometheus(gateway: Any, prometheus: str) -> None:
    to = Recording(url=prometheus, labels={"site": "here", "model": "smollm2"}, seconds=0.5)
    report = await run(settings(gateway, profile="stalling", rate=10.0, recording=to))
    found = report.to_json()
    assert report.recorded is not None
    assert report.recorded["problem"] is None
    one_run = report.recorded["run"]
    assert f'run="{one_run}"' in render(report)

    def value(query: str) -> float:
        answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}).json()
        (sample,) = answer["data"]["result"]
        return float(sample["value"][1])

    chosen = f'{{job="berth-load",profile="stalling",run="{one_run}",site="here",model="smollm2"}}'
    for result in ("ok", "stalled"):
        of = chosen.replace("}", f',result="{result}"}}')
        assert value(f"sum(berth_load_requests_total{of})") == found["requests"][result]
    assert value(f"berth_load_tokens_total{chosen}") == found["tokens"]["generated"]
    assert value(f"berth_load_requests_in_flight{chosen}") == 0
    for name, part in (
        ("latency", "latency_seconds"),
        ("time_to_first_token", "time_to_first_token_seconds"),
        ("inter_token_latency", "between_tokens_seconds"),
    ):
        assert value(f"berth_load_{name}_seconds_count{chosen}") == found[part]["count"]
    total = found["latency_seconds"]["mean"] * found["latency_seconds"]["count"]
    assert value(f"berth_load_latency_seconds_sum{chosen}") == pytest.approx(total)
    assert value(f'berth_load_latency_seconds_bucket{chosen[:-1]},le="+Inf"}}') == found["requests"]["ok"]


async def test_results_go_through_an_api_server_where_only_the_cluster_reaches_prometheus(
    gateway: Any, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    watcher = Watcher("berth-monitoring", "berth-prometheus", 9090)
    with monitoring.prometheus(tmp_path, {}, behind=(watcher.proxy_path, *certificate)) as server:
        entries = {
            "clusters": [{"name": "c", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        }
        to = Recording(url=watcher.proxy_path, kubeconfig=json.dumps(entries), context="x", seconds=0.5)
        report = await run(settings(gateway, recording=to))
        assert report.recorded is not None
        assert report.recorded["problem"] is None
        async with KubeReader(await read_access(json.dumps(entries), "x")) as reader:
            query = urlencode({"query": f'berth_load_tokens_total{{run="{report.recorded["run"]}"}}'})
            answer = await fetch(reader, watcher, f"/api/v1/query?{query}")
    (sample,) = answer["data"]["result"]
    assert float(sample["value"][1]) == report.tally.tokens


async def test_a_receiver_that_is_not_there_is_said_and_harms_no_load(gateway: Any) -> None:
    nobody = Recording(url=f"http://127.0.0.1:{free_port()}", seconds=0.2)
    report = await run(settings(gateway, recording=nobody, duration_seconds=1.0))
    assert report.to_json()["requests"]["ok"] == report.tally.sent > 0
    assert "Recorded   not, or not all: http://127.0.0.1:" in " ".join(render(report).split("\n"))
    refusing = Recording(url=gateway.url, seconds=0.2)
    report = await run(settings(gateway, recording=refusing, duration_seconds=1.0))
    assert report.recorded is not None
    # Not with the endpoint's key, either.
    assert "/api/v1/write answered 401: " in report.recorded["problem"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"profile": "monday"}, r"profile is 'monday'; allowed are steady, burst, diurnal, overload"),
        ({"profile": "stalling", "route": "/generate"}, "needs an answer that streams"),
        ({"server_name": "x"}, "which is not encrypted"),
        ({"stall_seconds": 0.0}, "stall_seconds is 0"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(LoadSettingsError, match=said):
        LoadSettings(**{"endpoint": "http://127.0.0.1:1", "rate": 1.0, **wrong})


async def test_a_file_that_is_no_authority_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    asked = LoadSettings(endpoint="https://127.0.0.1:1", rate=1.0, ca=file)
    with pytest.raises(LoadSettingsError, match=r"ca\.pem cannot be used"):
        await run(asked)


async def test_status_takes_its_rates_from_a_real_prometheus(gateway: Any, tmp_path: Path) -> None:
    """That scrapes a real gateway, with the labels that monitoring puts on its series."""
    target = {
        "targets": [f"127.0.0.1:{gateway.metrics_port}"],
        "labels": {"site": "here", "namespace": "berth-here", "model": "smollm2"},
    }
    job = {"job_name": "berth-gateway", "static_configs": [target]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
    with monitoring.prometheus(tmp_path, config) as url:
        at = Watcher("berth-monitoring", "berth-prometheus", 9090, url)
        reader: Any = None  # it has an address of its own, so no API server is asked

        async def rates() -> dict[str, float]:
            return (await measure._asked(reader, at)).get("berth-here/smollm2", {})

        async with asyncio.timeout(120):
            while not (found := await rates()).get("tokens") or not found.get("requests"):
                await run(settings(gateway, duration_seconds=0.5))
        assert found["first_token"] > 0
        assert set(found) == {"requests", "tokens", "first_token"}
