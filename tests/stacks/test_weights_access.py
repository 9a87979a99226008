"""Weights that the pods' own identity opens: one role for one folder, and a way to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth_stacks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

S3 = {"source": "s3", "url": "s3://models/qwen/7b", "region": "eu-central-1", "identity": True}
GCS = {"source": "gcs", "url": "gs://models/qwen", "identity": True}
KEYS = {"berth:apiKeys": json.dumps({"tester": "canary-0123456789abcdef"})}


@pytest.fixture
def text(root: Path) -> Callable[[str, dict[str, Any]], str]:
    """A shipped stack whose model takes its weights from elsewhere."""

    def changed(stack: str, weights: dict[str, Any]) -> str:
        settings = yaml.safe_load((root / "stacks" / f"Pulumi.{stack}.yaml").read_text())
        settings["config"].setdefault("berth:models", {}).setdefault("chat", {})["weights"] = weights
        return yaml.safe_dump(settings)

    return changed


def test_on_eks_one_role_reads_one_folder(run: Callable[..., Any], text: Callable[..., str]) -> None:
    made = run(text("aws-dev", S3), KEYS, stack="aws-dev", preview=True)
    association = next(
        one
        for one in made.of("eks/podIdentityAssociation:PodIdentityAssociation")
        if one["serviceAccount"] == "chat"
    )
    assert association["namespace"] == "berth-aws-dev"
    allowed = [json.loads(one["policy"])["Statement"] for one in made.of("iam/rolePolicy:RolePolicy")]
    assert [
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::models/qwen/7b/*"]}
    ] in allowed
    pod = made.one("Deployment", "chat")["spec"]["template"]["spec"]
    fetcher = pod["initContainers"][0]
    variables = {one["name"]: one.get("value") for one in fetcher["env"]}
    assert variables["BERTH_WEIGHTS_URL"] == "s3://models/qwen/7b"
    assert "BERTH_WEIGHTS_ANONYMOUS" not in variables
    # In the manifest: an association that takes effect after the pod was made would never reach it.
    token = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
    mount = next(one for one in fetcher["volumeMounts"] if token.startswith(one["mountPath"]))
    volume = next(one for one in pod["volumes"] if one["name"] == mount["name"])
    assert volume["projected"]["sources"][0]["serviceAccountToken"]["audience"] == "pods.eks.amazonaws.com"
    others = [mounted for one in pod["containers"] for mounted in one["volumeMounts"]]
    assert mount["name"] not in {one["name"] for one in others}, "the engine and the gateway get no token"


def test_on_gke_one_account_reads_one_bucket(run: Callable[..., Any], text: Callable[..., str]) -> None:
    made = run(text("gcp-dev", GCS), KEYS, stack="gcp-dev", preview=True)
    (grant,) = made.of("storage/bucketIAMMember:BucketIAMMember")
    assert (grant["bucket"], grant["role"]) == ("models", "roles/storage.objectViewer")
    assert grant["member"].endswith(".svc.id.goog/subject/ns/berth-gcp-dev/sa/chat")


def test_without_identity_nothing_is_granted(run: Callable[..., Any], text: Callable[..., str]) -> None:
    made = run(text("aws-dev", {**S3, "identity": False}), KEYS, stack="aws-dev", preview=True)
    associations = made.of("eks/podIdentityAssociation:PodIdentityAssociation")
    assert "chat" not in {one["serviceAccount"] for one in associations}
    fetcher = made.one("Deployment", "chat")["spec"]["template"]["spec"]["initContainers"][0]
    assert {"name": "BERTH_WEIGHTS_ANONYMOUS", "value": "true"} in fetcher["env"]


@pytest.mark.parametrize(
    ("stack", "weights", "words"),
    [
        ("aws-dev", GCS, ["identity", "site aws is no gke site", "credentialsSecret"]),
        ("gcp-dev", S3, ["identity", "site google is no eks site"]),
        ("aws-dev", {"identity": True}, ["identity", "only with source s3 or gcs"]),
        ("aws-dev", {**S3, "credentialsSecret": "store"}, ["identity", "one of the two"]),
        ("aws-dev", {"source": "s3", "region": "eu-central-1"}, ["weights.url", "missing"]),
        ("aws-dev", {**S3, "url": "https://models"}, ["weights.url", "s3://<bucket>/<folder>"]),
        (
            "aws-dev",
            {**S3, "tokenSecret": "hub"},
            ["weights.tokenSecret", "nothing where source is s3"],
        ),
    ],
)
def test_what_cannot_be_is_refused(
    load: Callable[..., Any], text: Callable[..., str], stack: str, weights: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(text(stack, weights), KEYS, stack=stack)
    for word in words:
        assert word in str(caught.value)
