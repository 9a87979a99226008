"""Machines: derived from what AWS says of itself, and from Google's pages; offered where a source says so."""

import sys
from pathlib import Path

import pytest
from berth_catalogue import machines as module
from berth_catalogue import refresh_machines
from berth_catalogue.accelerators import accelerator, accelerators
from berth_catalogue.capacity import TYPES
from berth_catalogue.errors import CatalogueError
from berth_catalogue.machines import Machine, choose, machine, machines, offered, regions

ALL = [one for ground in ("aws", "gcp") for one in machines(ground).values()]


def test_the_aws_data_are_what_the_script_derives() -> None:
    assert refresh_machines._FILE.read_text("utf-8") == refresh_machines.derive()


def test_the_check_of_the_script_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["refresh_machines", "--check"])
    refresh_machines.main()
    stale = refresh_machines._FILE.read_text("utf-8").replace('"vcpus": 4,', '"vcpus": 5,')
    file = tmp_path / "machines_aws.json"
    file.write_text(stale, "utf-8")
    monkeypatch.setattr(refresh_machines, "_FILE", file)
    with pytest.raises(SystemExit, match=r"machines_aws\.json differs from moto"):
        refresh_machines.main()
    monkeypatch.setattr(sys, "argv", ["refresh_machines"])
    refresh_machines.main()
    assert refresh_machines._FILE.read_text("utf-8") == refresh_machines.derive()
    monkeypatch.setattr(sys, "argv", ["refresh_machines", "--dry"])
    with pytest.raises(SystemExit, match="unknown argument '--dry'; allowed: --check"):
        refresh_machines.main()


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_each_is_whole(one: Machine) -> None:
    assert one.sources
    assert one.accelerator in accelerators()
    assert one.capacity_types
    assert set(one.capacity_types) <= set(TYPES)
    assert one.zones
    for region, zones in one.zones.items():
        assert region in regions(one.ground)
        assert zones
        assert all(zone.startswith(region) for zone in zones)
    topology = one.tpu_topology or "1"
    chips = 1
    for side in topology.split("x"):
        chips *= int(side)
    assert (one.tpu_topology is None) == (accelerator(one.accelerator).vendor != "google")
    assert chips == (one.accelerators if one.tpu_topology else 1)


@pytest.mark.parametrize("one", machines("aws").values(), ids=lambda one: one.name)
def test_zone_ids_and_zones_are_as_many(one: Machine) -> None:
    assert one.zones is not None
    assert one.zone_ids is not None
    assert {region: len(zones) for region, zones in one.zones.items()} == {
        region: len(zones) for region, zones in one.zone_ids.items()
    }


def test_memory_of_accelerators_is_what_ec2_reports() -> None:
    types = refresh_machines._packed(refresh_machines._resources() / "instance_types.json.gz")
    for name, one in machines("aws").items():
        gpus = types[name].get("GpuInfo") or {}
        [device] = gpus.get("Gpus") or types[name]["NeuronInfo"]["NeuronDevices"]
        assert accelerator(one.accelerator).memory_gib == pytest.approx(
            device["MemoryInfo"]["SizeInMiB"] / 1024, abs=0.01
        )


@pytest.mark.parametrize(
    ("ground", "name", "figures"),
    [
        ("aws", "g5.xlarge", ("nvidia-a10g", 1, 4, 16)),
        ("aws", "g5.48xlarge", ("nvidia-a10g", 8, 192, 768)),
        ("aws", "g6.12xlarge", ("nvidia-l4", 4, 48, 192)),
        ("aws", "g6e.2xlarge", ("nvidia-l40s", 1, 8, 64)),
        ("aws", "p4d.24xlarge", ("nvidia-a100-40gb", 8, 96, 1152)),
        ("aws", "p4de.24xlarge", ("nvidia-a100-80gb", 8, 96, 1152)),
        ("aws", "p5.4xlarge", ("nvidia-h100-80gb", 1, 16, 256)),
        ("aws", "p5.48xlarge", ("nvidia-h100-80gb", 8, 192, 2048)),
        ("aws", "p5en.48xlarge", ("nvidia-h200-141gb", 8, 192, 2048)),
        ("aws", "inf2.xlarge", ("aws-inferentia2", 1, 4, 16)),
        ("aws", "inf2.48xlarge", ("aws-inferentia2", 12, 192, 768)),
        ("gcp", "g2-standard-24", ("nvidia-l4", 2, 24, 96)),
        ("gcp", "a2-highgpu-1g", ("nvidia-a100-40gb", 1, 12, 85)),
        ("gcp", "a2-ultragpu-8g", ("nvidia-a100-80gb", 8, 96, 1360)),
        ("gcp", "a3-highgpu-8g", ("nvidia-h100-80gb", 8, 208, 1872)),
        ("gcp", "a3-ultragpu-8g", ("nvidia-h200-141gb", 8, 224, 2952)),
        ("gcp", "ct5lp-hightpu-8t", ("google-tpu-v5e", 8, 224, 384)),
        ("gcp", "ct6e-standard-4t", ("google-tpu-v6e", 4, 180, 720)),
    ],
)
def test_figures(ground: str, name: str, figures: tuple[str, int, int, float]) -> None:
    one = machine(ground, name)
    assert (one.accelerator, one.accelerators, one.vcpus, one.memory_gib) == figures


@pytest.mark.parametrize(
    ("ground", "key", "per_node", "kind", "name"),
    [
        ("aws", "nvidia-a10g", 1, None, "g5.xlarge"),
        ("aws", "nvidia-l4", 4, "spot", "g6.12xlarge"),
        ("aws", "nvidia-h100-80gb", 8, "reserved", "p5.48xlarge"),
        ("aws", "aws-inferentia2", 1, None, "inf2.xlarge"),
        ("gcp", "nvidia-l4", 1, None, "g2-standard-4"),
        ("gcp", "nvidia-h100-80gb", 1, "spot", "a3-highgpu-1g"),
        ("gcp", "google-tpu-v6e", 8, "on-demand", "ct6e-standard-8t"),
    ],
)
def test_the_smallest_is_chosen(ground: str, key: str, per_node: int, kind: str | None, name: str) -> None:
    assert choose(ground, key, per_node, kind).name == name


def test_every_choice_has_what_was_asked() -> None:
    for one in ALL:
        for kind in one.capacity_types:
            chosen = choose(one.ground, one.accelerator, one.accelerators, kind)
            assert chosen.accelerators == one.accelerators
            assert kind in chosen.capacity_types
            assert chosen.vcpus <= one.vcpus


@pytest.mark.parametrize(
    ("ground", "key", "per_node", "kind", "said"),
    [
        ("aws", "nvidia-l4", 2, None, "no machine on aws has exactly 2 x NVIDIA L4; they have 1, 4, 8"),
        (
            "aws",
            "google-tpu-v5e",
            1,
            None,
            "no machine on aws has Google TPU v5e; accelerators there: aws-inf",
        ),
        (
            "gcp",
            "aws-inferentia2",
            1,
            None,
            "no machine on gcp has AWS Inferentia2; accelerators there: google",
        ),
        ("gcp", "nvidia-h100-80gb", 1, "on-demand", "is sold as 'on-demand': a3-highgpu-1g is sold as spot"),
        (
            "gcp",
            "nvidia-h200-141gb",
            8,
            "on-demand",
            "8 x NVIDIA H200 141 GB is sold as 'on-demand': a3-ultragpu-8g is sold as spot or reserved",
        ),
        (
            "own",
            "nvidia-l4",
            1,
            None,
            "own hardware: no machine on own has NVIDIA L4; accelerators there: what",
        ),
        (
            "aws",
            "nvidia-l5",
            1,
            None,
            "accelerator 'nvidia-l5' is not in accelerators.yaml; did you mean 'nvidia-l4'",
        ),
        ("azure", "nvidia-l4", 1, None, "ground 'azure' is not in the catalogue; known: aws, gcp, own"),
    ],
)
def test_what_is_not_there_is_refused(
    ground: str, key: str, per_node: int, kind: str | None, said: str
) -> None:
    with pytest.raises(CatalogueError) as caught:
        choose(ground, key, per_node, kind)
    assert said in str(caught.value)


def test_an_unknown_machine_is_refused_with_the_closest() -> None:
    with pytest.raises(CatalogueError, match=r"machine 'g5\.xlarg' is not in .*did you mean 'g5\.xlarge'"):
        machine("aws", "g5.xlarg")


def test_offered_tells_no_from_unknown() -> None:
    p5 = machine("aws", "p5.48xlarge")
    assert offered(p5, "us-east-2")
    assert offered(p5, "eu-central-1") == ()
    assert offered(p5, "mars-north-1") is None
    assert offered(machine("gcp", "a2-ultragpu-1g"), "europe-west4") == ("europe-west4-a",)
    assert offered(machine("gcp", "a2-ultragpu-1g"), "europe-west3") == ()
    assert offered(machine("gcp", "a2-ultragpu-1g"), "us-central2") is None


def test_offered_is_unknown_without_data() -> None:
    known = machine("gcp", "g2-standard-4")
    silent = Machine(
        **{name: getattr(known, name) for name in known.__slots__ if name != "zones"},
        zones=None,
    )
    assert offered(silent, "us-central1") is None


def test_own_hardware_has_no_list() -> None:
    assert machines("own") == {}
    assert regions("own") == ()


def test_the_data_have_a_day() -> None:
    assert max(source.read for one in ALL for source in one.sources) == module.DATA_DATE
