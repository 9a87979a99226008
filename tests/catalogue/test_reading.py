"""Every slip in the data is one error that names file, key, value and what is allowed."""

from pathlib import Path

import pytest
from berth_catalogue import accelerators, capacity, kubernetes, machines, pairings, reading
from berth_catalogue.errors import CatalogueError

DATA = Path(reading.__file__).parent

LOADERS = {
    "accelerators.yaml": accelerators.accelerators,
    "pairings.yaml": pairings.pairings,
    "capacity.yaml": capacity._all,
    "kubernetes.yaml": kubernetes._all,
}


def load_with(file: str, slip: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """Load a file of the catalogue with one slip in it."""
    old, new = slip
    text = (DATA / file).read_text("utf-8")
    assert old in text, f"{file} has no {old!r} to spoil"
    (tmp_path / file).write_text(text.replace(old, new, 1), "utf-8")
    for module in (reading, machines):
        monkeypatch.setattr(module, "files", lambda _package: tmp_path)
    if file.startswith("machines_"):
        return machines._ground.__wrapped__(file.removeprefix("machines_").split(".")[0])
    return LOADERS[file].__wrapped__()


@pytest.mark.parametrize(
    ("file", "slip", "said"),
    [
        (
            "accelerators.yaml",
            ("vendor: nvidia", "vendor: nvidea"),
            "accelerators.yaml: nvidia-a10g.vendor: must be one of nvidia, aws, google, got 'nvidea'",
        ),
        (
            "accelerators.yaml",
            ("memory_gib: 22.35", "memory_gib: -1"),
            "accelerators.yaml: nvidia-a10g.memory_gib: must be a number above 0, got -1",
        ),
        (
            "accelerators.yaml",
            ("memory_gib: 22.35", "memory: 22.35"),
            "accelerators.yaml: nvidia-a10g.memory_gib is missing",
        ),
        (
            "accelerators.yaml",
            ("product_labels: [NVIDIA-A10G]", "product_labels: [NVIDIA-A10G]\n  cores: 80"),
            "accelerators.yaml: unknown keys: nvidia-a10g.cores; known here: title, vendor, memory_gib,",
        ),
        (
            "accelerators.yaml",
            ("effect: NoSchedule", "effect: NoRun"),
            "nvidia-a10g.taint.effect: must be one of NoSchedule, PreferNoSchedule, NoExecute, got 'NoRun'",
        ),
        (
            "accelerators.yaml",
            ("sources: [moto, labels, gke-taint]", "sources: []"),
            "a10g.sources: must be a list of at least one: every figure has a source and a date, got []",
        ),
        (
            "accelerators.yaml",
            ("sources: [moto, labels, gke-taint]", "sources: [motto]"),
            "nvidia-a10g.sources: source 'motto' is not in accelerators.yaml: sources; did you mean 'moto'?",
        ),
        (
            "accelerators.yaml",
            ('read: "2026-11-23"', 'read: "last week"'),
            "sources.moto.read: must be a day as year-month-day, got 'last week'",
        ),
        (
            "pairings.yaml",
            ("- nvidia-l40s", "- nvidia-l40x"),
            "engine-vllm.accelerators: accelerator 'nvidia-l40x' is not in accelerators.yaml; did you mean",
        ),
        (
            "pairings.yaml",
            ("accelerators: [aws-inferentia2]", "accelerators: [nvidia-l4]"),
            "vllm.engine-vllm-neuron.accelerators: must be paired with an engine once, got 'nvidia-l4'",
        ),
        (
            "pairings.yaml",
            ("reason: computes on the CPU", "reason: ''"),
            "engines.llama.cpp.engine-llama-cpp.reason: must be a text that is not empty",
        ),
        (
            "capacity.yaml",
            ("spot: {notice_seconds: 120", "spot: {notice_seconds: two minutes"),
            "capacity.yaml: aws.spot.notice_seconds: must be a whole number from 1, got 'two minutes'",
        ),
        (
            "capacity.yaml",
            ("on-demand: {", "ondemand: {"),
            "aws: capacity type 'ondemand' is not in capacity.yaml; did you mean 'on-demand'?",
        ),
        (
            "kubernetes.yaml",
            ('"1.30": {', '"1.30.4": {'),
            "kubernetes.yaml: aws: '1.30.4' must be a minor version, such as '1.34'",
        ),
        (
            "kubernetes.yaml",
            ('standard_until: "2025-07-23"', 'standard_until: "July 2025"'),
            "kubernetes.yaml: aws.1.30.standard_until: must be a day as year-month-day, got 'July 2025'",
        ),
        (
            "machines_gcp.yaml",
            ("accelerator: nvidia-l4", "accelerator: nvidia-l5"),
            "machines_gcp.yaml: machines.g2-standard-4.accelerator: must be one of nvidia-a10g, nvidia-l4,",
        ),
        (
            "machines_gcp.yaml",
            ("accelerators: 1", "accelerators: 0"),
            "machines.g2-standard-4.accelerators: must be a whole number from 1, got 0",
        ),
        (
            "machines_gcp.yaml",
            ("vcpus: 4", "vcpus: true"),
            "machines.g2-standard-4.vcpus: must be a whole number from 1, got True",
        ),
        (
            "machines_gcp.yaml",
            ("      asia-east1: [", "      asia-east9: ["),
            "machines.g2-standard-4.zones.asia-east9: must be a region of the file's list, got 'asia-east9'",
        ),
        (
            "machines_gcp.yaml",
            ("[on-demand, spot, reserved]", "[on-demand, sport]"),
            "machines.g2-standard-4.capacity_types: must be a list of on-demand, spot, reserved, got",
        ),
        (
            "machines_gcp.yaml",
            (
                "asia-northeast3: [asia-northeast3-a, asia-northeast3-b]",
                "asia-northeast3: [asia-northeast3-a, asia-northeast3-a]",
            ),
            "machines.g2-standard-4.zones.asia-northeast3: must be a list of different texts, got",
        ),
        (
            "machines_gcp.yaml",
            ("\nregions:", "\nregion:"),
            "machines_gcp.yaml: regions is missing",
        ),
        (
            "machines_aws.json",
            ('"vcpus": 48', '"vcpus": "48"'),
            "machines_aws.json: machines.g5.12xlarge.vcpus: must be a whole number from 1, got '48'",
        ),
    ],
)
def test_a_slip_is_named(
    file: str, slip: tuple[str, str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(CatalogueError) as caught:
        load_with(file, slip, monkeypatch, tmp_path)
    assert said in str(caught.value)


def test_a_file_that_is_no_mapping_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "capacity.yaml").write_text("- aws\n", "utf-8")
    monkeypatch.setattr(reading, "files", lambda _package: tmp_path)
    with pytest.raises(CatalogueError, match=r"capacity\.yaml: the file: must be a mapping, got \['aws'\]"):
        capacity._all.__wrapped__()


@pytest.mark.parametrize("file", sorted(path.name for path in DATA.glob("*.yaml")))
def test_no_data_names_a_place_on_a_machine(file: str) -> None:
    text = (DATA / file).read_text("utf-8")
    assert "/root/" not in text
    assert "/tmp/" not in text  # noqa: S108 - looked for, not used
