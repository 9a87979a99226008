"""What teams import, and what Pulumi offers to other languages, changes on purpose only."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import berth_components
import pytest
from pulumi.provider.experimental.analyzer import Analyzer, PropertyDefinition

if TYPE_CHECKING:
    from pathlib import Path

    import pulumi

PUBLIC = [
    *("AccessArgs", "ArgumentError", "Autoscaler", "AutoscalerArgs", "ConcurrencyArgs", "EngineArgs"),
    *(
        "ExistingCluster",
        "ExistingClusterArgs",
        "GatewayArgs",
        "GpuArgs",
        "KedaAutoscaler",
        "KedaAutoscalerArgs",
        "MetricsAdapter",
        "MetricsAdapterArgs",
    ),
    *("Monitoring", "MonitoringArgs"),
    *("ModelArgs", "ModelServer", "ModelServerArgs", "PlacementArgs", "ProbesArgs", "ResourcesArgs"),
    *("RestrictedNamespace", "RestrictedNamespaceArgs", "RolloutArgs", "ScaleDownArgs", "ScaleUpArgs"),
    *("ServiceArgs", "TerminationArgs", "TokensArgs", "TolerationArgs", "WeightsArgs"),
    *("DevicePlugin", "DevicePluginArgs", "NodePool", "NodePoolArgs", "OwnNodePool", "OwnNodePoolArgs"),
    *("HybridAccessArgs", "HybridController", "HybridControllerArgs", "HybridPolicyArgs", "HybridSiteArgs"),
    *("ReportedModelArgs", "SiteReporter", "SiteReporterAccessArgs", "SiteReporterArgs"),
    "SiteReporterServiceArgs",
    *("Router", "RouterAccessArgs", "RouterArgs", "RouterBackendArgs", "RouterEjectionArgs"),
    *("RouterEntranceArgs", "RouterHostArgs", "RouterLimitArgs", "RouterRetriesArgs", "RouterRouteArgs"),
    *("RouterTerminationArgs", "RouterTimeoutsArgs", "RouterVariantArgs", "RouterWakesArgs"),
    *("PodTolerationArgs", "PoolSpec", "ServiceAccountArgs", "TaintArgs", "WeightsFileArgs", "read_pool"),
]
# Type token, inputs and outputs of each component; a "?" marks what may be left out.
COMPONENTS: dict[str, tuple[list[str], list[str]]] = {
    "Autoscaler": (
        [
            *("namespace", "deployment", "server", "maxReplicas", "minReplicas?", "wakes?", "metric?"),
            *("target?", "runningTarget?", "scaleUp?", "scaleDown?", "gpuCount?", "name?"),
        ],
        ["name"],
    ),
    "DevicePlugin": (
        [
            *("kind", "nodeSelectors?", "tolerations?", "image?", "namespace?", "runtimeClass?"),
            *("migStrategy?", "apiServerCidrs?", "priorityClass?", "resources?", "imagePullSecrets?"),
        ],
        ["namespace", "daemonSet", "resourceKey"],
    ),
    "ExistingCluster": (["kubeconfig", "context?"], ["provider", "context"]),
    "HybridController": (
        [
            *("namespace", "image", "router", "model", "sites", "policy", "token", "routes?", "access?"),
            *("placement?", "dns?", "imagePullSecrets?"),
        ],
        ["name", "namespace", "weights"],
    ),
    "KedaAutoscaler": (
        [
            *("namespace", "deployment", "server", "prometheus", "maxReplicas", "minReplicas?", "wakes?"),
            *("target?", "runningTarget?", "pollingSeconds?", "scaleUp?", "scaleDown?", "name?"),
        ],
        ["name", "autoscaler"],
    ),
    "MetricsAdapter": (
        [
            *("mode?", "namespace?", "image?", "replicas?", "apiServerCidrs?", "prometheusNamespace?"),
            "imagePullSecrets?",
        ],
        ["namespace", "apiService"],
    ),
    "ModelServer": (
        [
            *(
                "namespace",
                "model",
                "weights",
                "engine",
                "gateway",
                "concurrency",
                "tokens",
                "access",
                "name?",
            ),
            *(
                "replicas?",
                "autoscaled?",
                "sleeps?",
                "gpu?",
                "placement?",
                "dns?",
                "service?",
                "termination?",
            ),
            *("probes?", "rollout?", "apiKeys?", "apiKeysSecret?", "allowAnonymous?", "imagePullSecrets?"),
            *("serviceAccount?", "variant?"),
        ],
        ["name", "namespace", "deployment", "service", "selector", "url", "nodePort", "address"],
    ),
    "OwnNodePool": (
        [
            *("accelerator", "acceleratorsPerNode", "maxNodes", "minNodes?", "capacityType?", "labels?"),
            "taints?",
        ],
        ["nodeSelector", "tolerations", "resourceKey", "maxAccelerators"],
    ),
    "RestrictedNamespace": (["name?"], ["namespace"]),
    "Router": (
        [
            *("namespace", "image", "envoyImage", "variants", "routes", "access", "name?", "backends?"),
            *("replicas?", "entrance?", "apiKeys?", "limit?", "keyLimits?", "timeouts?", "retries?"),
            *(
                "ejection?",
                "termination?",
                "accessLog?",
                "resources?",
                "placement?",
                "dns?",
                "imagePullSecrets?",
            ),
        ],
        ["name", "namespace", "service", "url", "nodePort", "address"],
    ),
    "SiteReporter": (
        [
            *("namespace", "image", "site", "models", "token", "access", "name?", "service?", "tlsSecret?"),
            *("placement?", "imagePullSecrets?"),
        ],
        ["name", "namespace", "service", "url", "nodePort", "address"],
    ),
}
# The SDK's analysis reads docstrings of the class itself, not of what it inherits.
INHERITED = {"OwnNodePool"}
TOKENS = {
    "Autoscaler": "berth:model:Autoscaler",
    "ExistingCluster": "berth:cluster:ExistingCluster",
    "HybridController": "berth:hybrid:HybridController",
    "MetricsAdapter": "berth:metrics:MetricsAdapter",
    "ModelServer": "berth:model:ModelServer",
    "RestrictedNamespace": "berth:namespace:RestrictedNamespace",
    "Router": "berth:router:Router",
    "SiteReporter": "berth:hybrid:SiteReporter",
}


def test_exported_names() -> None:
    assert sorted(berth_components.__all__) == sorted(PUBLIC)
    assert all(hasattr(berth_components, name) for name in PUBLIC)


def _names(properties: dict[str, PropertyDefinition]) -> list[str]:
    return [name + ("?" if definition.optional else "") for name, definition in properties.items()]


# The SDK leaves a file of its own open while it analyses a provider.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("name", COMPONENTS)
def test_pulumi_can_offer_it_to_other_languages(name: str) -> None:
    """Pulumi's own analysis of the types finds no union and nothing that it does not know."""
    component: type[pulumi.ComponentResource] = getattr(berth_components, name)
    definition = Analyzer("berth").analyze([component])["component_definitions"][name]
    inputs, outputs = COMPONENTS[name]
    assert _names(definition.inputs) == inputs
    assert [text.removesuffix("?") for text in _names(definition.outputs)] == outputs
    described = [*definition.inputs.values(), *definition.outputs.values()]
    assert name in INHERITED or all(found.description for found in described)


def test_type_tokens(root: Path) -> None:
    sources = "".join(path.read_text() for path in (root / "components/berth_components").glob("*.py"))
    for token in TOKENS.values():
        assert f'super().__init__("{token}"' in sources


def test_importing_does_no_work() -> None:
    """No file is read, no process started and no socket opened by an import of ours."""
    program = """
import sys
import pulumi_kubernetes, yaml, importlib.resources
events = []
sys.addaudithook(lambda event, args: events.append((event, args)) if event in
    {"subprocess.Popen", "socket.connect", "os.system"} or
    (event == "open" and str(args[0]).endswith((".yaml", ".json"))) else None)
import berth_components
print(events)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
