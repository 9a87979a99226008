# noqa: INP001 - a program that Pulumi starts, no package
"""A shop's own program. A model server of Berth's stands beside resources that Berth knows nothing of."""

import os.path

import pulumi
import pulumi_kubernetes as kubernetes
from berth_catalogue.models import Weights, model
from berth_components import ExistingCluster, ModelServer, RestrictedNamespace

config = pulumi.Config()
images = config.require_object("images")
namespace = config.get("namespace") or "shop"
key = config.require_secret("modelKey")
known = model("smollm2-135m-instruct-q4_1")
weights = known.weights
if not isinstance(weights, Weights):
    raise pulumi.RunError(f"the weights of {known.name} come from a hub: see examples/own-node-pool")

# Its contents will do as well as its path, so this is no Path.
kubeconfig = os.path.expanduser(config.require("kubeconfig"))  # noqa: PTH111
cluster = ExistingCluster("cluster", {"kubeconfig": kubeconfig})
on = pulumi.ResourceOptions(provider=cluster.provider)
components = pulumi.ResourceOptions(providers={"kubernetes": cluster.provider})

# The model server has a namespace of its own: it admits restricted pods only.
room = RestrictedNamespace("models", {"name": f"{namespace}-models"}, components)
assistant = ModelServer(
    "assistant",
    {
        "namespace": room.namespace,
        "model": {"key": "smollm2", "id": known.name, "revision": f"sha256:{weights.sha256}"},
        "weights": {
            "image": images["weights"],
            "source": weights.source,
            "file": weights.file,
            "sha256": weights.sha256,
            "size": "256Mi",
        },
        "engine": {
            "name": "llama.cpp",
            "image": images["engine"],
            "resources": {
                "cpu_request": "200m",
                "cpu_limit": "1",
                "memory_request": "320Mi",
                "memory_limit": "640Mi",
            },
        },
        "gateway": {
            "image": images["gateway"],
            "resources": {"cpu_request": "50m", "memory_request": "96Mi", "memory_limit": "256Mi"},
        },
        "concurrency": {"slots": 1, "max_concurrent_requests": 8},
        "tokens": {"max_input": 512, "max_total": 1024},
        # Only the shop's own namespace may ask.
        "access": {"client_namespaces": [namespace]},
        "replicas": config.get_int("replicas") or 2,
        "api_keys": {"shop": key},
    },
    components,
)

# From here on it is the shop's: its namespace, and how its application finds the model.
shop = kubernetes.core.v1.Namespace("shop", metadata={"name": namespace}, opts=on)
settings = kubernetes.core.v1.ConfigMap(
    "settings",
    metadata={"name": "assistant", "namespace": shop.metadata.name},
    data={"MODEL_URL": assistant.url, "MODEL": known.name},
    opts=on,
)
kubernetes.core.v1.Secret(
    "key",
    metadata={"name": "assistant-key", "namespace": shop.metadata.name},
    string_data={"MODEL_KEY": key},
    opts=on,
)

pulumi.export("url", assistant.url)
pulumi.export("settings", settings.metadata.name)
