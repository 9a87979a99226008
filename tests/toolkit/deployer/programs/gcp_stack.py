"""An ordinary program for Google Cloud: a network, a cluster with a pool, an identity, a key."""

import pulumi
import pulumi_gcp as gcp
import pulumi_kubernetes as k8s

config = pulumi.Config()
shared = pulumi.StackReference("organization/network/prod")
client = gcp.organizations.get_client_config_output()
versions = gcp.container.get_engine_versions_output(location="europe-west4", project="demo")

network = gcp.compute.Network("net", auto_create_subnetworks=False)
subnet = gcp.compute.Subnetwork(
    "net",
    network=network.id,
    ip_cidr_range="10.0.0.0/20",
    region="europe-west4",
    secondary_ip_ranges=[{"range_name": "pods", "ip_cidr_range": "10.4.0.0/14"}],
)
ring = gcp.kms.KeyRing("ring", location="europe-west4")
key = gcp.kms.CryptoKey("secrets", key_ring=ring.id, rotation_period="7776000s")
cluster = gcp.container.Cluster(
    "main",
    name="main",
    location="europe-west4",
    network=network.id,
    subnetwork=subnet.id,
    remove_default_node_pool=True,
    initial_node_count=1,
    min_master_version=versions.latest_master_version,
    ip_allocation_policy={"cluster_secondary_range_name": "pods"},
    workload_identity_config={"workload_pool": "demo.svc.id.goog"},
    database_encryption={"state": "ENCRYPTED", "key_name": key.id},
    private_cluster_config={"enable_private_nodes": True},
    master_auth={"client_certificate_config": {"issue_client_certificate": False}},
    release_channel={"channel": "REGULAR"},
)
pools = {
    kind: gcp.container.NodePool(
        kind,
        cluster=cluster.id,
        autoscaling={"min_node_count": 0, "max_node_count": 3},
        node_config={
            "machine_type": machine,
            "spot": True,
            "guest_accelerators": [
                {
                    "type": accelerator,
                    "count": 1,
                    "gpu_driver_installation_config": {"gpu_driver_version": "LATEST"},
                }
            ],
            "shielded_instance_config": {"enable_secure_boot": True},
            "labels": {"berth.dev/pool": kind},
        },
    )
    for kind, machine, accelerator in (("l4", "g2-standard-8", "nvidia-l4"),)
}
account = gcp.serviceaccount.Account("server", account_id="server")
gcp.serviceaccount.IAMMember(
    "server-wi",
    service_account_id=account.name,
    role="roles/iam.workloadIdentityUser",
    member=pulumi.Output.concat(
        "serviceAccount:", cluster.workload_identity_config.workload_pool, "[serving/server]"
    ),
)
secret = gcp.secretmanager.Secret("token", secret_id="api", replication={"auto": {}})
gcp.secretmanager.SecretVersion("token", secret=secret.id, secret_data=config.require_secret("password"))

kubeconfig = pulumi.Output.format(
    "clusters: [{{name: c, cluster: {{server: 'https://{0}', certificate-authority-data: {1}}}}}]",
    cluster.endpoint,
    cluster.master_auth.cluster_ca_certificate,
)
provider = k8s.Provider("main", kubeconfig=kubeconfig)
claim = k8s.core.v1.PersistentVolumeClaim(
    "weights",
    metadata={"name": "weights", "namespace": "serving"},
    spec={"access_modes": ["ReadWriteOnce"]},
    opts=pulumi.ResourceOptions(provider=provider),
)

pulumi.export("ca", pulumi.Output.concat("ca:", cluster.master_auth.cluster_ca_certificate))
pulumi.export("endpoint", cluster.endpoint)
pulumi.export("channel", cluster.release_channel.channel)
pulumi.export("pool", cluster.workload_identity_config.workload_pool)
gpu = pools["l4"].node_config.guest_accelerators[0]
pulumi.export("disk", pulumi.Output.concat("disk ", pools["l4"].node_config.disk_type))
pulumi.export("driver", gpu.gpu_driver_installation_config.gpu_driver_version)
pulumi.export("partition", pulumi.Output.concat("p", gpu.gpu_partition_size))
pulumi.export("range", subnet.secondary_ip_ranges[0].ip_cidr_range)
pulumi.export("email", pulumi.Output.concat("serviceAccount:", account.email))
pulumi.export("volume", claim.spec.volume_name)
pulumi.export("project", client.project)
pulumi.export("shared", shared.require_output("vpc"))
pulumi.export("shared secret", shared.get_output("token"))
