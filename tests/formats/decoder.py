"""A second opinion on the boot-status record: ``struct`` and ``zlib`` alone, nothing of ours."""

from __future__ import annotations

import struct
import zlib

AREA = "<B7sQQ32s"
AREA_FIELDS = ("state", "reserved", "size", "number", "identity")
FAILURE = "<BBB1sIQQ32s"
FAILURE_FIELDS = ("phase", "reason", "area", "reserved", "errno", "time_s", "number", "identity")

Value = int | str | list[str] | dict[str, int | str]


def decode(sector: bytes) -> dict[str, Value] | None:
    """The fields of a record by name, bytes as hex text; None where it is no whole record."""
    if len(sector) < 512 or sector[:8] != b"BOOTSVC\0":
        return None
    if struct.unpack_from("<I", sector, 508)[0] != zlib.crc32(sector[:508]):
        return None
    names = "format_version length status_code phase boot_area request sequence"
    fields: dict[str, Value] = dict(
        zip(names.split(), struct.unpack_from("<HHBBBBQ", sector, 8), strict=True)
    )
    names = "tries_left tries_allowed restore_retries crash_count"
    fields |= zip(names.split(), sector[24:28], strict=True)
    fields["reserved_a"] = sector[28:32].hex()
    fields["transaction"] = sector[32:48].hex()
    fields["crash_event"] = sector[48:64].hex()
    fields["version_floor"], fields["progress"] = struct.unpack_from("<QQ", sector, 64)
    fields["layout_hash"] = sector[80:112].hex()
    for index, name in enumerate(("primary", "backup", "staging")):
        fields[name] = _named(AREA_FIELDS, struct.unpack_from(AREA, sector, 112 + 56 * index))
    fields["last_failure"] = _named(FAILURE_FIELDS, struct.unpack_from(FAILURE, sector, 280))
    fields["failed"] = [sector[at : at + 32].hex() for at in range(336, 464, 32)]
    fields["reserved_b"] = sector[464:508].hex()
    return fields


def _named(names: tuple[str, ...], values: tuple[int | bytes, ...]) -> dict[str, int | str]:
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in zip(names, values, strict=True)
    }


def newest_record(copies: list[bytes]) -> dict[str, Value] | None:
    """The whole copy with the highest sequence, as a boot loader or shell would choose it."""
    whole = [fields for fields in map(decode, copies) if fields is not None]
    return max(whole, key=lambda fields: int(str(fields["sequence"])), default=None)
