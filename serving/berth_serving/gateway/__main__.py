"""Start the gateway from its environment variables."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

import uvloop

from berth_serving import logs
from berth_serving.environment import SettingsError, refuse
from berth_serving.gateway.server import serve
from berth_serving.keys import KeyRing, KeysError
from berth_serving.parent import end_with_parent
from berth_serving.settings import GatewaySettings


def main() -> int:
    """Serve until SIGTERM; exit code 0 after a drain, 2 for wrong settings."""
    end_with_parent(signal.SIGTERM)
    try:
        settings = GatewaySettings.from_environment(os.environ)
        logs.configure(settings.log_level)
        keys = KeyRing(
            settings.api_keys_dir,
            allow_anonymous=settings.allow_anonymous,
            # A managed cloud has asked its callers for its own.
            needed=not settings.managed_cloud,
        )
        # What is imported by now stays; looking through all of it would hold up every request for 20 ms.
        gc.collect()
        gc.freeze()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(settings, keys))
    except (SettingsError, KeysError) as error:
        refuse("berth-gateway", error)


if __name__ == "__main__":
    sys.exit(main())
