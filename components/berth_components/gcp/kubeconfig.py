"""A kubeconfig without a credential in it: gke-gcloud-auth-plugin asks Google for a token at every use."""

import json


def kubeconfig(name: str, address: str, certificate: str = "") -> str:
    """The kubeconfig of one cluster, as JSON, which is YAML.

    Args:
        name: of the cluster, its context and its user.
        address: host name or IP address of the control plane.
        certificate: the cluster's own authority, base64; "" where a public one signed, as for DNS endpoints.
    """
    authority = {"certificate-authority-data": certificate} if certificate else {}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": f"https://{address}", **authority}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
            "users": [
                {
                    "name": name,
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1",
                            "command": "gke-gcloud-auth-plugin",
                            "installHint": "install it: gcloud components install gke-gcloud-auth-plugin",
                            "interactiveMode": "Never",
                            "provideClusterInfo": True,
                        }
                    },
                }
            ],
        }
    )
