"""Open-loop load on an endpoint, and what the autoscaler did meanwhile.

report = await run(LoadSettings(endpoint="http://…", key="…", rate=4.0), on_progress=print)
print(render(report))
"""

from berth.operations.load.report import LoadReport, render
from berth.operations.load.runner import Progress, run
from berth.operations.load.settings import LoadSettings, ScalingTarget, packaged_prompts, read_prompts

__all__ = [
    "LoadReport",
    "LoadSettings",
    "Progress",
    "ScalingTarget",
    "packaged_prompts",
    "read_prompts",
    "render",
    "run",
]
