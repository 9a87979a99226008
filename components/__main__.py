# noqa: INP001 - Pulumi starts the folder that PulumiPlugin.yaml is in
"""The components as a Pulumi provider, so that programs in other languages can use them.

Started by the Pulumi engine with its address (see PulumiPlugin.yaml). The schema comes from the args'
TypedDicts; names become camelCase and every token is `berth:index:<Component>`.
"""

import importlib
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

import pulumi
from berth_components import ArgumentError
from pulumi.errors import InputPropertyError
from pulumi.provider import ConstructResult, main
from pulumi.provider.experimental.analyzer import PropertyDefinition
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.provider.experimental.util import camel_case
from pulumi.provider.server import ComponentInitError

NAME = "berth"
VERSION = "0.1.0"
# The clouds' modules import the clouds' SDKs, which a team without that cloud need not have.
MODULES = {
    "berth_components": (
        "Autoscaler",
        "ExistingCluster",
        "HybridController",
        "KedaAutoscaler",
        "MetricsAdapter",
        "ModelServer",
        "RestrictedNamespace",
        "Router",
        "SiteReporter",
    ),
    "berth_components.device_plugin": ("DevicePlugin",),
    "berth_components.own_node_pool": ("OwnNodePool",),
    "berth_components.aws": (
        "ClusterAutoscaler",
        "EksCluster",
        "EksNodePool",
        "EksWorkloadIdentity",
        "SageMakerEndpoint",
    ),
    "berth_components.gcp": ("GkeCluster", "GkeNodePool", "GkeWorkloadIdentity"),
}
_SDKS = ("pulumi_aws", "pulumi_gcp")
_PROVIDER_REF = re.compile(r"#/resources/pulumi:providers:\w+$")


class Components(ComponentProvider):
    """Pulumi's provider of components, with three corrections.

    A reference to a provider is written as Pulumi's schema wants it. An input that does not exist is refused:
    the SDK would pass it over in silence. And what a component refuses is reported as an invalid input, by
    the name that the caller's language uses, instead of a traceback.
    """

    def __init__(self, components: list[type[pulumi.ComponentResource]]) -> None:
        """Derive the schema."""
        super().__init__(components, NAME, None, VERSION)
        schema = _with_provider_refs(json.loads(self.schema or "{}"))
        schema["description"] = "Language models on Kubernetes: clusters, GPU pools, model servers"
        schema["license"] = "Apache-2.0"
        self.schema = json.dumps(schema)

    def construct(
        self,
        name: str,
        resource_type: str,
        inputs: pulumi.Inputs,
        options: pulumi.ResourceOptions | None = None,
    ) -> ConstructResult:
        """Declare one component."""
        try:
            return super().construct(name, resource_type, inputs, options)
        except ComponentInitError as error:
            if not isinstance(error.inner, ArgumentError):
                raise
            path = ".".join(camel_case(part) for part in error.inner.argument.split("."))
            raise InputPropertyError(path, str(error.inner)) from None

    def map_input_properties(
        self,
        inputs: pulumi.Inputs,
        properties: dict[str, PropertyDefinition],
        mapping: dict[str, str],
        component_name: str,
        property_path: str,
    ) -> pulumi.Inputs:
        """Translate names, and refuse those that do not exist."""
        for key in inputs if isinstance(inputs, Mapping) else ():
            if key not in properties and not key.startswith("__"):
                where = f"{property_path}.{key}" if property_path else key
                known = ", ".join(sorted(properties))
                reason = f"{component_name} has no input '{where}'; there are: {known}"
                raise InputPropertyError(where, reason)
        return super().map_input_properties(inputs, properties, mapping, component_name, property_path)


def _with_provider_refs(value: Any) -> Any:
    """The schema with `…/schema.json#/provider` where the analyzer wrote a resource's reference."""
    if isinstance(value, dict):
        return {
            key: _PROVIDER_REF.sub("#/provider", item) if key == "$ref" else _with_provider_refs(item)
            for key, item in value.items()
        }
    return [_with_provider_refs(item) for item in value] if isinstance(value, list) else value


def components() -> list[type[pulumi.ComponentResource]]:
    """Every component whose SDK is installed; which ones are left out is said on standard error."""
    found: list[type[pulumi.ComponentResource]] = []
    for module, names in MODULES.items():
        try:
            home = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in _SDKS:
                raise
            sys.stderr.write(f"berth: without {', '.join(names)}: {error.name} is not installed\n")
            continue
        found += [getattr(home, name) for name in names]
    return found


if __name__ == "__main__":
    main(Components(components()), sys.argv[1:])
