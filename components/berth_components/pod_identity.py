"""What a pod of our own needs for EKS Pod Identity, said in its manifest.

EKS' webhook adds the same to pods whose service account has an association when they are created. But an
association takes effect seconds after its creation has succeeded (pod-identities in EKS' user guide), and a
pod that was made before never gets it, so that `depends_on` is not enough: issue 8 of
terraform-aws-modules/terraform-aws-eks-pod-identity, issue 40852 of hashicorp/terraform-provider-aws. With it
in the manifest the first tries fail, and a restart of the container is all it takes. The webhook leaves a
token volume of its name, and variables that are there, as they are (pkg/handler/handler.go of
aws/amazon-eks-pod-identity-webhook).
"""

from collections.abc import Mapping

from pulumi_kubernetes.core import v1 as core

_VOLUME = "eks-pod-identity-token"
_FOLDER = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
_DAY = 86400
ENVIRONMENT: Mapping[str, str] = {
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"{_FOLDER}/{_VOLUME}",
}
"""Where AWS' SDKs ask for credentials, and the token that they show (pod-id-how-it-works in the guide)."""


def token_volume() -> core.VolumeArgs:
    """The service account's token for Pod Identity's agent, and for nothing else."""
    token = core.ServiceAccountTokenProjectionArgs(
        audience="pods.eks.amazonaws.com", expiration_seconds=_DAY, path=_VOLUME
    )
    return core.VolumeArgs(
        name=_VOLUME,
        projected=core.ProjectedVolumeSourceArgs(
            sources=[core.VolumeProjectionArgs(service_account_token=token)]
        ),
    )


def token_mount() -> core.VolumeMountArgs:
    """Where `token_volume` is mounted."""
    return core.VolumeMountArgs(name=_VOLUME, mount_path=_FOLDER, read_only=True)
