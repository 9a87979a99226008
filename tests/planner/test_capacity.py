"""Quotas, zones and free accelerators.

AWS is asked through moto, with its data of real instance types; answers about quotas, and all of Google's,
are fixtures of the recorded shapes.
"""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import boto3
import pytest
from berth_planner.answers import MAX_AGE_DAYS, Answer, Question, folder, read_answers, write_answers
from berth_planner.capacity import allowed_machines, capacity
from berth_planner.cost import Fleet
from berth_planner.errors import PlannerError
from berth_planner.lookups import amazon, amazon_capacity, google_capacity
from berth_planner.prices import PriceKey
from botocore.stub import Stubber
from moto import mock_aws

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from urllib.request import Request

    from berth_planner.plan import Check

TODAY = date(2026, 11, 28)
REGION = "eu-central-1"
L4 = {"accelerator": "nvidia-l4", "accelerators": 1}


def fleet(subject: str, machine: str, most: int, capacity: str = "on-demand", **more: Any) -> Fleet:
    ground = more.pop("ground", "aws")
    region = more.pop("region", "europe-west4" if ground == "gcp" else REGION)
    key = PriceKey(ground, region, machine, capacity)
    return Fleet(subject=subject, key=key, fewest=0, planned=None, most=most, **more)


CHAT = fleet("aws/chat", "g6.2xlarge", 3, zones=("eu-central-1a",), **L4)
SYSTEM = fleet("aws/system", "m6i.large", 4)
ENDPOINT = fleet("sagemaker/chat", "ml.g6e.xlarge", 6, accelerator="nvidia-l40s", accelerators=1)
G_AND_VT = "Running On-Demand G and VT instances"
STANDARD = "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"
QUOTAS = {G_AND_VT: 24.0, STANDARD: 5.0, "Running On-Demand P instances": 0.0}


def quota(fleet: Fleet, amount: float, name: str, unit: str = "vCPUs", used: float | None = None) -> Any:
    question = Question("quota", fleet.key.ground, fleet.key.region, fleet.key.machine, fleet.key.capacity)
    return {question: Answer(amount, used, unit, (name,), "a fixture", TODAY)}


def checked(fleets: list[Fleet], answers: dict[Question, Answer], today: date = TODAY) -> dict[str, Check]:
    found = capacity(fleets, answers, today)
    return {} if found is None else {check.key: check for check in found.checks}


def test_without_answers_all_is_unknown_but_what_the_catalogue_says_of_google() -> None:
    google = fleet("google/chat", "g2-standard-8", 2, ground="gcp", zones=("europe-west4-a",), **L4)
    found = checked([CHAT, SYSTEM, ENDPOINT, google], {})
    assert {key: check.status for key, check in found.items()} == {
        "aws/chat quota": "unknown",
        "aws/chat offer": "unknown",
        "aws/system quota": "unknown",
        "sagemaker/chat quota": "unknown",
        "google/chat quota": "unknown",
        "google/chat offer": "passed",
    }
    assert "--ask" in found["aws/chat quota"].remedy


def test_a_quota_counts_all_that_shares_it() -> None:
    """g6.2xlarge has 8 vCPUs: 3 and 2 of them are 40."""
    other = fleet("aws/other", "g6.2xlarge", 2, **L4)
    for limit, status in ((40, "passed"), (39, "failed")):
        answers = quota(CHAT, limit, G_AND_VT) | quota(other, limit, G_AND_VT)
        found = checked([CHAT, other], answers)
        assert found["aws/chat quota"].status == found["aws/other quota"].status == status
    assert found["aws/chat quota"].wanted.startswith("40 vCPUs at the most")
    assert "Service Quotas" in found["aws/chat quota"].remedy
    # Spot machines have a quota of their own.
    spot = fleet("aws/spot", "g6.2xlarge", 3, "spot", **L4)
    answers = quota(CHAT, 24, G_AND_VT) | quota(spot, 24, "All G and VT Spot Instance Requests")
    assert {one.status for key, one in checked([CHAT, spot], answers).items() if "quota" in key} == {"passed"}


def test_how_many_machines_a_quota_allows_beside_the_others() -> None:
    """Of 40 vCPUs two others of 8 are taken at the most; 24 are three machines."""
    other = fleet("aws/other", "g6.2xlarge", 2, **L4)
    answers = quota(CHAT, 40, G_AND_VT) | quota(other, 40, G_AND_VT)
    assert allowed_machines(CHAT, [CHAT, other], answers, TODAY) == (
        3,
        f"'{G_AND_VT}' is 40 vCPUs; a fixture, {TODAY}",
    )
    assert allowed_machines(CHAT, [CHAT], {}, TODAY) is None
    late = TODAY + timedelta(days=MAX_AGE_DAYS["quota"] + 1)
    assert allowed_machines(CHAT, [CHAT, other], answers, late) is None
    for limit, count in ((16, 0), (4, 0), (24, 1), (31, 1)):
        answers = quota(CHAT, limit, G_AND_VT) | quota(other, limit, G_AND_VT)
        found = allowed_machines(CHAT, [CHAT, other], answers, TODAY)
        assert found is not None
        assert found[0] == count


def test_what_is_used_is_not_free() -> None:
    google = fleet("google/chat", "g2-standard-8", 2, ground="gcp", **L4)
    for used, status in ((6, "passed"), (7, "failed")):
        answers = quota(google, 8, "NVIDIA_L4_GPUS", "accelerators", used)
        assert checked([google], answers)["google/chat quota"].status == status


def test_machines_that_the_catalogue_lacks_are_counted_by_what_aws_says() -> None:
    answers = quota(SYSTEM, 8, STANDARD)
    assert checked([SYSTEM], answers)["aws/system quota"].status == "unknown"
    vcpus = {Question("vcpus", "aws", REGION, "m6i.large"): Answer(2, None, "vCPUs", (), "a fixture", TODAY)}
    assert checked([SYSTEM], answers | vcpus)["aws/system quota"].status == "passed"
    assert checked([SYSTEM], quota(SYSTEM, 7, STANDARD) | vcpus)["aws/system quota"].status == "failed"


def test_an_old_answer_is_unknown() -> None:
    late = TODAY + timedelta(days=MAX_AGE_DAYS["quota"] + 1)
    assert (
        checked([ENDPOINT], quota(ENDPOINT, 6, "x", "instances"))["sagemaker/chat quota"].status == "passed"
    )
    found = checked([ENDPOINT], quota(ENDPOINT, 6, "x", "instances"), late)
    assert found["sagemaker/chat quota"].status == "unknown"


def test_a_zone_must_be_among_those_of_the_site() -> None:
    question = Question("offer", "aws", REGION, "g6.2xlarge")
    for zones, status in (
        ((f"{REGION}a", f"{REGION}b"), "passed"),
        ((f"{REGION}b",), "failed"),
        ((), "failed"),
    ):
        answers = {question: Answer(0, None, "", zones, "a fixture", TODAY)}
        assert checked([CHAT], answers)["aws/chat offer"].status == status


def test_own_accelerators_are_counted_and_forgotten_after_a_day() -> None:
    own = fleet("own/gpu", "gpu", 2, ground="own", region="own", wanted_accelerators=6, **L4)
    question = Question("free", "own", "own", "gpu")
    for used, status in ((2, "passed"), (3, "failed")):
        answers = {question: Answer(8, used, "nvidia.com/gpu", (), "a fixture", TODAY)}
        assert checked([own], answers)["own/gpu free"].status == status
    assert checked([own], answers, TODAY + timedelta(days=2))["own/gpu free"].status == "unknown"
    assert checked([own], {})["own/gpu free"].status == "unknown"


def test_what_is_bought_or_there_has_no_quota() -> None:
    reserved = fleet("aws/chat", "p5.48xlarge", 1, "reserved", accelerator="nvidia-h100-80gb", accelerators=8)
    assert checked([reserved], {}).keys() == {"aws/chat offer"}
    assert capacity([fleet("own/chat", "replica", 2, ground="own")], {}, TODAY) is None


def test_answers_are_kept_with_their_day(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "answers.json"
    answers = quota(CHAT, 24, G_AND_VT, used=3.0) | {
        Question("offer", "gcp", "europe-west4", "x", "", "p"): Answer(0, None, "", ("a", "b"), "b", TODAY)
    }
    write_answers(file, answers)
    assert read_answers(file) == answers
    for broken in ("{", "[1]", '[{"kind": "no-such"}]', "[]"):
        file.write_text(broken)
        assert read_answers(file) == {}


def test_answers_lie_in_the_cache_or_where_a_team_shares_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BERTH_ANSWERS", "BERTH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    stacks = tmp_path / "stacks"
    assert folder(stacks) == tmp_path / ".cache" / "berth" / "prices"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert folder(stacks) == tmp_path / "x" / "berth" / "prices"
    monkeypatch.setenv("BERTH_CACHE", str(tmp_path / "b"))
    assert folder(stacks) == tmp_path / "b" / "prices"
    (stacks / "answers").mkdir(parents=True)
    assert folder(stacks) == stacks / "answers"
    monkeypatch.setenv("BERTH_ANSWERS", str(tmp_path / "named"))
    assert folder(stacks) == tmp_path / "named"


@pytest.mark.parametrize(
    ("machine", "capacity", "name"),
    [
        ("g6.2xlarge", "on-demand", G_AND_VT),
        ("g6e.xlarge", "on-demand", G_AND_VT),
        ("vt1.3xlarge", "on-demand", G_AND_VT),
        ("m6i.large", "on-demand", STANDARD),
        ("g6.2xlarge", "spot", "All G and VT Spot Instance Requests"),
        ("p4d.24xlarge", "spot", "All P4, P3 and P2 Spot Instance Requests"),
        ("p5.48xlarge", "spot", "All P5 Spot Instance Requests"),
        ("p5.48xlarge", "on-demand", "Running On-Demand P instances"),
        ("inf2.8xlarge", "on-demand", "Running On-Demand Inf instances"),
        ("trn1.2xlarge", "on-demand", "Running On-Demand Trn instances"),
        ("u-6tb1.metal", "on-demand", None),
        ("z9.large", "spot", None),
    ],
)
def test_quotas_are_found_by_their_names(machine: str, capacity: str, name: str | None) -> None:
    names = [
        *QUOTAS,
        "Running On-Demand Inf instances",
        "Running On-Demand Trn instances",
        "Running On-Demand High Memory instances",
        "All G and VT Spot Instance Requests",
        "All P4, P3 and P2 Spot Instance Requests",
        "All P5 Spot Instance Requests",
        "Attached EBS volumes per instance",
    ]
    assert amazon_capacity.quota_name(machine, capacity, names) == name


@contextmanager
def aws(quotas: dict[str, list[dict[str, float]]]) -> Iterator[amazon.Clients]:
    """EC2 as moto has it, with its real offerings and instance types; quotas are fixtures, in pages."""
    keys = {"aws_access_key_id": "a-fixture", "aws_secret_access_key": "a-fixture"}
    client = boto3.client("service-quotas", region_name=REGION, **keys)
    with Stubber(client) as stub, mock_aws():
        for service, pages in quotas.items():
            for number, page in enumerate(pages):
                listed = [{"QuotaName": name, "Value": value} for name, value in page.items()]
                after = {"NextToken": "more"} if number + 1 < len(pages) else {}
                asked = {"ServiceCode": service, **({"NextToken": "more"} if number else {})}
                stub.add_response("list_service_quotas", {"Quotas": listed, **after}, asked)
        yield amazon.Clients(
            pricing=None,
            ec2=lambda region: boto3.client("ec2", region_name=region, **keys),
            quotas=lambda _region: client,
        )
        stub.assert_no_pending_responses()


def test_aws_is_asked_once_for_each_list() -> None:
    endpoint = {"ml.g6e.xlarge for endpoint usage": 6.0, "ml.g6e.xlarge for training job usage": 0.0}
    lists = {"ec2": [{"x": 1.0}, QUOTAS], "sagemaker": [endpoint]}
    with aws(lists) as clients:
        answers = amazon_capacity.ask([CHAT, SYSTEM, ENDPOINT], clients, TODAY)
    found = checked([CHAT, SYSTEM, ENDPOINT], answers)
    assert {key: check.status for key, check in found.items()} == {
        "aws/chat quota": "passed",
        "aws/chat offer": "passed",
        "aws/system quota": "failed",  # 4 x 2 vCPUs of 5, as a new account has
        "sagemaker/chat quota": "passed",
    }
    assert f"{REGION}a" in found["aws/chat offer"].found
    assert "what runs already is not counted" in found["aws/chat quota"].found


def test_a_machine_that_a_region_lacks_is_in_no_zone() -> None:
    far = fleet(
        "aws/chat", "p5.48xlarge", 1, accelerator="nvidia-h100-80gb", accelerators=8, region="eu-west-3"
    )
    with aws({"ec2": [{"Running On-Demand P instances": 192.0}]}) as clients:
        answers = amazon_capacity.ask([far], clients, TODAY)
    found = checked([far], answers)
    assert found["aws/chat quota"].status == "passed"
    assert found["aws/chat offer"].status == "failed"
    assert "no zone of eu-west-3" in found["aws/chat offer"].found


def test_a_refusal_of_aws_names_what_is_missing() -> None:
    client = boto3.client(
        "service-quotas", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="a"
    )
    with Stubber(client) as stub:
        stub.add_client_error("list_service_quotas", "AccessDeniedException", "not authorized")
        clients = amazon.Clients(pricing=None, ec2=lambda _: None, quotas=lambda _: client)
        with pytest.raises(PlannerError, match="servicequotas:ListServiceQuotas"):
            amazon_capacity.ask([CHAT], clients, TODAY)


# Recorded shapes of projects.get, regions.get and acceleratorTypes.aggregatedList; the amounts are fixtures.
PROJECT = {"kind": "compute#project", "quotas": [{"metric": "GPUS_ALL_REGIONS", "limit": 16.0, "usage": 4.0}]}
PLACE = {
    "kind": "compute#region",
    "name": "europe-west4",
    "quotas": [
        {"metric": "CPUS", "limit": 72.0, "usage": 8.0},
        {"metric": "NVIDIA_L4_GPUS", "limit": 8.0, "usage": 2.0},
        {"metric": "PREEMPTIBLE_NVIDIA_L4_GPUS", "limit": 1.0, "usage": 0.0},
    ],
}
KINDS = [
    {
        "items": {
            "zones/europe-west4-a": {"acceleratorTypes": [{"name": "nvidia-l4", "zone": "europe-west4-a"}]},
            "zones/europe-west4-b": {"warning": {"code": "NO_RESULTS_ON_PAGE"}},
        },
        "nextPageToken": "more=",
    },
    {"items": {"zones/us-central1-a": {"acceleratorTypes": [{"name": "nvidia-l4"}]}}},
]
GOOGLE = fleet("google/chat", "g2-standard-8", 2, ground="gcp", account="a-project", **L4)


def google(path: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {
        "a-project": PROJECT,
        "a-project/regions/europe-west4": PLACE,
        "a-project/aggregated/acceleratorTypes": KINDS[0],
        "a-project/aggregated/acceleratorTypes?pageToken=more%3D": KINDS[1],
    }
    return paths[path]


def test_google_says_what_is_left_and_where() -> None:
    spot = fleet("google/spot", "g2-standard-8", 2, "spot", ground="gcp", account="a-project", **L4)
    far = fleet(
        "google/b", "g2-standard-8", 1, "reserved", ground="gcp", account="a-project",
        zones=("europe-west4-b",), **L4,
    )  # fmt: skip
    answers = google_capacity.ask([GOOGLE, spot, far], google, TODAY)
    found = checked([GOOGLE, spot, far], answers)
    assert {key: check.status for key, check in found.items()} == {
        "google/chat quota": "passed",
        "google/chat offer": "passed",
        "google/spot quota": "failed",
        "google/spot offer": "passed",
        "google/b offer": "failed",
    }
    assert "2 are used" in found["google/chat quota"].found


def test_the_quota_of_all_regions_may_be_the_tighter_one() -> None:
    def tight(path: str) -> dict[str, Any]:
        if path != "a-project":
            return google(path)
        return {"quotas": [{"metric": "GPUS_ALL_REGIONS", "limit": 5.0, "usage": 4.0}]}

    found = checked([GOOGLE], google_capacity.ask([GOOGLE], tight, TODAY))
    assert found["google/chat quota"].status == "failed"
    assert "GPUS_ALL_REGIONS" in found["google/chat quota"].found


def test_what_google_does_not_list_stays_unknown() -> None:
    more = {"ground": "gcp", "account": "a-project"}
    tpu = fleet("google/tpu", "ct6e-standard-4t", 1, accelerator="google-tpu-v6e", accelerators=4, **more)
    a100 = fleet("google/a", "a2-highgpu-1g", 1, accelerator="nvidia-a100-40gb", accelerators=1, **more)
    nobody = fleet("google/n", "g2-standard-8", 1, ground="gcp", **L4)
    found = checked([tpu, a100, nobody], google_capacity.ask([tpu, a100, nobody], google, TODAY))
    assert {found[f"google/{name} quota"].status for name in ("tpu", "a", "n")} == {"unknown"}
    assert found["google/a offer"].status == "failed"


def test_the_token_is_in_no_address_and_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def answer(request: Request, timeout: float) -> io.BytesIO:
        assert timeout > 0
        asked.append(request)
        if len(asked) == 1:
            return io.BytesIO(json.dumps(PLACE).encode())
        raise HTTPError(request.full_url, 403, "Forbidden", {}, None)  # type: ignore[arg-type] # no headers

    monkeypatch.setattr(google_capacity, "urlopen", answer)
    read = google_capacity.reader("canary-token")
    assert read("a-project/regions/europe-west4") == PLACE
    with pytest.raises(PlannerError, match=r"roles/compute\.viewer") as caught:
        read("a-project/regions/europe-west4?x=1")
    assert "canary" not in str(caught.value)
    assert not any("canary" in one.full_url for one in asked)
    assert asked[0].get_header("Authorization") == "Bearer canary-token"


def test_a_token_is_the_environments_else_gclouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "given")
    assert google_capacity.token() == "given"
    monkeypatch.delenv("GOOGLE_OAUTH_ACCESS_TOKEN")
    with pytest.raises(PlannerError, match="gcloud is not installed"):
        google_capacity.token()
    program = tmp_path / "gcloud"
    program.write_text('#!/bin/sh\n[ "$2" = print-access-token ] && echo of-gcloud\n')
    program.chmod(0o755)
    assert google_capacity.token() == "of-gcloud"
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(PlannerError, match="gcloud has no login"):
        google_capacity.token()
