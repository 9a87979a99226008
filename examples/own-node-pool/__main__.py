# noqa: INP001 - a program that Pulumi starts, no package
"""vLLM on a pool of nodes that this program brings along: see coreweave.py."""

import os.path

import pulumi
from berth_catalogue.accelerators import accelerator
from berth_catalogue.engines import engine
from berth_components import ExistingCluster, ModelServer, RestrictedNamespace
from coreweave import CoreWeavePool

config = pulumi.Config()
images = config.require_object("images")
pins = config.require_object("weights")

# Its contents will do as well as its path, so this is no Path.
kubeconfig = os.path.expanduser(config.require("kubeconfig"))  # noqa: PTH111
cluster = ExistingCluster("cluster", {"kubeconfig": kubeconfig})
on = pulumi.ResourceOptions(providers={"kubernetes": cluster.provider})

pool = CoreWeavePool(
    "h100",
    {
        "accelerator": "nvidia-h100-80gb",
        "accelerators_per_node": 8,
        "min_nodes": config.get_int("minNodes") or 1,
        "max_nodes": config.get_int("maxNodes") or 4,
        "capacity_type": config.get("capacityType") or "on-demand",
        "instance_type": config.require("instanceType"),
    },
    on,
)
room = RestrictedNamespace("models", {}, on)
vllm = engine("vllm").build(accelerator("nvidia-h100-80gb").resource)
server = ModelServer(
    "chat",
    {
        "namespace": room.namespace,
        "model": {"key": "chat", "id": pins["repo"], "revision": pins["revision"]},
        "weights": {
            "image": images["gateway"],
            "source": "hub",
            "repo": pins["repo"],
            "revision": pins["revision"],
            "files": pins["files"],
        },
        "engine": {
            "name": "vllm",
            "image": vllm.reference,
            "resources": {"cpu_request": "16", "memory_request": "128Gi", "memory_limit": "256Gi"},
        },
        "gateway": {"image": images["gateway"]},
        "gpu": {"count": 8, "resource": pool.resource_key},
        "placement": pool.placement,
        "concurrency": {"slots": 64, "max_concurrent_requests": 256},
        "tokens": {"max_input": 8192, "max_total": 16384},
        "access": {"client_namespaces": ["apps"]},
        "replicas": 2,
        "api_keys": {"apps": config.require_secret("apiKey")},
    },
    on,
)

pulumi.export("url", server.url)
pulumi.export("replicasAtMost", pool.max_accelerators.apply(lambda most: most // 8))
