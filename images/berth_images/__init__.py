"""How each container image is built, and how it reaches a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berth_images.builder import (
    BuiltImage,
    Progress,
    bill_of_materials,
    build,
    build_all,
    cluster_roles,
    find,
    prepare,
    roles,
    roles_for,
)
from berth_images.errors import ImagesError

if TYPE_CHECKING:
    from berth_images.credentials import Credentials
    from berth_images.publish import Pinned, pin, push, stack_settings

__all__ = [
    "BuiltImage",
    "Credentials",
    "ImagesError",
    "Pinned",
    "Progress",
    "bill_of_materials",
    "build",
    "build_all",
    "cluster_roles",
    "find",
    "pin",
    "prepare",
    "push",
    "roles",
    "roles_for",
    "stack_settings",
]


def __getattr__(name: str) -> Any:
    # httpx alone takes longer to import than finding every image built: only who pushes pays for it.
    if name == "Credentials":
        from berth_images.credentials import Credentials  # noqa: PLC0415 - see above

        return Credentials
    if name in {"Pinned", "pin", "push", "stack_settings"}:
        from berth_images import publish  # noqa: PLC0415 - see above

        return getattr(publish, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
