"""A router in front of several sites: what is declared in which cluster, and what it is told."""

from __future__ import annotations

import base64
import importlib.util
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth_agents.hybrid import documents, weights
from berth_agents.router import overlay
from berth_agents.router.document import parse
from berth_stacks.errors import SettingsError
from berth_stacks.hybrid import token_of

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]


def _rules() -> Any:
    """The stack of the test of its rules, beside this one; tests are no package."""
    spec = importlib.util.spec_from_file_location(
        "hybrid_rules", Path(__file__).with_name("test_hybrid_rules.py")
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rules = _rules()
HYBRID = rules.HYBRID
ROLES = ("model-server", "engine-llama-cpp", "weights-smollm2", "metrics-adapter", "router", "envoy")
IMAGES = {"berth:images": json.dumps({"refs": {role: f"registry.example/{role}:1" for role in ROLES}})}
TLS = {"secret": "gateway-tls", "serverName": "sites.internal", "caSecret": "authority"}


def named(done: Any, name: str) -> Json:
    (found,) = [one for one in done.resources if one.name == name]
    return {**found.inputs, "provider": found.provider}


@pytest.fixture
def hybrid(run: Callable[..., Any]) -> Callable[..., Any]:
    def start(changes: Json | None = None, extra: Json | None = None, **options: Any) -> Any:
        return run(rules.text(changes), {**rules.KEYS, **IMAGES, **(extra or {})}, "mixed", **options)

    return start


def test_each_site_has_its_model_and_reporter_in_its_own_cluster(hybrid: Any) -> None:
    done = hybrid()
    for site in ("home", "cloud"):
        for name in (f"{site}-chat-deployment", f"{site}-front-report-deployment"):
            assert f"::{site}-provider::" in named(done, name)["provider"]
    for name in ("home-front-deployment", "home-front-hybrid-deployment"):
        assert "::home-provider::" in named(done, name)["provider"]
    assert len([one for one in done.resources if one.typ == "berth:hybrid:HybridController"]) == 1


def test_the_router_prefers_in_order_and_fails_over(hybrid: Any) -> None:
    document = parse(named(hybrid(preview=True), "home-front-document")["data"]["router.json"])
    assert document.variants["home"].backends == ("home", "cloud")
    assert document.variants["cloud"].backends == ("cloud", "home")
    assert document.variants["bank-home"].backends == ("home",)
    home, cloud = document.backends["home"], document.backends["cloud"]
    assert home.service
    assert home.service.name == "chat"
    assert home.asked
    assert cloud.hosts == (cloud.hosts[0].__class__("198.18.1.2", 30081),)
    bank, last = document.routes
    assert (bank.name, bank.match.keys, bank.weights) == ("bank", ("bank",), {"bank-home": 10_000})
    assert (last.name, last.weights) == ("all", {"home": 10_000, "cloud": 0})
    assert document.retries.resets


def test_sites_beyond_admit_the_router_alone(hybrid: Any) -> None:
    done = hybrid({f"{HYBRID}.beyond.tls": TLS})
    service = named(done, "cloud-chat-service")["spec"]
    assert (service["type"], service["ports"][0]["nodePort"]) == ("NodePort", 30081)
    assert service["ports"][0]["appProtocol"] == "https"
    report = named(done, "cloud-front-report-service")["spec"]
    assert (report["type"], report["ports"][0]["nodePort"]) == ("NodePort", 30082)
    for name in ("cloud-chat-network", "cloud-front-report-network"):
        first = named(done, name)["spec"]["ingress"][0]
        assert [peer["ipBlock"]["cidr"] for peer in first["from"]] == ["198.18.0.0/24"]
    # At home nobody comes past the router, and only its controller asks.
    assert named(done, "home-chat-service")["spec"]["type"] == "ClusterIP"
    (way,) = named(done, "home-front-report-network")["spec"]["ingress"]
    labels = {"app.kubernetes.io/name": "hybrid-controller", "app.kubernetes.io/instance": "front"}
    assert way["from"] == [{"podSelector": {"matchLabels": labels}}]
    # A reporter reads the gateways' metrics.
    for site in ("home", "cloud"):
        rules_of = named(done, f"{site}-chat-network")["spec"]["ingress"]
        readers = next(rule["from"] for rule in rules_of if rule["ports"][0]["port"] == 9000)
        assert {"app.kubernetes.io/name": "site-reporter", "app.kubernetes.io/instance": "front"} in [
            peer.get("podSelector", {}).get("matchLabels") for peer in readers
        ]
    document = parse(named(done, "home-front-document")["data"]["router.json"])
    tls = document.backends["cloud"].tls
    assert tls
    assert (tls.server_name, tls.ca_file) == ("sites.internal", "/etc/berth-router-ca/0/ca.crt")


def test_gateways_at_home_may_serve_by_https_too(hybrid: Any) -> None:
    own = {"models.chat.gateway": {"tlsSecret": "cert", "tlsCaSecret": "house"}}
    done = hybrid({f"{HYBRID}.beyond.tls": TLS, **own})
    backends = parse(named(done, "home-front-document")["data"]["router.json"]).backends
    found = {key: (one.tls.server_name, one.tls.ca_file) for key, one in backends.items() if one.tls}
    assert found == {
        "home": ("chat.berth-mixed.svc", "/etc/berth-router-ca/0/ca.crt"),
        "cloud": ("sites.internal", "/etc/berth-router-ca/1/ca.crt"),
    }
    pod = named(done, "home-front-deployment")["spec"]["template"]["spec"]
    secrets = [one["secret"]["secretName"] for one in pod["volumes"] if one["name"].startswith("ca-")]
    assert secrets == ["house", "authority"]
    assert done.outputs["routers"]["front"]["sites"]["home"]["url"] == "https://chat.berth-mixed.svc"
    # Beyond it is what the router says.
    (tls,) = [
        one["secret"]["secretName"]
        for one in named(done, "cloud-chat-deployment")["spec"]["template"]["spec"]["volumes"]
        if one["name"] == "tls"
    ]
    assert tls == "gateway-tls"


def test_the_controller_is_told_what_replicas_cost(hybrid: Any) -> None:
    done = hybrid({f"{HYBRID}.beyond.tls": TLS})
    told = json.loads(named(done, "home-front-hybrid-document")["data"]["hybrid.json"])
    home, cloud = told["sites"]
    assert home == {
        "name": "home",
        "url": "http://front-report.berth-mixed.svc:8080",
        "costPerReplicaHour": 0,
        "mostReplicas": 3,
        "caFile": None,
        "serverName": None,
    }
    assert cloud == {
        "name": "cloud",
        "url": "https://198.18.1.2:30082",
        "costPerReplicaHour": 1.25,
        "mostReplicas": 3,
        "caFile": "/etc/berth-hybrid-ca/0/ca.crt",
        "serverName": "sites.internal",
    }
    assert told["policy"]["costCapPerHour"] == 4
    assert told["routes"] == {"bank": ["home"], "all": ["home", "cloud"]}
    weights = named(done, "home-front-hybrid-weights")
    assert weights["metadata"]["name"] == "front-weights"
    assert "data" not in weights


def test_controller_reporter_and_router_read_what_is_declared(hybrid: Any) -> None:
    done = hybrid({f"{HYBRID}.beyond.tls": TLS}, preview=True)
    told = documents.hybrid(named(done, "home-front-hybrid-document")["data"]["hybrid.json"])
    assert [place.site.name for place in told.places] == ["home", "cloud"]
    for site in ("home", "cloud"):
        data = named(done, f"{site}-front-report-document")["data"]
        (text,) = data.values()
        models = documents.served(text)
        assert [*models] == [told.model] == ["chat"]
        deployment = named(done, f"{site}-chat-deployment")["spec"]
        labels = deployment["template"]["metadata"]["labels"]
        assert models["chat"].selector.items() <= labels.items()
        containers = deployment["template"]["spec"]["containers"]
        assert models["chat"].port in {port["name"] for one in containers for port in one.get("ports", [])}
    # What the one writes the other takes, for every route.
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    router = parse(named(done, "home-front-document")["data"]["router.json"])
    written = weights.text_of({"home": 7_000, "cloud": 3_000}, told, now)
    bank, last = overlay.overlaid(router, written, now).routes
    assert (bank.weights, last.weights) == ({"bank-home": 10_000}, {"home": 7_000, "cloud": 3_000})
    assert weights.weights_in(written, told, now) == {"home": 7_000, "cloud": 3_000}


def _tokens(done: Any) -> set[str]:
    names = ("home-front-report-token", "cloud-front-report-token", "home-front-hybrid-token")
    found = [named(done, name)["data"]["value"]["token"] for name in names]
    return {base64.b64decode(one).decode() for one in found}


def test_all_sites_share_one_token_that_follows_the_keys(hybrid: Any) -> None:
    keys = json.loads(rules.KEYS["berth:apiKeys"])
    assert _tokens(hybrid()) == {token_of(keys)}
    assert token_of(keys) != token_of({**keys, "other": "canary-0123456789abcdef-2"})
    own = "a-token-of-my-own-that-is-long-enough"
    assert _tokens(hybrid(extra={"berth:siteToken": own}, secret=("berth:apiKeys", "berth:siteToken"))) == {
        own
    }


def test_a_token_must_be_long_and_is_asked_for_where_keys_are_unknown(load: Callable[..., Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(rules.text(), {**rules.KEYS, "berth:siteToken": "short-canary"}, "mixed", ("berth:siteToken",))
    assert "berth:siteToken is not as it should be; allowed: 32 to 256 printable" in str(caught.value)
    assert "short-canary" not in str(caught.value)
    elsewhere = {"apiKeysSecret": "keys", f"{HYBRID}.residency": []}
    found = [str(one) for one in load(rules.text(elsewhere), {}, "mixed").findings]
    assert any(one.startswith("berth:siteToken is missing") for one in found)
    own = {"berth:siteToken": "a-token-of-my-own-that-is-long-enough"}
    assert not [one for one in load(rules.text(elsewhere), own, "mixed").findings if "siteToken" in str(one)]


def test_the_output_says_where_everything_is(hybrid: Any) -> None:
    out = hybrid().outputs["routers"]["front"]
    assert out["models"] == ["chat"]
    assert out["weightsConfigMap"] == "front-weights"
    assert out["controller"] == {"namespace": "berth-mixed", "deployment": "front-hybrid"}
    assert out["costCapPerHour"] == 4
    assert out["residency"] == [{"name": "bank", "keys": ["bank"], "headers": {}, "sites": ["home"]}]
    cloud = out["sites"]["cloud"]
    assert (cloud["backend"], cloud["url"]) == ("cloud", "http://198.18.1.2:30081")
    assert cloud["costPerReplicaHour"] == 1.25
    assert cloud["reporter"]["url"] == "http://198.18.1.2:30082"
    assert (cloud["reporter"]["deployment"], cloud["reporter"]["tokenSecret"]) == (
        "front-report",
        "front-report",
    )
    assert out["sites"]["home"]["url"] == "http://chat.berth-mixed.svc"


def test_behind_load_balancers_addresses_come_later(hybrid: Any) -> None:
    changes = {f"{HYBRID}.beyond.service": {"type": "LoadBalancer"}}
    document = parse(named(hybrid(changes), "home-front-document")["data"]["router.json"])
    # The stand-in for a cloud gives none, so the name is one that nobody has.
    assert [(one.address, one.port) for one in document.backends["cloud"].hosts] == [("pending.invalid", 80)]
    ranges = named(hybrid(changes), "cloud-front-report-service")["spec"]["loadBalancerSourceRanges"]
    assert ranges == ["198.18.0.0/24"]


def test_names_beforehand_are_known_in_a_preview(hybrid: Any) -> None:
    service = {"type": "LoadBalancer", "domain": "sites.internal"}
    done = hybrid({f"{HYBRID}.beyond.service": service}, preview=True)
    document = parse(named(done, "home-front-document")["data"]["router.json"])
    assert [one.address for one in document.backends["cloud"].hosts] == ["cloud.sites.internal"]
    told = json.loads(named(done, "home-front-hybrid-document")["data"]["hybrid.json"])
    assert told["sites"][1]["url"] == "http://report-cloud.sites.internal:8080"
    for name, host in (("chat", "cloud"), ("front-report", "report-cloud")):
        annotations = named(done, f"cloud-{name}-service")["metadata"]["annotations"]
        assert annotations["external-dns.alpha.kubernetes.io/hostname"] == f"{host}.sites.internal"


def test_a_name_that_is_an_example_is_asked_for(load: Callable[..., Any]) -> None:
    service = {"type": "LoadBalancer", "domain": "sites.example.org"}
    found = load(rules.text({f"{HYBRID}.beyond.service": service}), rules.KEYS, "mixed").findings
    (said,) = [one for one in found if "example" in one.text]
    assert str(said).startswith(f"berth:{HYBRID}.beyond.service.domain is sites.example.org, an example")
    assert said.blocks == "everywhere"


def test_a_site_that_leaves_the_program_takes_everything_with_it(hybrid: Any) -> None:
    changes = {"models.chat.sites": ["home"], "sites.cloud": None, "routers": {}}
    done = hybrid(changes)
    assert not [one for one in done.resources if "cloud" in one.name or "report" in one.name]


def test_a_site_beyond_may_be_reached_another_way(hybrid: Any, load: Callable[..., Any]) -> None:
    third = {
        f"{HYBRID}.sites": ["home", "cloud", "lab"],
        "sites.lab": {"cluster": {"kubeconfig": "l"}, "nodeAddress": "198.18.2.2"},
        "models.chat.sites": ["home", "cloud", "lab"],
        f"{HYBRID}.beyond.services": {
            "cloud": {
                "type": "LoadBalancer",
                "domain": "sites.internal",
                "annotations": {"a.internal/b": "c"},
            }
        },
    }
    done = hybrid(third)
    cloud, lab = (named(done, f"{site}-chat-service") for site in ("cloud", "lab"))
    assert (cloud["spec"]["type"], lab["spec"]["type"]) == ("LoadBalancer", "NodePort")
    assert cloud["metadata"]["annotations"]["a.internal/b"] == "c"
    assert cloud["metadata"]["annotations"]["external-dns.alpha.kubernetes.io/hostname"] == (
        "cloud.sites.internal"
    )
    assert "a.internal/b" not in (lab["metadata"].get("annotations") or {})
    assert {port["nodePort"] for port in lab["spec"]["ports"]} == {30081}
    told = parse(named(done, "home-front-document")["data"]["router.json"])
    where = {
        name: [(host.address, host.port) for host in told.backends[name].hosts] for name in ("cloud", "lab")
    }
    assert where == {"cloud": [("cloud.sites.internal", 80)], "lab": [("198.18.2.2", 30081)]}
    sites = documents.hybrid(named(done, "home-front-hybrid-document")["data"]["hybrid.json"]).places
    assert [one.url for one in sites[1:]] == [
        "http://report-cloud.sites.internal:8080", "http://198.18.2.2:30082"
    ]  # fmt: skip
    # Two sites in one cluster cannot share a port of its nodes, whoever says it.
    with pytest.raises(SettingsError, match=r"beyond\.service\.type is NodePort; allowed: sites beyond in a"):
        load(
            rules.text({**third, "sites.lab.cluster": {"kubeconfig": "c"}, f"{HYBRID}.beyond.services": {}}),
            rules.KEYS,
            "mixed",
        )
