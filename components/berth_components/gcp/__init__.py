"""Clusters, pools of accelerator nodes and identities on Google Cloud.

    cluster = GkeCluster("prod", {"project": "models-prod-1", "location": "europe-west4"}, opts)
    pool = GkeNodePool("l4", {"cluster": cluster.cluster_id, "accelerator": "nvidia-l4", …}, opts)

Pass Google's provider explicitly: `opts=pulumi.ResourceOptions(providers={"gcp": provider})`.
"""
