"""Open-loop load on an endpoint, and what the autoscaler did meanwhile.

report = await run(LoadSettings(endpoint="http://…", key="…", rate=4.0), on_progress=print)
print(render(report))
"""

from berth.operations.load.profiles import PROFILES, Profile
from berth.operations.load.prompts import packaged_prompts, read_prompts
from berth.operations.load.report import LoadReport, render
from berth.operations.load.runner import Progress, run
from berth.operations.load.settings import LoadSettings, Recording, ScalingTarget

__all__ = [
    "PROFILES",
    "LoadReport",
    "LoadSettings",
    "Profile",
    "Progress",
    "Recording",
    "ScalingTarget",
    "packaged_prompts",
    "read_prompts",
    "render",
    "run",
]
