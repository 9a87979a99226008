"""What a gateway watches, filters and costs: settings that no request needs to be answered."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.networking import v1 as networking

from berth_components import checks, network
from berth_components import model_server_args as declared
from berth_components.arguments import Arguments, Refusal, combine
from berth_components.model_server_weights import range_without_metadata

FILTERS_DIR = "/etc/berth/filters"
FILTERS = "filters.json"
TLS_DIR = "/etc/berth/tls"
PAYLOAD_BYTES = 2_000_000
"""Largest body of a request where nothing else is said: TGI's."""
_MOST_BYTES = 900_000
"""Of a ConfigMap, which holds a megabyte."""
_CHECKS = ("pattern", "length", "http")


@dataclass(frozen=True, kw_only=True)
class GatewayExtras:
    """What `GatewayArgs` ask for beyond serving.

    Attributes:
        config: environment of the gateway.
        filters: the file of filters, as JSON; None where there are none.
        tls_secret: Secret with the certificate; None is plain HTTP.
        egress: where the pod may go for traces and moderation.
    """

    config: Mapping[str, pulumi.Input[str]]
    filters: pulumi.Input[str] | None
    tls_secret: pulumi.Input[str] | None
    egress: Sequence[networking.NetworkPolicyEgressRuleArgs]


def read_extras(gateway: Arguments) -> GatewayExtras:
    """Check them.

    Raises:
        ArgumentError: one is not allowed, or contradicts another.
    """
    config: dict[str, pulumi.Input[str]] = {}
    if "cost_per_hour" in gateway:
        cost = gateway.read("cost_per_hour", checks.number(0, 100_000, "US dollars per hour"))
        config["BERTH_COST_PER_HOUR"] = combine(lambda known: f"{known:g}", cost)
    if "log_content" in gateway:
        content = gateway.read("log_content", checks.boolean)
        config["BERTH_LOG_CONTENT"] = combine(lambda known: "true" if known else "false", content)
    egress = [way_out(one) for one in gateway.groups("egress", declared.EgressArgs)]
    if "otlp_endpoint" in gateway:
        if not egress:
            raise gateway.refuse(
                "egress", "nothing", "where the collector is", "name its namespace or range, and its port"
            )
        config["OTLP_ENDPOINT"] = gateway.read(
            "otlp_endpoint", checks.text(r"https?://[^\s/]+(/\S*)?", "a URL, http:// or https://")
        )
    if "trace_sample" in gateway:
        if "otlp_endpoint" not in gateway:
            raise gateway.refuse("trace_sample", "given", "nothing without otlp_endpoint", "remove it")
        sample = gateway.read("trace_sample", checks.number(0, 1, "of all traces"))
        config["BERTH_TRACE_SAMPLE"] = combine(lambda known: f"{known:g}", sample)
    filters = gateway.maybe("filters", _filters)
    if filters is not None:
        config["BERTH_FILTERS_FILE"] = f"{FILTERS_DIR}/{FILTERS}"
    tls_secret = gateway.maybe("tls_secret", checks.dns_label)
    if tls_secret is not None:
        config |= {"BERTH_TLS_CERT_FILE": f"{TLS_DIR}/tls.crt", "BERTH_TLS_KEY_FILE": f"{TLS_DIR}/tls.key"}
    return GatewayExtras(config=config, filters=filters, tls_secret=tls_secret, egress=egress)


def way_out(one: Arguments) -> networking.NetworkPolicyEgressRuleArgs:
    """The rule for a place that `EgressArgs` name.

    Raises:
        ArgumentError: an argument is missing, not allowed, or contradicts another one.
    """
    if ("namespace" in one) == ("cidr" in one):
        raise one.refuse("namespace", "both or neither", "one of namespace and cidr", "name one")
    if "app" in one and "namespace" not in one:
        raise one.refuse("app", "given", "only with namespace", "remove it")
    port = one.read("port", checks.whole_number(1, 65_535))
    if "namespace" in one:
        namespace = one.read("namespace", checks.dns_label)
        if "app" in one:
            app = one.read("app", checks.label_value)
            to = combine(lambda name, label: [network.app_in(name, label)], namespace, app)
        else:
            to = combine(lambda name: network.namespaces([name]), namespace)
    else:
        to = combine(lambda known: network.ranges([known]), one.read("cidr", range_without_metadata))
    return networking.NetworkPolicyEgressRuleArgs(
        to=to, ports=[networking.NetworkPolicyPortArgs(port=port, protocol="TCP")]
    )


def _filters(value: Any) -> str:
    """A list of filters as the gateway's file of JSON; what is in their checks, the gateway itself judges."""
    allowed = "a list of mappings with name, action, stages, and one of " + ", ".join(_CHECKS)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise Refusal(allowed)
    for one in value:
        if not isinstance(one, Mapping) or not {"name", "action", "stages"} <= set(one):
            raise Refusal(allowed)
        if sum(kind in one for kind in _CHECKS) != 1:
            raise Refusal(f"{allowed}; {one['name']!r} has several or none")
    try:
        text = json.dumps({"filters": [dict(one) for one in value]}, sort_keys=True)
    except TypeError as error:
        raise Refusal(f"what JSON can say: {error}") from None
    if len(text) > _MOST_BYTES:
        raise Refusal(f"at most {_MOST_BYTES} bytes of JSON")
    return text
