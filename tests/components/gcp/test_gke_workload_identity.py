"""What a Kubernetes service account may do in Google Cloud, and that every argument changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_components.gcp import BucketRoleArgs, GkeWorkloadIdentity, GkeWorkloadIdentityArgs

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
PROJECT, NUMBER = "models-prod-1", "123456789012"
BASE: Json = {
    "project": PROJECT,
    "project_number": NUMBER,
    "namespace": "chat",
    "service_account": "chat-model",
    "buckets": [{"bucket": "models-prod-1-weights"}],
}
GOOGLE = {"mode": "google-service-account", "project_number": None}
OTHER: dict[str, tuple[Any, Json]] = {
    "project": ("models-prod-2", {}),
    "project_number": ("999999999999", {}),
    "namespace": ("search", {}),
    "service_account": ("search-model", {}),
    "mode": ("google-service-account", {"project_number": None}),
    "account_id": ("weights-reader", GOOGLE),
    "buckets": ([{"bucket": "others"}], {}),
    "buckets.bucket": ([{"bucket": "others"}], {}),
    "buckets.role": ([{"bucket": "models-prod-1-weights", "role": "roles/storage.objectUser"}], {}),
    "project_roles": (["roles/logging.logWriter"], {}),
}


def _plan(plan: Callable[..., Any], changes: Json, seen: list[Any] | None = None, **how: bool) -> Any:
    args: Any = {key: value for key, value in {**BASE, **changes}.items() if value is not None}

    def program(opts: pulumi.ResourceOptions) -> object:
        made = GkeWorkloadIdentity("weights", args, opts)
        everything = pulumi.Output.all(made.member, made.email, made.annotations)
        return everything.apply([].append if seen is None else seen.append)

    return plan(program, **how)


def test_every_argument_is_tried() -> None:
    own = GkeWorkloadIdentityArgs.__annotations__
    assert {*own, *(f"buckets.{key}" for key in BucketRoleArgs.__annotations__)} == set(OTHER)


@pytest.mark.parametrize("path", OTHER)
def test_every_argument_changes_a_resource(plan: Callable[..., Any], path: str) -> None:
    value, needs = OTHER[path]
    assert _plan(plan, {**needs, path.split(".", maxsplit=1)[0]: value}).flat() != _plan(plan, needs).flat()


def test_the_kubernetes_account_itself_reads_a_bucket(plan: Callable[..., Any]) -> None:
    seen: list[Any] = []
    planned = _plan(plan, {}, seen)
    member = (
        f"principal://iam.googleapis.com/projects/{NUMBER}/locations/global/workloadIdentityPools/"
        f"{PROJECT}.svc.id.goog/subject/ns/chat/sa/chat-model"
    )
    assert [one.inputs for one in planned.resources if one.type.startswith("gcp:")] == [
        {"bucket": "models-prod-1-weights", "role": "roles/storage.objectViewer", "member": member}
    ]
    assert seen == [[member, "", {}]]


def test_an_account_of_google_that_it_acts_as(plan: Callable[..., Any]) -> None:
    seen: list[Any] = []
    planned = _plan(plan, GOOGLE, seen)
    email = f"weights@{PROJECT}.iam.gserviceaccount.com"
    grant = planned.one("serviceaccount/iAMMember:IAMMember")
    assert grant == {
        "serviceAccountId": f"projects/{PROJECT}/serviceAccounts/{email}",
        "role": "roles/iam.workloadIdentityUser",
        "member": f"serviceAccount:{PROJECT}.svc.id.goog[chat/chat-model]",
    }
    assert planned.one("storage/bucketIAMMember:BucketIAMMember")["member"] == f"serviceAccount:{email}"
    assert seen == [[f"serviceAccount:{email}", email, {"iam.gke.io/gcp-service-account": email}]]


def test_the_number_is_looked_up(plan: Callable[..., Any]) -> None:
    planned = _plan(plan, {"project_number": None})
    assert planned.calls == ["gcp:organizations/getProject:getProject"]
    assert f"/projects/{NUMBER}/" in planned.one("storage/bucketIAMMember:BucketIAMMember")["member"]


def test_a_grant_is_named_by_what_it_is_not_by_its_place(plan: Callable[..., Any]) -> None:
    """Else one that moves in the list would be made anew, and then taken away under its old name."""
    two = [{"bucket": "one"}, {"bucket": "two"}]

    def names(buckets: list[Json]) -> dict[str, str]:
        planned = _plan(plan, {"buckets": buckets})
        return {
            one.inputs["bucket"]: one.name for one in planned.of("storage/bucketIAMMember:BucketIAMMember")
        }

    assert names(two) == names(two[::-1])


def test_a_preview_does_not_fail_on_unknown_values(plan: Callable[..., Any]) -> None:
    seen: list[Any] = []
    planned = _plan(plan, GOOGLE, seen, preview=True)
    assert planned.one("storage/bucketIAMMember:BucketIAMMember")["member"] == "unknown"
    assert seen == []


def test_every_child_has_the_providers_that_were_passed(plan: Callable[..., Any]) -> None:
    for one in _plan(plan, GOOGLE).resources:
        if one.type.startswith("gcp:"):
            assert "pulumi:providers:gcp::google::" in one.provider, one.name
