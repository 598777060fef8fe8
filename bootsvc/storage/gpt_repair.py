"""Gives a disk back the partition table at its beginning, from the spare at its end.

Only on request: a person should know first that something wrote there. A power cut leaves the disk
as it was, on its spare, or repaired: the header, without which the new entries mean nothing, is
written last, and in one sector.
"""

from __future__ import annotations

from bootsvc.errors import LayoutError, ReadBackError
from bootsvc.formats.gpt import Gpt, first_sectors_from_spare, parse_gpt
from bootsvc.storage.device import Device


def repair_first_table(device: Device) -> Gpt:
    """Write the table at the beginning of ``device`` anew and return it as it reads back.

    The boot code in sector 0 is left as it is; the rest of that sector only where it no longer
    protects the disk.

    Raises:
        LayoutError: that table is whole; nothing was written.
        FormatError: the spare cannot be used, either; nothing was written.
        DeviceError, ReadBackError: the disk's beginning cannot be written; the spare still serves.
    """
    before = parse_gpt(device.read_at, device.size, device.sector_size)
    if not before.is_spare:
        raise LayoutError(f"{device.name}: the partition table at its beginning is whole")
    new = first_sectors_from_spare(device.read_at, device.size, device.sector_size)
    for offset, data in (
        (new.entries_offset, new.entries),
        (0, new.mbr),
        (device.sector_size, new.header),
    ):
        device.write_at(offset, data)
        device.flush()
        if device.read_at(offset, len(data)) != data:
            raise ReadBackError(
                f"{device.name}: its beginning reads back differently",
                hint="the disk is failing; replace it",
            )
    return parse_gpt(device.read_at, device.size, device.sector_size)
