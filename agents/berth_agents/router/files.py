"""Files that Envoy reads: each is moved into place whole, which is what Envoy watches for."""

import os
from pathlib import Path

from berth_agents.router import bootstrap, resources
from berth_agents.router.document import Document

BOOTSTRAP = "bootstrap.json"


def put(folder: Path, name: str, content: str) -> bool:
    """Move a file into place, unless it says the same already. Says whether it moved one."""
    target = folder / name
    try:
        if target.read_text(encoding="utf-8") == content:
            return False
    except FileNotFoundError:
        pass
    new = folder / f".{name}.new"
    new.write_text(content, encoding="utf-8")
    os.replace(new, target)  # noqa: PTH105 - the one call whose atomicity is the point
    return True


def begin(document: Document, folder: Path, ready: resources.Endpoints | None = None) -> None:
    """Write everything that an Envoy needs to start; it has no endpoints yet unless they are given."""
    put(folder, BOOTSTRAP, bootstrap.dumped(bootstrap.bootstrap(document, folder)))
    if document.listener.tls:
        put(folder, resources.SDS, resources.response(resources.secrets(document))[0])
    for name, content in resources.endpoints(document, ready or {}).items():
        put(folder, resources.endpoints_file(name), resources.response([content])[0])
    put(folder, resources.CDS, resources.response(resources.clusters(document, folder).values())[0])
    put(folder, resources.RDS, resources.response([resources.routes(document)])[0])
