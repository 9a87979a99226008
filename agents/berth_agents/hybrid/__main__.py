"""`python3 -m berth_agents.hybrid report|control`: exit 0 after SIGTERM, 2 for wrong settings, else 1."""

import logging
import sys
from collections.abc import Coroutine

from berth_agents import logs, process
from berth_agents.errors import SettingsError
from berth_agents.hybrid import controller, reporter
from berth_agents.hybrid.settings import ControllerSettings, ReporterSettings
from berth_agents.kube import ClusterAccess

log = logging.getLogger("berth_agents.hybrid")


def main(words: list[str]) -> int:
    """Read the settings, then report or control."""
    logs.configure("INFO")
    try:
        settings, serving = _asked_for(words)
    except SettingsError as error:
        log.error("Wrong settings", extra={"error": str(error)})  # noqa: TRY400 - its message is all there is to say
        return 2
    logs.configure(settings.log_level)
    last_words = "The process ends: a part of it failed"
    return process.run(serving, log, settings.host, settings.probes_port, last_words)


def _asked_for(
    words: list[str],
) -> tuple[ReporterSettings | ControllerSettings, Coroutine[None, None, None]]:
    match words:
        case ["report"]:
            site = ReporterSettings.from_environment()
            return site, reporter.serve(site, ClusterAccess.from_environment())
        case ["control"]:
            settings = ControllerSettings.from_environment()
            return settings, controller.serve(settings, ClusterAccess.from_environment())
    raise SettingsError(f"the arguments are {words}; allowed is 'report' or 'control'")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
