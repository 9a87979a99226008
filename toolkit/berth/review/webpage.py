"""A review as one HTML page that needs no network: its data, its style and its script are all in it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from berth.deployer.render import short_type

from .documents import as_json

if TYPE_CHECKING:
    from .model import Review

_PAGE = Path(__file__).with_name("page")
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&'\u2028\u2029"}


def page(review: Review) -> str:
    """The page. Its policy lets it load and run nothing but what it came with."""
    style, script = ((_PAGE / name).read_text() for name in ("page.css", "page.js"))
    document = as_json(review)
    for stack in document["stacks"]:
        for entry in stack["entries"]:
            entry["short"] = short_type(entry["type"])
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)
    return Template((_PAGE / "page.html").read_text()).substitute(
        title=html.escape(f"Review of {review.after} against {review.before}"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=data,
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
