"""What schemathesis cannot know of the server's document: reasons, as data, to refuse what fits a schema.

Its own check of that is replaced by one that also reads the answer's message. Loaded by SCHEMATHESIS_HOOKS.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import schemathesis
import yaml

_WAIVED = [
    re.compile(one["message"])
    for one in yaml.safe_load(Path(os.environ["BERTH_WAIVERS"]).read_text())["schemathesis"]
]
_REFUSED = (400, 415, 422)


@schemathesis.check
def valid_is_accepted_or_refused_for_a_reason(ctx: Any, response: Any, case: Any) -> None:
    """A request that fits the document is answered, or refused for a reason that no schema can hold."""
    del ctx
    if response.status_code not in _REFUSED or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    error = json.loads(response.content)["error"]
    said = error["message"] if isinstance(error, dict) else error
    assert any(one.search(said) for one in _WAIVED), f"fits the document, and is refused: {said}"
