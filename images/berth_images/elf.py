"""Which shared libraries an ELF file asks the loader for."""

from __future__ import annotations

import struct

_MAGIC_64_LITTLE = b"\x7fELF\x02\x01"
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB = 1, 5


def needed(content: bytes) -> tuple[str, ...]:
    """The DT_NEEDED names of a 64-bit little-endian ELF file; empty for anything else or a static program."""
    if not content.startswith(_MAGIC_64_LITTLE):
        return ()
    (table,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    loads: list[tuple[int, int, int]] = []
    dynamic: tuple[int, int] | None = None
    for index in range(count):
        at = table + index * size
        (kind,) = struct.unpack_from("<I", content, at)
        offset, address = struct.unpack_from("<QQ", content, at + 8)
        (length,) = struct.unpack_from("<Q", content, at + 32)
        if kind == _PT_LOAD:
            loads.append((address, offset, length))
        elif kind == _PT_DYNAMIC:
            dynamic = (offset, length)
    if dynamic is None:
        return ()
    names: list[int] = []
    strings = 0
    for at in range(dynamic[0], dynamic[0] + dynamic[1], 16):
        tag, value = struct.unpack_from("<qQ", content, at)
        if tag == 0:
            break
        if tag == _DT_NEEDED:
            names.append(value)
        elif tag == _DT_STRTAB:
            strings = value
    # The string table is given as an address; the segment that holds it turns it into an offset.
    start = next(
        (
            strings - address + offset
            for address, offset, length in loads
            if address <= strings < address + length
        ),
        strings,
    )
    return tuple(content[start + name : content.index(b"\0", start + name)].decode() for name in names)
