"""What an operator asks a running gateway, on the metrics port, with a key of scope `admin`.

GET /admin/settings     every setting as it counts now
GET /admin/keys         names, scopes and limits of the API keys, never their values
GET, PUT /admin/log-level   {"level": "debug"}
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving.keys import ANONYMOUS, describe
from berth_serving.settings import LOG_LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth_serving.gateway.exchange import Receive, Scope
    from berth_serving.keys import KeyRing
    from berth_serving.settings import GatewaySettings

log = logging.getLogger("berth.admin")

_MOST_BODY = 1024


class Admin:
    """Answers `/admin/…`."""

    def __init__(self, settings: GatewaySettings, keys: KeyRing) -> None:
        self._settings = settings
        self._keys = keys

    async def answer(self, scope: Scope, receive: Receive) -> tuple[int, Any]:
        """Status and JSON."""
        headers = dict(scope["headers"])
        key = self._keys.whose(headers.get(b"authorization", b"").decode("latin-1"))
        # Who serves everybody has not let everybody administer.
        if key is None or key is ANONYMOUS:
            return 401, {"error": "a key with scope admin is needed: send `Authorization: Bearer <key>`"}
        if "admin" not in key.scopes:
            return 403, {"error": f"key {key.name} lacks the scope admin"}
        asked = scope["method"], scope["path"]
        if asked == ("PUT", "/admin/log-level"):
            return await self._set_level(receive, key.name)
        answers: dict[tuple[str, str], Callable[[], object]] = {
            ("GET", "/admin/settings"): self._shown_settings,
            ("GET", "/admin/keys"): lambda: describe(self._keys.keys),
            ("GET", "/admin/log-level"): lambda: {
                "level": logging.getLevelName(logging.getLogger().level).lower()
            },
        }
        read = answers.get(asked)
        if read is None:
            return 404, {
                "error": "served: GET /admin/settings, GET /admin/keys, GET and PUT /admin/log-level"
            }
        return 200, read()

    def _shown_settings(self) -> dict[str, object]:
        plain = (int, float, str, bool, type(None))
        return {
            name: value
            if isinstance(value, plain)
            else dict(value)
            if isinstance(value, Mapping)
            else str(value)
            for name, value in (
                (one.name, getattr(self._settings, one.name)) for one in fields(self._settings)
            )
        }

    async def _set_level(self, receive: Receive, who: str) -> tuple[int, Any]:
        body = b""
        more = True
        while more and len(body) <= _MOST_BODY:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            level = msgspec.json.decode(body, type=dict[str, str]).get("level", "")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            level = ""
        if level not in LOG_LEVELS:
            return 422, {"error": f"`level` must be one of {', '.join(LOG_LEVELS)}"}
        logging.getLogger().setLevel(level.upper())
        log.warning("log level changed", extra={"log_level": level, "key": who})
        return 200, {"level": level}
