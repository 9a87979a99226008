"""A recorded healthy stack that can be broken, as an API server and a kubelet say it.

`snapshots/local.json` is what `./berth doctor local --save` kept on the local cluster.
"""

from __future__ import annotations

import copy
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from berth.operations.diagnosis import Snapshot
from berth.operations.diagnosis.logs import harmless

Json = dict[str, Any]
RECORDED = Path(__file__).parent / "snapshots" / "local.json"


class World:
    """A recorded stack that can be broken."""

    def __init__(self) -> None:
        (self.seen,) = json.loads(RECORDED.read_text())
        self.objects: dict[str, list[Json]] = self.seen["objects"]
        self.taken = datetime.fromisoformat(self.seen["taken"])

    def one(self, plural: str, name: str = "smollm2") -> Json:
        return next(one for one in self.objects[plural] if one["metadata"]["name"].startswith(name))

    @property
    def pod(self) -> Json:
        return self.one("pods")

    @property
    def values(self) -> dict[str, float]:
        values: dict[str, float] = self.seen["readings"][0]["values"]
        return values

    def ago(self, seconds: float) -> str:
        return (self.taken - timedelta(seconds=seconds)).isoformat()

    def container(self, name: str) -> Json:
        states = self.pod["status"]["initContainerStatuses"] + self.pod["status"]["containerStatuses"]
        found: Json = next(one for one in states if one["name"] == name)
        return found

    def condition(self, item: Json, kind: str, state: str, reason: str = "", message: str = "") -> None:
        conditions = item.setdefault("status", {}).setdefault("conditions", [])
        item["status"]["conditions"] = [one for one in conditions if one["type"] != kind] + [
            {"type": kind, "status": state, "reason": reason, "message": message}
        ]

    def event(self, item: Json, reason: str, message: str, **more: Any) -> None:
        self.objects["events"].append(
            {
                "metadata": {
                    "name": f"e{len(self.objects['events'])}",
                    "namespace": item["metadata"]["namespace"],
                },
                "involvedObject": {"uid": item["metadata"]["uid"], **more},
                "type": "Warning",
                "reason": reason,
                "message": message,
                "lastTimestamp": self.ago(5),
            }
        )

    def unready(self) -> None:
        self.condition(self.pod, "Ready", "False", "ContainersNotReady")
        self.container("gateway")["ready"] = False

    def pending(self, message: str) -> None:
        self.unready()
        self.pod["status"] |= {"phase": "Pending", "containerStatuses": [], "initContainerStatuses": []}
        self.pod["spec"].pop("nodeName", None)
        self.condition(self.pod, "PodScheduled", "False", "Unschedulable", message)
        self.seen["readings"] = []

    def waits(self, container: str, why: str, message: str = "", **last: Any) -> None:
        self.unready()
        state = self.container(container)
        state |= {
            "ready": False,
            "started": False,
            "state": {"waiting": {"reason": why, "message": message}},
        }
        if last:
            state |= {"restartCount": 4, "lastState": {"terminated": {"finishedAt": self.ago(20), **last}}}

    def log(self, container: str, *lines: str) -> None:
        shown, withheld = harmless(lines)
        self.seen["logs"].append(
            {
                "namespace": "berth-local", "pod": self.pod["metadata"]["name"], "container": container,
                "previous": True, "lines": list(shown), "withheld": withheld,
            }
        )  # fmt: skip

    def answers(self, status: int | None, problem: str = "") -> None:
        self.seen["answers"][-1] |= {"status": status, "problem": problem}

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot.from_json(copy.deepcopy(self.seen))
