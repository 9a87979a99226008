"""Capacity and versions: the notice a node gets, and how long a version of Kubernetes is supported."""

from datetime import date

import pytest
from berth_catalogue.capacity import TYPES, capacity
from berth_catalogue.errors import CatalogueError
from berth_catalogue.kubernetes import kubernetes_versions, support


@pytest.mark.parametrize("ground", ["aws", "gcp"])
@pytest.mark.parametrize("kind", TYPES)
def test_clouds_sell_all_three(ground: str, kind: str) -> None:
    one = capacity(ground, kind)
    assert one.sources
    assert (one.notice_seconds is not None) == (kind == "spot")


def test_spot_gives_two_minutes_on_aws_and_half_a_minute_on_gke() -> None:
    aws, gcp = capacity("aws", "spot"), capacity("gcp", "spot")
    assert (aws.notice_seconds, aws.pod_grace_seconds, aws.longest_notice_seconds) == (120, None, None)
    assert (gcp.notice_seconds, gcp.pod_grace_seconds, gcp.longest_notice_seconds) == (30, 15, 120)


def test_own_hardware_is_not_bought_by_the_hour() -> None:
    assert capacity("own", "on-demand").notice_seconds is None
    with pytest.raises(
        CatalogueError, match=r"capacity\.yaml: capacity type 'spot' does not exist on own; allowed: on"
    ):
        capacity("own", "spot")


def test_an_unknown_ground_or_type_is_refused() -> None:
    with pytest.raises(CatalogueError, match=r"ground 'gke' is not in capacity\.yaml; known: aws, gcp, own"):
        capacity("gke", "spot")
    with pytest.raises(
        CatalogueError, match="'preemptible' does not exist on gcp; allowed: on-demand, spot, reserved"
    ):
        capacity("gcp", "preemptible")


@pytest.mark.parametrize("ground", ["aws", "gcp"])
def test_versions_have_sources_and_end_in_order(ground: str) -> None:
    ends = [one.standard_until for one in kubernetes_versions(ground).values()]
    assert ends == sorted(ends)
    for one in kubernetes_versions(ground).values():
        assert one.sources
        assert one.extended_until is None or one.extended_until > one.standard_until


@pytest.mark.parametrize(
    ("ground", "version", "day", "said"),
    [
        ("aws", "1.34", date(2026, 12, 2), "standard"),
        ("aws", "1.34", date(2026, 12, 3), "extended"),
        ("aws", "1.31", date(2026, 11, 26), "extended"),
        ("aws", "1.31", date(2026, 11, 27), "ended"),
        ("gcp", "1.35", date(2026, 11, 23), "standard"),
        ("gcp", "1.33", date(2026, 11, 23), "extended"),
        ("gcp", "1.50", date(2026, 11, 23), None),
    ],
)
def test_support_on_a_day(ground: str, version: str, day: date, said: str | None) -> None:
    assert support(ground, version, day) == said


def test_versions_of_an_unknown_ground_are_refused() -> None:
    with pytest.raises(CatalogueError, match=r"ground 'own' is not in kubernetes\.yaml; known: aws, gcp"):
        kubernetes_versions("own")
