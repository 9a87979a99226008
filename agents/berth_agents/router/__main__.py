"""`python3 -m berth_agents.router [begin]`: exit 0 after SIGTERM, 2 for wrong settings, 1 otherwise.

`begin` writes what Envoy needs to start and ends.
"""

import logging
import sys

from berth_agents import logs, process
from berth_agents.errors import SettingsError
from berth_agents.kube import ClusterAccess
from berth_agents.router import files
from berth_agents.router.controller import serve
from berth_agents.router.document import parse
from berth_agents.router.settings import Settings

log = logging.getLogger("berth_agents.router")


def main(words: list[str]) -> int:
    """Read the settings, then begin or serve."""
    logs.configure("INFO")
    try:
        settings = Settings.from_environment()
        logs.configure(settings.log_level)
        if _begins(words):
            files.begin(parse(_read(settings)), settings.folder)
            return 0
        access = ClusterAccess.from_environment()
    except SettingsError as error:
        log.error("Wrong settings", extra={"error": str(error)})  # noqa: TRY400 - its message is all there is to say
        return 2
    last_words = "The controller ends: a part of it failed"
    return process.run(serve(settings, access), log, settings.host, settings.port, last_words)


def _begins(words: list[str]) -> bool:
    if words not in ([], ["begin"]):
        raise SettingsError(f"the arguments are {words}; allowed is 'begin', or nothing")
    return bool(words)


def _read(settings: Settings) -> str:
    try:
        return settings.document.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{settings.document} cannot be read: {error}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
