"""What monitoring costs, on the local cluster: `python bench/monitoring_cost.py [--seconds 60]`.

Needs a running stack `local` (`./berth up local`). Sends requests one after another, and over that time asks
Prometheus itself: processor time and memory of Prometheus and Alertmanager, and of every pod of
monitoring as the kubelet counts it; series by scrape job, and those that one more replica adds; samples a
second; and how many bytes of metrics are fetched for each request. Last, one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from berth.cli.paths import cluster_name
from berth.localcluster import Cluster
from berth.operations import ask

ROOT = Path(__file__).resolve().parents[1]
# Whole pods: the local cluster's containerd tells the kubelet of no container in them.
WATCHING = 'namespace=~"berth-monitoring|berth-node-agents",container="",pod!=""'


def said(*words: str) -> str:
    """What ./berth says."""
    done = subprocess.run(
        [sys.executable, "-m", "berth.cli", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


class Prometheus:
    """Asks for single numbers and for numbers by a label."""

    def __init__(self, url: str) -> None:
        self._url = url

    def by(self, query: str, label: str) -> dict[str, float]:
        """Values by a label."""
        answer = httpx.get(f"{self._url}/api/v1/query", params={"query": query}, timeout=30).json()
        return {one["metric"].get(label, ""): float(one["value"][1]) for one in answer["data"]["result"]}

    def one(self, query: str) -> float:
        """One value; 0 where there is none."""
        return next(iter(self.by(query, "").values()), 0.0)


def bodies(cluster: Cluster) -> dict[str, int]:
    """Bytes that one scrape of a gateway and of its engine fetches."""
    pods = json.loads(
        cluster.kubectl(
            "get", "pods", "-n", "berth-local", "-l", "berth.dev/queue-metrics=true", "-o", "json"
        )
    )
    name = pods["items"][0]["metadata"]["name"]
    place = f"/api/v1/namespaces/berth-local/pods/{name}:9000/proxy"
    return {
        job: len(cluster.kubectl("get", "--raw", f"{place}/{path}").encode())
        for job, path in (("berth-gateway", "metrics"), ("berth-engine", "engine/metrics"))
    }


async def load(url: str, key: str, count: int) -> None:
    """So many requests, one after another."""
    for _ in range(count):
        await ask(url, key, "Say a word.", max_new_tokens=8)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="how long, at the least")
    parser.add_argument("--requests", type=int, default=40, help="requests over that time")
    given = parser.parse_args()
    outputs: dict[str, Any] = json.loads(said("outputs", "local", "--json"))
    outputs = outputs.get("outputs", outputs)
    prometheus = Prometheus(outputs["monitoring"]["local"]["prometheus"]["url"])
    key = said("key", "local").strip()
    began = time.monotonic()
    asyncio.run(load(outputs["endpoints"]["local/smollm2"], key, given.requests))
    time.sleep(max(0.0, given.seconds - (time.monotonic() - began)))
    seconds = time.monotonic() - began
    window = f"{int(seconds)}s"
    scrapes = prometheus.by(
        f'sum by (job) (count_over_time(up{{job=~"berth-.*"}}[{window}])) / {seconds}', "job"
    )
    sizes = bodies(Cluster(cluster_name()))
    fetched = sum(scrapes.get(job, 0.0) * size for job, size in sizes.items())
    found = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "seconds": round(seconds, 1),
        "requests": given.requests,
        "processor_share": prometheus.by(
            f'sum by (job) (rate(process_cpu_seconds_total{{job=~"prometheus|alertmanager"}}[{window}]))',
            "job",
        ),
        "memory_bytes": prometheus.by(
            'sum by (job) (process_resident_memory_bytes{job=~"prometheus|alertmanager"})', "job"
        ),
        "pod_processor_share": prometheus.by(
            f"sum by (pod) (rate(container_cpu_usage_seconds_total{{{WATCHING}}}[{window}]))",
            "pod",
        ),
        "pod_memory_bytes": prometheus.by(
            f"sum by (pod) (container_memory_working_set_bytes{{{WATCHING}}})", "pod"
        ),
        "series": prometheus.by('sum by (job) (scrape_samples_post_metric_relabeling{job!=""})', "job"),
        "series_per_replica": prometheus.one(
            'sum(avg by (job) (scrape_samples_post_metric_relabeling{job=~"berth-gateway|berth-engine"}))'
        ),
        "head_series": prometheus.one("prometheus_tsdb_head_series"),
        "samples_per_second": prometheus.one(
            f"sum(rate(prometheus_tsdb_head_samples_appended_total[{window}]))"
        ),
        "scrape_bytes": sizes,
        "bytes_per_request": round(fetched * seconds / given.requests),
    }
    for name, value in found.items():
        shown = ", ".join(f"{k} {v:,.4g}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name:28}{shown}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
