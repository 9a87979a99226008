# noqa: INP001 - a program that Pulumi starts, no package
"""A model server with an engine of the team's own: see engine.yaml."""

import os.path
from pathlib import Path

import own_engine
import pulumi
from berth_components import ExistingCluster, ModelServer, RestrictedNamespace

config = pulumi.Config()
images = config.require_object("images")
pins = config.require_object("weights")
tuned = own_engine.read(Path(__file__).with_name("engine.yaml"), images.get("engine"))

# Its contents will do as well as its path, so this is no Path.
kubeconfig = os.path.expanduser(config.require("kubeconfig"))  # noqa: PTH111
cluster = ExistingCluster("cluster", {"kubeconfig": kubeconfig})
on = pulumi.ResourceOptions(providers={"kubernetes": cluster.provider})
room = RestrictedNamespace("models", {}, on)
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
        "engine": tuned.args(),
        "probes": tuned.probes(),
        "gateway": {"image": images["gateway"]},
        "gpu": {"count": 1},
        "concurrency": {"slots": 32, "max_concurrent_requests": 128},
        "tokens": {"max_input": 4096, "max_total": 8192},
        "access": {"client_namespaces": ["apps"]},
        "replicas": 2,
        "api_keys": {"apps": config.require_secret("apiKey")},
    },
    on,
)

pulumi.export("url", server.url)
pulumi.export("engine", tuned.title)
