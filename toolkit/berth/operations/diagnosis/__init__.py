"""What is wrong with a stack that runs, in the order in which an expert would look; nothing is changed.

seen = await look(stack="local", …)      # objects and probes, without any secret
findings = diagnose(seen)                # causes first; each: found, evidence, what to do
print(page(seen, findings))              # 80 columns
"""

from berth.operations.diagnosis.diagnose import diagnose
from berth.operations.diagnosis.facts import Alert, AskedServer, Snapshot
from berth.operations.diagnosis.findings import Finding, exit_code
from berth.operations.diagnosis.read import look
from berth.operations.diagnosis.report import as_json, page

__all__ = [
    "Alert",
    "AskedServer",
    "Finding",
    "Snapshot",
    "as_json",
    "diagnose",
    "exit_code",
    "look",
    "page",
]
