"""The adapter as a process, real sockets and certificates; its API server and gateways are stand-ins."""

from __future__ import annotations

import asyncio
import base64
import signal
import ssl
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from berth_agents.metrics_adapter import certificate
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable

NAMESPACE, SERVICE = "berth-system", "berth-metrics-adapter"
SECRET = f"{SERVICE}-tls"
NAMES = (f"{SERVICE}.{NAMESPACE}.svc", f"{SERVICE}.{NAMESPACE}.svc.cluster.local")
API = "/apis/external.metrics.k8s.io/v1beta1"
INSTANCE = {"app.kubernetes.io/instance": "chat"}


def secret(material: certificate.Material, version: str = "1") -> dict[str, Any]:
    keys = {
        "ca.crt": material.ca_bundle,
        "ca.key": material.ca_key,
        "tls.crt": material.certificate,
        "tls.key": material.key,
    }
    return {
        "metadata": {"name": SECRET, "namespace": NAMESPACE, "resourceVersion": version},
        "data": {key: base64.b64encode(value).decode() for key, value in keys.items()},
    }


async def test_answers_like_an_external_metrics_api(world: Any) -> None:
    (await world.gateway(2)).depth = 3
    (await world.gateway(3)).depth = 4
    adapter = await world.adapter()
    status, body = await adapter.metric(**INSTANCE)
    assert status == 200
    assert body["kind"] == "ExternalMetricValueList"
    assert body["apiVersion"] == "external.metrics.k8s.io/v1beta1"
    (item,) = body["items"]
    assert (item["metricName"], item["value"]) == ("berth_queue_depth", "7")
    age = datetime.now(UTC) - datetime.fromisoformat(item["timestamp"])
    assert timedelta(0) <= age < timedelta(seconds=10)
    assert await adapter.stop() == 0


async def test_tells_of_itself(world: Any) -> None:
    gateway = await world.gateway(2)
    gateway.depth = 3
    adapter = await world.adapter()
    before = await told(adapter)
    assert before['berth_adapter_answers_total{metric="berth_queue_depth",outcome="told"}'] == 0
    assert before['berth_adapter_gateways{state="ready"}'] == 1
    assert before["berth_adapter_ready"] == 1
    await adapter.metric(**INSTANCE)
    await adapter.metric(**{"app.kubernetes.io/instance": "nobody"})
    after = await told(adapter)
    assert after['berth_adapter_answers_total{metric="berth_queue_depth",outcome="told"}'] == 1
    assert after['berth_adapter_answers_total{metric="berth_queue_depth",outcome="none"}'] == 1
    assert after['berth_adapter_answer_seconds_total{metric="berth_queue_depth"}'] > 0


async def told(adapter: Any) -> dict[str, float]:
    """The adapter's own series, as Prometheus reads them."""
    url = f"http://127.0.0.1:{adapter.metrics_port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    families = text_string_to_metric_families(text)
    return {
        one.name
        + (
            f"{{{','.join(f'{k}=' + chr(34) + v + chr(34) for k, v in one.labels.items())}}}"
            if one.labels
            else ""
        ): one.value
        for family in families
        for one in family.samples
    }


async def test_discovery(world: Any) -> None:
    adapter = await world.adapter()
    status, groups = await adapter.get("/apis")
    assert status == 200
    assert groups["groups"][0]["preferredVersion"]["groupVersion"] == "external.metrics.k8s.io/v1beta1"
    assert (await adapter.get("/apis/external.metrics.k8s.io"))[1]["kind"] == "APIGroup"
    resources = (await adapter.get(API))[1]
    assert resources["kind"] == "APIResourceList"
    assert [one["name"] for one in resources["resources"]] == ["berth_queue_depth", "berth_running_requests"]
    for path in ("/openapi/v2", "/openapi/v3", "/version", "/apis/other", f"{API}/namespaces/models/cpu"):
        status, body = await adapter.get(path)
        assert (status, body["kind"], body["code"]) == (404, "Status", 404)
    status, body = await adapter.get(f"{API}/namespaces/models/berth_queue_depth?labelSelector=a%20in%20b")
    assert (status, body["reason"]) == (400, "BadRequest")
    assert "'a in b'" in body["message"]


async def test_only_the_front_proxy_may_ask(world: Any, authority: Callable[[str], Any]) -> None:
    await world.gateway(2)
    adapter = await world.adapter()
    for probe in ("/healthz", "/livez", "/readyz"):
        assert (await adapter.get(probe, anonymous=True))[0] == 200
    for path in ("/apis", API, f"{API}/namespaces/models/berth_queue_depth", "/metrics", "/nothing"):
        status, body = await adapter.get(path, anonymous=True)
        assert (status, body["reason"]) == (401, "Unauthorized")
    # Signed by the right CA for somebody else, such as another aggregated API's proxy.
    status, body = await adapter.get(API, certificate=world.proxy.sign("kubelet"))
    assert status == 401
    assert "'kubelet'" in body["message"]
    # The right name, signed by somebody else: not even a handshake.
    with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
        await adapter.get(API, certificate=authority("elsewhere").sign("front-proxy-client"))
    assert (await adapter.get(API))[0] == 200


async def test_a_changed_front_proxy_is_followed_on_open_connections_too(
    world: Any, authority: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    adapter = await world.adapter()
    old_file = world.proxy.sign("front-proxy-client")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(old_file)
    renewed = authority("renewed-ca")
    new_file = renewed.sign("front-proxy-client-2")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=1)) as session:
        url = f"https://127.0.0.1:{adapter.port}{API}"

        async def status() -> int:
            try:
                async with session.get(url) as response:
                    return response.status
            except aiohttp.ClientError:
                return 0

        assert await status() == 200
        world.trust_proxy(renewed, ["front-proxy-client-2"])

        async def refused() -> bool:
            return await status() != 200

        await eventually(refused)
    assert (await adapter.get(API, certificate=new_file))[0] == 200
    world.trust_proxy(renewed, ["another"])

    async def renamed() -> bool:
        return (await adapter.get(API, certificate=new_file))[0] == 401

    await eventually(renamed)
    world.trust_proxy(renewed, [])  # an empty list allows all that the CA signed

    async def allowed() -> bool:
        return (await adapter.get(API, certificate=new_file))[0] == 200

    await eventually(allowed)


async def test_a_renewed_ca_costs_the_front_proxy_no_call(
    world: Any, authority: Callable[[str], Any]
) -> None:
    """Old and new are published together; the call on the proxy's pooled connection must not be lost."""
    adapter = await world.adapter()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(world.proxy.sign("front-proxy-client"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=1)) as session:
        known = len([entry for entry in adapter.log if entry["message"] == "Front proxy known"])
        world.proxy.pem += authority("next-ca").pem
        world.trust_proxy(world.proxy, ["front-proxy-client"])
        while len([entry for entry in adapter.log if entry["message"] == "Front proxy known"]) == known:
            async with session.get(f"https://127.0.0.1:{adapter.port}{API}") as response:
                assert response.status == 200
            await asyncio.sleep(0.05)
        async with session.get(f"https://127.0.0.1:{adapter.port}{API}") as response:
            assert response.status == 200


def _sums_to(adapter: Any, total: int | None) -> Callable[[], Any]:
    """Whether the queue depth that the adapter tells is this; None: whether it tells none."""

    async def holds() -> bool:
        return bool(await adapter.value(**INSTANCE) == total)

    return holds


async def test_pods_come_change_and_go(
    world: Any, make_pod: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    for number in (2, 3, 4):  # more than a page of the stand-in
        (await world.gateway(number)).depth = 1
    adapter = await world.adapter()

    sums_to = partial(_sums_to, adapter)
    await eventually(sums_to(3))
    (await world.gateway(5)).depth = 10
    await eventually(sums_to(13))
    world.kube.put(make_pod("gateway-5", "127.0.0.5", ready=False))
    await eventually(sums_to(3))
    world.kube.put(make_pod("gateway-5", "127.0.0.5"))
    await eventually(sums_to(13))
    world.kube.put(make_pod("gateway-5", "127.0.0.5", terminating=True))
    await eventually(sums_to(3))
    world.kube.remove(world.kube.pods["uid-models-gateway-5"])
    (await world.gateway(6, namespace="elsewhere")).depth = 50
    await eventually(sums_to(3))
    world.kube.put(make_pod("gateway-4", "127.0.0.4", labels={"berth.dev/queue-metrics": "true"}))
    await eventually(sums_to(2))
    for number in (2, 3):
        world.kube.remove(world.kube.pods[f"uid-models-gateway-{number}"])
    await eventually(sums_to(None))
    status, body = await adapter.metric(**INSTANCE)
    assert status == 404
    assert "app.kubernetes.io/instance=chat" in body["message"]


async def test_a_model_without_pods_has_the_queue_that_routers_hold(
    world: Any, eventually: Callable[..., Any]
) -> None:
    router = await world.router(8)
    router.held = {"chat": 3}
    await world.router(9, namespace="elsewhere")
    adapter = await world.adapter()

    sums_to = partial(_sums_to, adapter)
    await eventually(sums_to(3))
    assert await adapter.value("berth_running_requests", **INSTANCE) == 0
    (await world.gateway(2)).depth = 4
    router.held = {"chat": 0}
    await eventually(sums_to(4))
    world.kube.remove(world.kube.pods["uid-models-gateway-2"])
    await eventually(sums_to(0))
    world.kube.remove(world.kube.pods["uid-models-router-8"])
    await eventually(sums_to(None))
    assert (await adapter.metric(**INSTANCE))[0] == 404


async def test_the_watch_survives_expiry_cuts_and_an_api_server_that_is_away(
    world: Any, eventually: Callable[..., Any]
) -> None:
    (await world.gateway(2)).depth = 1
    adapter = await world.adapter()

    async def watched() -> bool:
        return bool(world.kube._listeners)

    sums_to = partial(_sums_to, adapter)
    await eventually(watched)
    lists = world.kube.lists
    world.kube.expire_watches()
    (await world.gateway(3)).depth = 10
    await eventually(sums_to(11))
    assert world.kube.lists > lists
    world.kube.cut_watches()
    await eventually(watched)
    world.kube.failing.add("pods")
    world.kube.cut_watches()

    async def complained() -> bool:
        return any(entry["message"] == "List or watch failed; trying again" for entry in adapter.log)

    await eventually(complained)
    assert await adapter.value(**INSTANCE) == 11  # what it knows still counts
    assert await adapter.ready()
    world.kube.failing.clear()
    await eventually(watched)
    (await world.gateway(4)).depth = 100
    await eventually(sums_to(111))


async def test_is_not_ready_before_it_can_answer_and_says_why(
    world: Any, eventually: Callable[..., Any]
) -> None:
    world.kube.failing |= {"pods", "secrets", "configmaps"}
    adapter = await world.adapter(ready=False)

    async def explained() -> bool:
        text = (await adapter.get("/readyz", anonymous=True))[1]
        return all(word in text for word in ("/api/v1/pods", "certificate", "front proxy", "500"))

    await eventually(explained)
    assert (await adapter.get("/livez", anonymous=True))[0] == 200
    assert (await adapter.get(API, anonymous=True))[0] == 401
    for name in ("pods", "secrets", "configmaps"):
        assert not await adapter.ready()
        world.kube.failing.discard(name)
    await eventually(adapter.ready)


async def test_a_renewed_token_is_taken(world: Any, eventually: Callable[..., Any]) -> None:
    adapter = await world.adapter()
    (world.folder / "token").write_text("token-2\n")
    world.kube.token = "token-2"
    world.kube.cut_watches()
    (await world.gateway(2)).depth = 5

    async def answered() -> bool:
        return bool(await adapter.value(**INSTANCE) == 5)

    await eventually(answered)


async def test_replicas_agree_on_one_certificate_that_survives_restarts(world: Any) -> None:
    adapters = await asyncio.gather(*(world.adapter() for _ in range(3)))
    for adapter in adapters:
        assert (await adapter.get(API, verify=True))[0] == 200
    stored = world.kube.secrets[SECRET]
    assert stored["type"] == "kubernetes.io/tls"
    assert base64.b64decode(stored["data"]["ca.crt"]).decode() == adapters[0].trusted()
    assert {manager for manager, _ in world.kube.applies} == {"berth-metrics-adapter"}
    assert all(body["spec"].keys() == {"caBundle"} for _, body in world.kube.applies)
    for adapter in adapters:
        assert await adapter.stop() == 0
    applied = len(world.kube.applies)
    again = await world.adapter()
    assert (await again.get(API, verify=True))[0] == 200
    assert world.kube.secrets[SECRET] == stored
    assert len(world.kube.applies) == applied


async def test_a_removed_ca_bundle_and_a_remade_apiservice_are_set_right(
    world: Any, eventually: Callable[..., Any]
) -> None:
    world.kube.apiservice = None
    adapter = await world.adapter()  # ready: whoever deploys may wait for that before the APIService is made
    world.kube.own_apiservice()

    async def trusted() -> bool:
        return "caBundle" in world.kube.apiservice["spec"] and (await adapter.get(API, verify=True))[0] == 200

    await eventually(trusted)
    del world.kube.apiservice["spec"]["caBundle"]
    await eventually(trusted)
    world.kube.own_apiservice()
    await eventually(trusted)


async def test_a_foreign_apiservice_is_named_and_left_alone(
    world: Any, eventually: Callable[..., Any]
) -> None:
    world.kube.own_apiservice("keda", "keda-operator-metrics-apiserver")
    # Ready all the same: a deployment that moves the adapter waits for that before it changes the APIService.
    adapter = await world.adapter()

    async def named() -> bool:
        status, text = await adapter.get("/healthz?verbose", anonymous=True)
        return status == 200 and "belongs to keda/keda-operator-metrics-apiserver" in text

    await eventually(named)
    assert await adapter.ready()
    assert any(entry["level"] == "error" and entry.get("state") == "foreign" for entry in adapter.log)
    assert "caBundle" not in world.kube.apiservice["spec"]
    assert not world.kube.applies
    world.kube.own_apiservice()  # its owner gave it up

    async def trusted() -> bool:
        return "caBundle" in world.kube.apiservice["spec"]

    await eventually(trusted)
    assert (await adapter.get("/healthz?verbose", anonymous=True))[1] == "ok\n"


async def test_an_insecure_apiservice_is_named(world: Any, eventually: Callable[..., Any]) -> None:
    world.kube.apiservice["spec"]["insecureSkipTLSVerify"] = True
    adapter = await world.adapter()

    async def named() -> bool:
        return "insecureSkipTLSVerify: true" in (await adapter.get("/healthz?verbose", anonymous=True))[1]

    await eventually(named)
    assert not world.kube.applies


async def test_a_certificate_near_its_end_is_renewed_while_serving(world: Any) -> None:
    then = datetime.now(UTC) - timedelta(days=300)
    old = certificate.issue(NAMES, then)
    world.kube.secrets[SECRET] = secret(old)
    adapter = await world.adapter()
    assert (await adapter.get(API, verify=True))[0] == 200
    data = world.kube.secrets[SECRET]["data"]
    assert base64.b64decode(data["ca.crt"]) == old.ca_bundle
    assert base64.b64decode(data["tls.crt"]) != old.certificate
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        adapter.port,
        ssl=ssl.create_default_context(cadata=adapter.trusted()),
        server_hostname=NAMES[0],
    )
    served = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert ssl.DER_cert_to_PEM_cert(served).encode() == base64.b64decode(data["tls.crt"])
    writer.close()
    del reader


async def test_another_replicas_certificate_is_taken_without_a_restart(
    world: Any, eventually: Callable[..., Any]
) -> None:
    adapter = await world.adapter()
    other = certificate.issue(NAMES, datetime.now(UTC))
    world.kube.secrets[SECRET] = secret(other, "999")

    async def taken() -> bool:
        return bool(adapter.trusted().encode() == other.ca_bundle)

    await eventually(taken)
    assert (await adapter.get(API, verify=True))[0] == 200


async def test_a_deleted_secret_is_written_again_with_what_is_served(
    world: Any, eventually: Callable[..., Any]
) -> None:
    await world.adapter()
    before = world.kube.secrets.pop(SECRET)

    async def written() -> bool:
        return SECRET in world.kube.secrets

    await eventually(written)
    assert world.kube.secrets[SECRET]["data"] == before["data"]


async def test_a_broken_secret_is_named_and_replaced(world: Any) -> None:
    broken = secret(certificate.issue(NAMES, datetime.now(UTC)))
    broken["data"]["tls.key"] = base64.b64encode(b"no key").decode()
    world.kube.secrets[SECRET] = broken
    adapter = await world.adapter()
    assert (await adapter.get(API, verify=True))[0] == 200
    complaint = next(entry for entry in adapter.log if entry["level"] == "error")
    assert "cannot be read" in complaint["problem"]
    assert not any("PRIVATE KEY" in str(entry) for entry in adapter.log)


async def test_sigterm_lets_an_answer_out_and_ends_with_0(world: Any, eventually: Callable[..., Any]) -> None:
    gateway = await world.gateway(2)
    adapter = await world.adapter()
    gateway.mode = "hang"
    asked = asyncio.create_task(adapter.metric(**INSTANCE))

    async def was_asked() -> bool:
        return bool(gateway.asked)

    await eventually(was_asked)
    adapter.process.send_signal(signal.SIGTERM)
    assert (await asked)[0] == 503  # an answer, though a sad one
    assert await adapter.process.wait() == 0


async def test_idle_and_half_open_connections_neither_block_nor_outlive_it(world: Any) -> None:
    await world.gateway(2)
    adapter = await world.adapter()
    held = [
        await asyncio.open_connection("127.0.0.1", adapter.port) for _ in range(50)
    ]  # no handshake follows
    assert (await adapter.metric(**INSTANCE))[0] == 200
    assert await adapter.stop() == 0
    for _, writer in held:
        writer.close()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"BERTH_ADAPTER_NAMESPACE": ""}, "BERTH_ADAPTER_NAMESPACE is ''"),
        ({"BERTH_ADAPTER_SERVICE": "Bad_Name"}, "BERTH_ADAPTER_SERVICE is 'Bad_Name'"),
        ({"BERTH_ADAPTER_PORT": "https"}, "BERTH_ADAPTER_PORT is 'https'"),
        ({"BERTH_ADAPTER_PORT": "70000"}, "0 to 65535"),
        ({"BERTH_ADAPTER_GATEWAY_PORT": "0"}, "1 to 65535"),
        ({"BERTH_LOG_LEVEL": "LOUD"}, "allowed are DEBUG"),
        ({}, "KUBERNETES_SERVICE_HOST"),
        ({"KUBERNETES_SERVICE_HOST": "a", "KUBERNETES_SERVICE_PORT": "1"}, "automountServiceAccountToken"),
    ],
)
async def test_wrong_settings_are_named_and_end_with_2(
    variables: dict[str, str], said: str, tmp_path: Any, run_adapter: Callable[..., Any]
) -> None:
    given = {
        "BERTH_ADAPTER_NAMESPACE": NAMESPACE,
        "BERTH_ADAPTER_SERVICE": SERVICE,
        "BERTH_SERVICE_ACCOUNT_DIR": str(tmp_path),
        **variables,
    }
    code, text = await run_adapter(given)
    assert code == 2
    assert said in text
    assert "Traceback" not in text
