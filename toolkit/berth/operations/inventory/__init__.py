"""What a cluster has, and whether it fits what a stack asks; read through a kubeconfig, nothing is changed.

    found = await inspect(kubeconfig, context)     # nodes, accelerators, device plugins, storage, network, …
    findings = compare(found, asked)               # each: object, found, wanted, remedy
    print(page("onprem", found, findings))         # 80 columns

What could not be read is unknown: it is said, and never counts as fitting.
"""

from berth.operations.inventory.asked import AskedModel, AskedPool, AskedSite
from berth.operations.inventory.compare import compare
from berth.operations.inventory.compare_demand import free_accelerators
from berth.operations.inventory.facts import (
    DevicePluginFound,
    Holder,
    Inventory,
    Node,
    NotRead,
    StorageClass,
    Taint,
)
from berth.operations.inventory.findings import Finding, State, exit_code
from berth.operations.inventory.read import inspect, unreachable
from berth.operations.inventory.report import as_json, page

__all__ = [
    "AskedModel",
    "AskedPool",
    "AskedSite",
    "DevicePluginFound",
    "Finding",
    "Holder",
    "Inventory",
    "Node",
    "NotRead",
    "State",
    "StorageClass",
    "Taint",
    "as_json",
    "compare",
    "exit_code",
    "free_accelerators",
    "inspect",
    "page",
    "unreachable",
]
