"""Cases of test_effects.py on clouds: another value for every setting, and what that needs."""

from __future__ import annotations

from effect_frames import (
    ADMIN,
    INF2,
    KEY_ARN,
    TAINT,
    VPC,
    Case,
    cases_of,
)

CLOUD_CASES: list[Case] = [
    *cases_of(
        "referring-site",
        "sites.*.",
        {"cluster.stack": "acme/berth/others", "cluster.site": "second"},
    ),
    *cases_of(
        "eks-site",
        "sites.*.",
        {
            "eks.region": "eu-west-1",
            "eks.allowedAccounts": ["111122223333"],
            "eks.name": "other",
            "eks.scaling": "auto-mode",
            "eks.version": "1.36",
            "eks.support": "standard",
            "eks.subnetIds": ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"],
            "eks.publicCidrs": ["198.51.100.0/24"],
            "eks.adminArns": [ADMIN.replace("platform", "other")],
            "eks.secretsKeyArn": KEY_ARN,
            "eks.logRetentionDays": 30,
            "eks.deletionProtection": False,
            "eks.addonVersions": {"coredns": "v1.12.4-eksbuild.1"},
            "eks.tags": {"cost": "chat"},
            "eks.systemNodes.machineType": "m6i.xlarge",
            "eks.systemNodes.minNodes": 3,
            "eks.systemNodes.maxNodes": 9,
            "eks.systemNodes.diskSizeGib": 80,
            "eks.vpc.cidr": ("10.32.0.0/16", VPC),
            "eks.vpc.zones": (["eu-central-1b", "eu-central-1c"], VPC),
            "eks.vpc.nat": ("per-zone", VPC),
            "eks.vpc.endpoints": (["s3", "sts"], VPC),
            "eks.autoscaler.image": "registry.example/autoscaler:1",
            "eks.autoscaler.namespace": "scaling",
            "eks.autoscaler.replicas": 1,
            "eks.autoscaler.unneededSeconds": 120,
            "eks.autoscaler.expander": "random",
            "eks.autoscaler.metricsNamespaces": ["monitoring"],
            "eks.autoscaler.imagePullSecrets": ["registry"],
            "eks.autoscaler.tags": {"cost": "chat"},
        },
    ),
    *cases_of(
        "eks-pool",
        "sites.*.pools.*.",
        {
            "accelerator": "nvidia-l40s",
            "max": 3,
            "acceleratorsPerNode": 4,
            "min": 1,
            "capacity": "spot",
            "machineType": "g6.2xlarge",
            "labels": {"tier": "chat"},
            "taints": [TAINT],
            "taints.0.key": ("other", {"taints": [TAINT]}),
            "taints.0.effect": ("NoExecute", {"taints": [TAINT]}),
            "taints.0.value": ("other", {"taints": [TAINT]}),
            "eks.subnetIds": ["subnet-0123456789abcdef2"],
            "eks.diskSizeGib": 300,
            "eks.volumeKeyArn": KEY_ARN,
            "eks.reservation.id": (
                "cr-0123456789abcdef1",
                {
                    "capacity": "reserved",
                    "eks.reservation": {"id": "cr-0123456789abcdef0", "kind": "on-demand"},
                },
            ),
            "eks.reservation.kind": (
                "capacity-block",
                {
                    "capacity": "reserved",
                    "eks.reservation": {"id": "cr-0123456789abcdef0", "kind": "on-demand"},
                },
            ),
            "eks.maxUnavailable": 2,
            "eks.updateStrategy": "minimal",
            "eks.nodeRepair": False,
            "eks.kubernetesVersion": "1.34",
            "eks.amiRelease": "1.35.0-20261101",
            "eks.tags": {"cost": "chat"},
        },
    ),
    *cases_of("eks-auto-pool", "sites.*.pools.*.", {"eks.expireAfterHours": 100}),
    *cases_of(
        "gke-site",
        "sites.*.",
        {
            "gke.project": "models-dev-1",
            "gke.location": "europe-west1",
            "gke.projectNumber": "123456789013",
            "gke.name": "other",
            "gke.existing": "there",
            "gke.releaseChannel": "STABLE",
            "gke.minVersion": "1.35",
            "gke.zones": ["europe-west4-a"],
            "gke.network.subnetCidr": "10.0.16.0/20",
            "gke.network.podsCidr": "10.12.0.0/14",
            "gke.network.servicesCidr": "10.9.0.0/20",
            "gke.network.nat": False,
            "gke.network.flowLogs": False,
            **{
                f"gke.network.{key}": (
                    "other",
                    {
                        "gke.network": {
                            "network": "shared",
                            "subnetwork": "nodes",
                            "podsRange": "pods",
                            "servicesRange": "services",
                        }
                    },
                )
                for key in ("network", "subnetwork", "podsRange", "servicesRange")
            },
            "gke.access.dnsEndpoint": False,
            "gke.access.ipEndpoints": False,
            "gke.access.privateEndpoint": (
                False,
                {"gke.access": {"authorizedNetworks": {"office": "198.51.100.0/24"}}},
            ),
            "gke.access.authorizedNetworks": {"office": "198.51.100.0/24"},
            "gke.encryption.key": "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k",
            "gke.encryption.rotationDays": 30,
            "gke.encryption.grantAccess": (
                False,
                {"gke.encryption": {"key": "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"}},
            ),
            "gke.encryption.bootDisks": True,
            "gke.logging": ["SYSTEM_COMPONENTS"],
            "gke.monitoring": ["SYSTEM_COMPONENTS"],
            "gke.managedPrometheus": False,
            "gke.maintenance.start": "05:00",
            "gke.maintenance.hours": 6,
            "gke.maintenance.days": ["MO", "TU", "WE", "TH", "FR"],
            "gke.maintenance.exclusions": [
                {"name": "year-end", "start": "2026-12-18T00:00:00Z", "end": "2027-01-04T00:00:00Z"}
            ],
            **{
                f"gke.maintenance.exclusions.0.{key}": (
                    value,
                    {
                        "gke.maintenance.exclusions": [
                            {
                                "name": "year-end",
                                "start": "2026-12-18T00:00:00Z",
                                "end": "2027-01-04T00:00:00Z",
                            }
                        ]
                    },
                )
                for key, value in {
                    "name": "other",
                    "start": "2026-12-19T00:00:00Z",
                    "end": "2027-01-03T00:00:00Z",
                    "scope": "NO_UPGRADES",
                }.items()
            },
            "gke.deletionProtection": False,
            "gke.systemPool.machineType": "e2-standard-8",
            "gke.systemPool.minNodes": 2,
            "gke.systemPool.maxNodes": 9,
            "gke.systemPool.diskSizeGb": 200,
            "gke.systemPool.diskType": "pd-ssd",
            "gke.nodeServiceAccount": "nodes@models-prod-1.iam.gserviceaccount.com",
            "gke.imageRepositories": [],
            "gke.costAllocation": False,
            "gke.securityPosture": "DISABLED",
            "gke.binaryAuthorization": "PROJECT_SINGLETON_POLICY_ENFORCE",
            "gke.gcsFuse": True,
        },
    ),
    *cases_of(
        "gke-pool",
        "sites.*.pools.*.",
        {
            "gke.zones": ["europe-west4-a"],
            "gke.reservation": ("other", {"capacity": "reserved", "gke": {"reservation": "mine"}}),
            "gke.locationPolicy": "any",
            "gke.driver": "latest",
            "gke.diskSizeGb": 300,
            "gke.diskType": "pd-ssd",
            "gke.localSsds": 1,
            "gke.imageStreaming": True,
            "gke.secureBoot": False,
            "gke.maxPods": 32,
            "gke.spotGraceSeconds": (120, {"capacity": "spot"}),
            "gke.upgrade.strategy": "blue-green",
            "gke.upgrade.maxSurge": 2,
            "gke.upgrade.maxUnavailable": 1,
            "gke.upgrade.batchNodes": (2, {"gke.upgrade": {"strategy": "blue-green"}}),
            "gke.upgrade.batchSoakSeconds": (60, {"gke.upgrade": {"strategy": "blue-green"}}),
            "gke.upgrade.soakSeconds": (60, {"gke.upgrade": {"strategy": "blue-green"}}),
        },
    ),
    *cases_of(
        "sagemaker-site",
        "sites.*.",
        {
            "sagemaker.region": "eu-west-1",
            "sagemaker.allowedAccounts": ["111122223333"],
            "sagemaker.accelerator": "nvidia-l40s",
            "sagemaker.acceleratorsPerInstance": 4,
            "sagemaker.instanceType": "ml.g6.2xlarge",
            "sagemaker.environment": {"FURTHER": "yes"},
            "sagemaker.weights.bucket": (
                "other",
                {"sagemaker.weights": {"bucket": "weights", "prefix": "a/"}},
            ),
            "sagemaker.weights.prefix": ("b/", {"sagemaker.weights": {"bucket": "weights", "prefix": "a/"}}),
            "sagemaker.weights.keyArn": (
                KEY_ARN,
                {"sagemaker.weights": {"bucket": "weights", "prefix": "a/"}},
            ),
            "sagemaker.networkIsolation": False,
            "sagemaker.vpc.subnetIds": (
                ["subnet-0123456789abcdef1"],
                {
                    "sagemaker.vpc": {
                        "subnetIds": ["subnet-0123456789abcdef0"],
                        "securityGroupIds": ["sg-0123456789abcdef0"],
                    }
                },
            ),
            "sagemaker.vpc.securityGroupIds": (
                ["sg-0123456789abcdef1"],
                {
                    "sagemaker.vpc": {
                        "subnetIds": ["subnet-0123456789abcdef0"],
                        "securityGroupIds": ["sg-0123456789abcdef0"],
                    }
                },
            ),
            "sagemaker.scaling.minInstances": 2,
            "sagemaker.scaling.maxInstances": 3,
            "sagemaker.scaling.metric": "invocations-per-instance",
            "sagemaker.scaling.target": 5,
            "sagemaker.scaling.scaleOutCooldownSeconds": 30,
            "sagemaker.scaling.scaleInCooldownSeconds": 30,
            "sagemaker.alarms.actionArns": ["arn:aws:sns:eu-central-1:111122223333:pages"],
            "sagemaker.alarms.errors5xx": 9,
            "sagemaker.alarms.latencySeconds": 9,
            "sagemaker.startupSeconds": 900,
            "sagemaker.inferenceAmi": "al2023-ami-sagemaker-inference-gpu-4-1",
            "sagemaker.volumeSizeGib": (64, INF2),
            "sagemaker.volumeKeyArn": (KEY_ARN, INF2),
            "sagemaker.update": ("rolling", {"sagemaker.scaling.minInstances": 2}),
            "sagemaker.logRetentionDays": 30,
            "sagemaker.tags": {"cost": "chat"},
        },
    ),
]
