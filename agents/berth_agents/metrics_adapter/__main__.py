"""`python3 -m berth_agents.metrics_adapter`: exit 0 after SIGTERM, 2 for wrong settings, 1 otherwise."""

import logging
import sys

from berth_agents import logs, process
from berth_agents.errors import SettingsError
from berth_agents.kube import ClusterAccess
from berth_agents.metrics_adapter.adapter import serve
from berth_agents.metrics_adapter.settings import Settings

log = logging.getLogger("berth_agents.metrics_adapter")


def main() -> int:
    """Read the settings and serve."""
    logs.configure("INFO")
    try:
        settings, access = Settings.from_environment(), ClusterAccess.from_environment()
    except SettingsError as error:
        log.error("Wrong settings", extra={"error": str(error)})  # noqa: TRY400 - its message is all there is to say
        return 2
    logs.configure(settings.log_level)
    last_words = "The adapter ends: a part of it failed"
    return process.run(serve(settings, access), log, settings.host, settings.port, last_words)


if __name__ == "__main__":
    sys.exit(main())
