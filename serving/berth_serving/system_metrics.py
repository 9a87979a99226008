"""System metrics, read when scraped: GPUs by NVML, the rest from /proc and the container's cgroup.

What is absent is named (`berth_metric_source_available` is 0, with the reason), never shown as zero.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from berth_serving.metric_table import BY_NAME, COUNTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_MICRO = 1e6
_KIB = 1024
_MILLI = 1000.0
_PERCENT = 100.0
_NO_LIMIT = "max"

_Sample = tuple[str, dict[str, str], float]


class _AbsentError(Exception):
    """A source is not there; the message says why, in a few constant words."""


class SystemCollector:
    """Reads every source at every scrape.

    Args:
        proc: where procfs is.
        cgroup: where this container's cgroup is.
        nvml: the module pynvml, or what stands for it; None loads it.
    """

    def __init__(
        self, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup"), nvml: Any = None
    ) -> None:
        self._proc = proc
        self._cgroup = cgroup
        self._nvml = nvml
        self._nvml_absent = ""

    def collect(self) -> Iterable[Metric]:
        """Every sample that can be had, and which sources cannot."""
        sources: dict[str, Callable[[], Iterator[_Sample]]] = {
            "nvml": self._gpus,
            "procfs": self._node,
            "pressure": self._pressure,
            "cgroup": self._container,
        }
        families: dict[str, Metric] = {}
        _add(families, ("llm_gpu_memory_used_bytes", {}, math.nan))
        for source, read in sources.items():
            reason = ""
            found: list[_Sample] = []
            try:
                found.extend(read())
            except _AbsentError as error:
                reason = str(error)
            except (OSError, ValueError, IndexError, KeyError):
                reason = "not there, or not readable"
            for sample in found:
                _add(families, sample)
            labels = {"source": source, "reason": reason}
            _add(families, ("berth_metric_source_available", labels, 0 if reason else 1))
        return families.values()

    def _gpus(self) -> Iterator[_Sample]:
        nvml = self._loaded()
        used = 0
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                gpu = nvml.nvmlDeviceGetHandleByIndex(index)
                labels = {"gpu": str(index)}
                memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
                used += memory.used
                yield "berth_gpu_memory_used_bytes", labels, memory.used
                yield "berth_gpu_memory_total_bytes", labels, memory.total
                # What a card cannot tell is left out, not shown as zero.
                with contextlib.suppress(nvml.NVMLError):
                    share = nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / _PERCENT
                    yield "berth_gpu_utilisation_ratio", labels, share
                with contextlib.suppress(nvml.NVMLError):
                    yield "berth_gpu_power_watts", labels, nvml.nvmlDeviceGetPowerUsage(gpu) / _MILLI
                with contextlib.suppress(nvml.NVMLError):
                    celsius = nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)
                    yield "berth_gpu_temperature_celsius", labels, celsius
        except nvml.NVMLError:
            raise _AbsentError("NVML lost the GPU") from None
        yield "llm_gpu_memory_used_bytes", {}, used

    def _loaded(self) -> Any:
        if self._nvml_absent:
            raise _AbsentError(self._nvml_absent)
        if self._nvml is None:
            import pynvml  # type: ignore[import-untyped] # noqa: PLC0415 - 6,000 lines that only a machine with a GPU needs

            self._nvml = pynvml
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError:
            # No driver appears while a container runs: asking once is enough.
            self._nvml_absent = "no NVIDIA driver here"
            raise _AbsentError(self._nvml_absent) from None
        return self._nvml

    def _node(self) -> Iterator[_Sample]:
        ticks = os.sysconf("SC_CLK_TCK")
        with (self._proc / "stat").open() as file:
            values = file.readline().split()[1:]
        for mode, value in zip(_MODES, values, strict=False):
            yield "berth_node_cpu_seconds_total", {"mode": mode}, int(value) / ticks
        memory = {}
        for line in (self._proc / "meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            memory[name] = int(rest.split()[0])
        for state, name in (("total", "MemTotal"), ("available", "MemAvailable")):
            yield "berth_node_memory_bytes", {"state": state}, memory[name] * _KIB

    def _pressure(self) -> Iterator[_Sample]:
        for resource in ("cpu", "io", "memory"):
            path = self._proc / "pressure" / resource
            yield "berth_node_pressure_seconds_total", {"resource": resource}, _some(path)

    def _container(self) -> Iterator[_Sample]:
        cpu = dict(line.split() for line in (self._cgroup / "cpu.stat").read_text().splitlines())
        yield "berth_container_cpu_seconds_total", {}, int(cpu["usage_usec"]) / _MICRO
        if "throttled_usec" in cpu:
            yield "berth_container_cpu_throttled_seconds_total", {}, int(cpu["throttled_usec"]) / _MICRO
        for state, name in (("used", "memory.current"), ("limit", "memory.max")):
            with contextlib.suppress(OSError):  # a root cgroup has neither
                text = (self._cgroup / name).read_text().strip()
                if text != _NO_LIMIT:
                    yield "berth_container_memory_bytes", {"state": state}, int(text)
        with contextlib.suppress(OSError):
            yield "berth_container_io_wait_seconds_total", {}, _some(self._cgroup / "io.pressure")


def _some(path: Path) -> float:
    """Seconds in which something waited, from a file of pressure stall information."""
    fields = dict(word.split("=") for word in path.read_text().split("\n", 1)[0].split()[1:])
    return int(fields["total"]) / _MICRO


def _add(families: dict[str, Metric], sample: _Sample) -> None:
    name, labels, value = sample
    row = BY_NAME[name]
    kind = CounterMetricFamily if row.kind == COUNTER else GaugeMetricFamily
    if name == "llm_gpu_memory_used_bytes" or name not in families:
        families[name] = kind(name, row.text, labels=row.labels)
    families[name].add_metric([labels[label] for label in row.labels], value)  # type: ignore[attr-defined]
