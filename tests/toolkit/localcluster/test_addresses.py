from itertools import combinations

import pytest
from berth.localcluster.addresses import MAX_NODES, RANGE, SLOTS, Plan, overlapping

PLANS = [Plan(slot) for slot in range(SLOTS)]


def test_no_two_clusters_share_an_address_and_all_stay_in_the_range() -> None:
    for one, other in combinations(PLANS, 2):
        assert not one.network.overlaps(other.network)
        assert one.bridge != other.bridge
        assert one.chain != other.chain
        assert one.loopback != other.loopback
    assert all(plan.network.subnet_of(RANGE) for plan in PLANS)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_the_parts_of_a_cluster_do_not_overlap(plan: Plan) -> None:
    parts = [plan.pods, plan.services, plan.bridge_network]
    assert not any(one.overlaps(other) for one, other in combinations(parts, 2))
    assert all(part.subnet_of(plan.network) for part in parts)
    assert plan.gateway in plan.bridge_network
    assert {plan.api_service, plan.dns_service} <= set(plan.services)
    assert plan.loopback.is_loopback


def test_every_node_has_addresses_and_names_of_its_own() -> None:
    nodes = [plan.node(index, "demo") for plan in PLANS for index in range(1, MAX_NODES + 1)]
    assert len({node.address for node in nodes}) == len(nodes)
    assert len({node.pods for node in nodes}) == len(nodes)
    assert len({node.veth for node in nodes}) == len(nodes)
    assert len({node.cgroup for node in nodes}) == len(nodes)
    assert all(len(node.veth) <= 15 for node in nodes)
    assert all(node.address in Plan(node.slot).bridge_network for node in nodes)
    assert all(node.pods.subnet_of(Plan(node.slot).pods) for node in nodes)


@pytest.mark.parametrize("index", [0, 33])
def test_a_node_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="want 1 to 32"):
        Plan(0).node(index, "demo")


def test_a_slot_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="want 0 to 7"):
        Plan(8)


@pytest.mark.parametrize("route", ["default", "10.0.0.0/8", "198.18.64.0/24", "fe80::/64", "198.20.0.0/16"])
def test_a_route_elsewhere_does_not_matter(route: str) -> None:
    assert overlapping(Plan(0), [route]) is None


@pytest.mark.parametrize("route", ["198.18.0.0/15", "198.18.0.0/16", "198.18.48.1", "198.0.0.0/8"])
def test_a_route_to_the_slot_is_found(route: str) -> None:
    assert overlapping(Plan(0), ["default", route]) == route
