"""Resources of clouds that follow every rule in production: what the cases of rules change one thing of."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]
EKS_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {
                "StringEquals": {
                    "aws:RequestTag/kubernetes-namespace": "chat",
                    "aws:RequestTag/kubernetes-service-account": "server",
                }
            },
        }
    ],
}
READ_BUCKET = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Read",
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": ["arn:aws:s3:::weights/*"],
        },
        {"Sid": "Look", "Effect": "Allow", "Action": "ec2:DescribeImages", "Resource": "*"},
    ],
}
KEY_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    ],
}
NODE_CONFIG: Json = {
    "bootDiskKmsKey": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
    "imageType": "COS_CONTAINERD",
    "kubeletConfig": {"insecureKubeletReadonlyPortEnabled": "FALSE"},
    "machineType": "g2-standard-8",
    "metadata": {"disable-legacy-endpoints": "true"},
    "oauthScopes": ["https://www.googleapis.com/auth/cloud-platform"],
    "serviceAccount": "nodes@p.iam.gserviceaccount.com",
    "shieldedInstanceConfig": {"enableIntegrityMonitoring": True, "enableSecureBoot": True},
    "workloadMetadataConfig": {"mode": "GKE_METADATA"},
}
SERVER = json.dumps(["vllm", "serve", "/models/x", "--host", "127.0.0.1", "--port", "8001"])
GOODS: dict[str, tuple[str, Json]] = {
    "template": (
        "aws:ec2/launchTemplate:LaunchTemplate",
        {
            "blockDeviceMappings": [
                {"deviceName": "/dev/xvda", "ebs": {"deleteOnTermination": "true", "encrypted": "true"}}
            ],
            "instanceType": "g6.xlarge",
            "metadataOptions": {"httpPutResponseHopLimit": 1, "httpTokens": "required"},
            "networkInterfaces": [{"associatePublicIpAddress": "false"}],
        },
    ),
    "instance": (
        "aws:ec2/instance:Instance",
        {
            "metadataOptions": {"httpPutResponseHopLimit": 1, "httpTokens": "required"},
            "rootBlockDevice": {"encrypted": True},
        },
    ),
    "volume": ("aws:ebs/volume:Volume", {"encrypted": True, "availabilityZone": "a"}),
    "subnet": ("aws:ec2/subnet:Subnet", {"cidrBlock": "10.0.0.0/18", "mapPublicIpOnLaunch": False}),
    "storage-class": (
        "kubernetes:storage.k8s.io/v1:StorageClass",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "disk"},
            "provisioner": "ebs.csi.aws.com",
            "parameters": {"encrypted": "true"},
        },
    ),
    "eks": (
        "aws:eks/cluster:Cluster",
        {
            "accessConfig": {
                "authenticationMode": "API",
                "bootstrapClusterCreatorAdminPermissions": False,
            },
            "deletionProtection": True,
            "enabledClusterLogTypes": ["api", "audit", "authenticator", "controllerManager", "scheduler"],
            "encryptionConfig": {
                "provider": {"keyArn": "arn:aws:kms:eu-central-1:111122223333:key/x"},
                "resources": ["secrets"],
            },
            "name": "prod",
            "upgradePolicy": {"supportType": "STANDARD"},
            "vpcConfig": {"endpointPrivateAccess": True, "endpointPublicAccess": False},
        },
    ),
    "eks-logs": (
        "aws:cloudwatch/logGroup:LogGroup",
        {"name": "/aws/eks/prod/cluster", "retentionInDays": 365},
    ),
    "cni": (
        "aws:eks/addon:Addon",
        {
            "addonName": "vpc-cni",
            "clusterName": "prod",
            "configurationValues": '{"enableNetworkPolicy": "true"}',
        },
    ),
    "access": (
        "aws:eks/accessEntry:AccessEntry",
        {"principalArn": "arn:aws:iam::111122223333:role/admins", "kubernetesGroups": ["admins"]},
    ),
    "nodes": (
        "aws:eks/nodeGroup:NodeGroup",
        {
            "capacityType": "ON_DEMAND",
            "instanceTypes": ["g6.xlarge"],
            "labels": {"berth.dev/pool": "chat"},
            "launchTemplate": {"id": "lt-1", "version": "1"},
            "nodeRepairConfig": {"enabled": True},
            "nodeRoleArn": "arn:aws:iam::111122223333:role/nodes",
            "scalingConfig": {"minSize": 1, "maxSize": 4},
            "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}],
            "updateConfig": {"maxUnavailable": 1},
        },
    ),
    "group": (
        "aws:ec2/securityGroup:SecurityGroup",
        {
            "ingress": [{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/8"]}],
            "egress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}],
        },
    ),
    "group-rule": (
        "aws:ec2/securityGroupRule:SecurityGroupRule",
        {
            "type": "ingress",
            "protocol": "tcp",
            "fromPort": 443,
            "toPort": 443,
            "cidrBlocks": ["10.0.0.0/8"],
        },
    ),
    "ingress-rule": (
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        {"ipProtocol": "tcp", "fromPort": 443, "toPort": 443, "cidrIpv4": "10.0.0.0/8"},
    ),
    "prefixes": (
        "aws:ec2/managedPrefixList:ManagedPrefixList",
        {"entries": [{"cidr": "10.0.0.0/8"}], "addressFamily": "IPv4", "maxEntries": 1},
    ),
    "vpc": ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16"}),
    "closed": ("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", {"vpcId": "vpc-1"}),
    "key": (
        "aws:kms/key:Key",
        {"enableKeyRotation": True, "deletionWindowInDays": 30, "policy": json.dumps(KEY_POLICY)},
    ),
    "repository": (
        "aws:ecr/repository:Repository",
        {
            "encryptionConfigurations": [{"encryptionType": "KMS"}],
            "imageScanningConfiguration": {"scanOnPush": True},
            "imageTagMutability": "IMMUTABLE",
        },
    ),
    "model": (
        "aws:sagemaker/model:Model",
        {
            "enableNetworkIsolation": True,
            "primaryContainer": {
                "image": "111122223333.dkr.ecr.eu-central-1.amazonaws.com/server@sha256:" + "a" * 64,
                "environment": {
                    "BERTH_ALLOW_ANONYMOUS": "false",
                    "BERTH_ENGINE_COMMAND": SERVER,
                    "BERTH_ENGINE_URL": "http://127.0.0.1:8001",
                    "BERTH_MODEL_REVISION": "b" * 40,
                    "BERTH_WEIGHTS_MANIFEST_SHA256": "c" * 64,
                    "DO_NOT_TRACK": "1",
                    "HF_HUB_OFFLINE": "1",
                    "TRANSFORMERS_OFFLINE": "1",
                    "VLLM_HOST_IP": "127.0.0.1",
                    "VLLM_NO_USAGE_STATS": "1",
                },
            },
        },
    ),
    "configuration": (
        "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
        {
            "kmsKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/x",
            "productionVariants": [
                {
                    "variantName": "model",
                    "modelName": "m",
                    "instanceType": "ml.g6.xlarge",
                    "initialInstanceCount": 2,
                }
            ],
        },
    ),
    "endpoint": (
        "aws:sagemaker/endpoint:Endpoint",
        {
            "name": "chat",
            "deploymentConfig": {
                "autoRollbackConfiguration": {"alarms": [{"alarmName": "errors"}]},
                "rollingUpdatePolicy": {
                    "maximumBatchSize": {"type": "CAPACITY_PERCENT", "value": 50},
                    "waitIntervalInSeconds": 300,
                },
            },
        },
    ),
    "endpoint-logs": (
        "aws:cloudwatch/logGroup:LogGroup",
        {"name": "/aws/sagemaker/Endpoints/chat", "retentionInDays": 90},
    ),
    **{
        name: (
            "aws:cloudwatch/metricAlarm:MetricAlarm",
            {
                "comparisonOperator": "GreaterThanThreshold",
                "dimensions": {"EndpointName": "chat", "VariantName": "model"},
                "evaluationPeriods": 1,
                "metricName": metric,
                "namespace": "AWS/SageMaker",
                "period": 300,
                "statistic": "Sum",
                "threshold": 5,
            },
        )
        for name, metric in (("errors", "Invocation5XXErrors"), ("latency", "ModelLatency"))
    },
    "target": (
        "aws:appautoscaling/target:Target",
        {
            "serviceNamespace": "sagemaker",
            "resourceId": "endpoint/chat/variant/model",
            "minCapacity": 2,
            "maxCapacity": 6,
        },
    ),
    "vpc-endpoint": (
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        {"vpcEndpointType": "Interface", "privateDnsEnabled": True, "serviceName": "s"},
    ),
    "role": ("aws:iam/role:Role", {"assumeRolePolicy": json.dumps(EKS_TRUST)}),
    "policy": ("aws:iam/rolePolicy:RolePolicy", {"role": "r", "policy": json.dumps(READ_BUCKET)}),
    "attachment": (
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        {"role": "r", "policyArn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"},
    ),
    "association": (
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        {
            "clusterName": "prod",
            "namespace": "chat",
            "serviceAccount": "server",
            "roleArn": "arn:aws:iam::111122223333:role/server",
        },
    ),
    "gke": (
        "gcp:container/cluster:Cluster",
        {
            "anonymousAuthenticationConfig": {"mode": "LIMITED"},
            "databaseEncryption": {"keyName": "k", "state": "ENCRYPTED"},
            "datapathProvider": "ADVANCED_DATAPATH",
            "ipAllocationPolicy": {"clusterSecondaryRangeName": "pods"},
            "loggingConfig": {
                "enableComponents": [
                    "SYSTEM_COMPONENTS",
                    "WORKLOADS",
                    "APISERVER",
                    "CONTROLLER_MANAGER",
                    "SCHEDULER",
                ]
            },
            "maintenancePolicy": {
                "recurringWindow": {"startTime": "a", "endTime": "b", "recurrence": "FREQ=DAILY"}
            },
            "masterAuthorizedNetworksConfig": {"gcpPublicCidrsAccessEnabled": False},
            "monitoringConfig": {"enableComponents": ["SYSTEM_COMPONENTS"]},
            "network": "models",
            "nodeConfig": NODE_CONFIG,
            "privateClusterConfig": {"enablePrivateEndpoint": True, "enablePrivateNodes": True},
            "releaseChannel": {"channel": "REGULAR"},
            "securityPostureConfig": {"mode": "BASIC"},
            "subnetwork": "models",
            "workloadIdentityConfig": {"workloadPool": "p.svc.id.goog"},
        },
    ),
    "pool": (
        "gcp:container/nodePool:NodePool",
        {
            "autoscaling": {"totalMinNodeCount": 0, "totalMaxNodeCount": 4},
            "cluster": "c",
            "management": {"autoRepair": True, "autoUpgrade": True},
            "networkConfig": {"enablePrivateNodes": True},
            "nodeConfig": {
                **NODE_CONFIG,
                "labels": {"berth.dev/pool": "chat"},
                "guestAccelerators": [{"count": 1, "type": "nvidia-l4"}],
                "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}],
            },
            "nodeDrainConfigs": [{"respectPdbDuringNodePoolDeletion": True}],
            "upgradeSettings": {"maxSurge": 1, "maxUnavailable": 0},
        },
    ),
    "google-key": ("gcp:kms/cryptoKey:CryptoKey", {"rotationPeriod": "7776000s", "keyRing": "r"}),
    "google-subnet": (
        "gcp:compute/subnetwork:Subnetwork",
        {"privateIpGoogleAccess": True, "logConfig": {"flowSampling": 0.1}},
    ),
    "google-network": ("gcp:compute/network:Network", {"autoCreateSubnetworks": False}),
    "google-nat": ("gcp:compute/routerNat:RouterNat", {"logConfig": {"enable": True}}),
    "firewall": (
        "gcp:compute/firewall:Firewall",
        {"allows": [{"protocol": "tcp"}], "sourceRanges": ["10.0.0.0/8"]},
    ),
    "grant": (
        "gcp:projects/iAMMember:IAMMember",
        {"role": "roles/artifactregistry.reader", "member": "serviceAccount:a@p.iam.gserviceaccount.com"},
    ),
    "federation": (
        "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider",
        {
            "oidc": {"issuerUri": "https://token.actions.githubusercontent.com"},
            "attributeCondition": "assertion.repository_owner_id == '1'",
        },
    ),
    "native": ("aws-native:eks:Cluster", {}),
    "user": ("aws:iam/user:User", {}),
    "account-key": ("gcp:serviceaccount/key:Key", {}),
}
