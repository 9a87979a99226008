"""Derives machines_aws.json from the instance types and offerings that moto packages.

python -m berth_catalogue.refresh_machines [--check]

moto records them from AWS (DescribeInstanceTypes, DescribeInstanceTypeOfferings), so they are facts with
moto's version as their date, and refreshing them needs no account. For development: programs read the file.
"""

from __future__ import annotations

import gzip
import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from berth_catalogue.capacity import TYPES
from berth_catalogue.machines import DATA_DATE

FAMILIES = ("g5", "g6", "g6e", "p4d", "p4de", "p5", "p5e", "p5en", "inf2")
"""The families that the node pools know."""

_FILE = Path(__file__).with_name("machines_aws.json")
_MIB = 1024
# Two kinds of A100 go by one name; their memory, in GiB, tells them apart.
_ACCELERATORS = {
    ("A10G", 22): "nvidia-a10g",
    ("L4", 22): "nvidia-l4",
    ("L40S", 44): "nvidia-l40s",
    ("A100", 40): "nvidia-a100-40gb",
    ("A100", 80): "nvidia-a100-80gb",
    ("H100", 80): "nvidia-h100-80gb",
    ("H200", 141): "nvidia-h200-141gb",
    ("Inferentia2", 32): "aws-inferentia2",
}


def derive() -> str:
    """The text of machines_aws.json, from the moto that is installed.

    Raises:
        SystemExit: moto is not installed, or has an accelerator that is not known here.
    """
    resources = _resources()
    types = _packed(resources / "instance_types.json.gz")
    names = sorted(name for name in types if name.split(".")[0] in FAMILIES)
    zones, regions = _offerings(resources, "availability-zone", names)
    zone_ids, _ = _offerings(resources, "availability-zone-id", names)
    machines = {
        name: {
            **_figures(name, types[name]),
            "zones": zones[name],
            "zone_ids": zone_ids[name],
            "sources": ["moto"],
        }
        for name in names
    }
    source = {
        "what": "vCPUs, memory, accelerators, zones, zone ids, and how it is sold",
        "from": f"PyPI moto {version('moto')}: ec2/resources/instance_types.json.gz, instance_type_offerings",
        "read": DATA_DATE,
    }
    data = {"sources": {"moto": source}, "regions": regions, "machines": machines}
    return _lines(data)


def main() -> None:
    """Write the file, or with --check say whether it is what moto's data give."""
    text = derive()
    if sys.argv[1:] == ["--check"]:
        if _FILE.read_text("utf-8") != text:
            raise SystemExit(f"{_FILE.name} differs from moto {version('moto')}: run this without --check")
    elif sys.argv[1:]:
        raise SystemExit(f"unknown argument {sys.argv[1]!r}; allowed: --check")
    else:
        _FILE.write_text(text, "utf-8")


def _resources() -> Path:
    found = find_spec("moto")
    if found is None or found.origin is None:
        raise SystemExit("moto is not installed: it is one of the development packages")
    return Path(found.origin).with_name("ec2") / "resources"


def _packed(path: Path) -> Any:
    with gzip.open(path) as stream:
        return json.load(stream)


def _offerings(
    resources: Path, kind: str, names: list[str]
) -> tuple[dict[str, dict[str, list[str]]], list[str]]:
    """Where each type is offered, by region, and every region there is data of."""
    offered: dict[str, dict[str, list[str]]] = {name: {} for name in names}
    regions = []
    for path in sorted((resources / "instance_type_offerings" / kind).iterdir()):
        region = path.name.removesuffix(".json.gz")
        regions.append(region)
        for one in _packed(path):
            if one["InstanceType"] in offered:
                offered[one["InstanceType"]].setdefault(region, []).append(one["Location"])
    for by_region in offered.values():
        for places in by_region.values():
            places.sort()
    return offered, regions


def _figures(name: str, one: dict[str, Any]) -> dict[str, Any]:
    [device] = (one.get("GpuInfo") or {}).get("Gpus") or one["NeuronInfo"]["NeuronDevices"]
    kind = device["Name"], device["MemoryInfo"]["SizeInMiB"] // _MIB
    if kind not in _ACCELERATORS:
        raise SystemExit(f"{name}: accelerator {kind[0]} with {kind[1]} GiB is not known here; add it")
    memory = one["MemoryInfo"]["SizeInMiB"] / _MIB
    return {
        "accelerator": _ACCELERATORS[kind],
        "accelerators": device["Count"],
        "vcpus": one["VCpuInfo"]["DefaultVCpus"],
        "memory_gib": int(memory) if memory.is_integer() else memory,
        # A capacity reservation is of on-demand capacity; a capacity block is one too.
        "capacity_types": [
            kind
            for kind in TYPES
            if ("on-demand" if kind == "reserved" else kind) in one["SupportedUsageClasses"]
        ],
    }


def _lines(data: dict[str, Any]) -> str:
    """JSON with a machine's figures, and each of its regions, on a line: a change reads as a short diff."""
    parts = [f"{json.dumps(key)}: {json.dumps(data[key])}" for key in ("sources", "regions")]
    machines = ",\n".join(f" {json.dumps(name)}: {_machine(one)}" for name, one in data["machines"].items())
    return "{\n" + ",\n".join(parts) + ',\n"machines": {\n' + machines + "\n}\n}\n"


def _machine(one: dict[str, Any]) -> str:
    plain = {key: value for key, value in one.items() if key not in ("zones", "zone_ids")}
    lines = [f"  {json.dumps(plain)[1:-1]}"]
    for key in ("zones", "zone_ids"):
        places = [f"   {json.dumps(region)}: {json.dumps(zones)}" for region, zones in one[key].items()]
        lines.append(f"  {json.dumps(key)}: {{\n" + ",\n".join(places) + "\n  }")
    return "{\n" + ",\n".join(lines) + "\n }"


if __name__ == "__main__":
    main()
