"""What the updater hands to the OS: facts, and the record of this start.

The facts travel as ``bootsvc.*`` kernel options (kexec) or in ``/run/bootsvc/handover.env``
(switch_root); in the running OS the file exists in both cases. The record of the start is a small
cpio behind the image's initrd, or ``/run/bootsvc/start.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bootsvc.formats.boot_status import Area
from bootsvc.formats.verity import Verity

RUN_DIR = Path("/run/bootsvc")
ENV_FILE = RUN_DIR / "handover.env"
START_FILE = RUN_DIR / "start.json"
CPIO_NAME = "bootsvc-start.json"


@dataclass(frozen=True)
class Handover:
    """The facts of this start.

    Attributes:
        identity: of the image that is started, 32 bytes.
        transaction: of the update it belongs to, 16 bytes.
        root_node, root_guid: the area's partition (/dev/vda4) and its GPT GUID.
        data_node, data_guid: the data partition's, empty where there is none.
        alarm: name of the reason for an alarm, empty where all is well.
        slot: of the updater that hands over, a or b; empty where it did not come from one.
        root_offset: where the root file system begins in the area, in bytes.
        verity: the tree that its blocks are held against while it runs, or None.
    """

    area: Area
    identity: bytes
    transaction: bytes
    is_trial: bool
    root_node: str
    root_guid: str
    data_node: str
    data_guid: str
    overlay: str
    init: str
    confirm_limit_s: int
    alarm: str = ""
    slot: str = ""
    root_offset: int = 0
    verity: Verity | None = None

    def kernel_facts(self) -> dict[str, str]:
        """For ``cmdline.compose``."""
        facts = {
            "area": self.area.name.lower(),
            "identity": self.identity.hex(),
            "transaction": self.transaction.hex(),
            "trial": str(int(self.is_trial)),
            "overlay": self.overlay,
            "confirm_limit_s": str(self.confirm_limit_s),
        }
        if self.data_guid:
            facts["data"] = f"PARTUUID={self.data_guid}"
        if self.alarm:
            facts["alarm"] = self.alarm
        if self.slot:
            facts["slot"] = self.slot
        if self.root_offset:
            facts["root_offset"] = str(self.root_offset)
        if self.verity:
            facts["verity"] = self.verity.as_option()
        return facts

    def env_text(self, mapped: str = "") -> str:
        """The file that overlay.sh, the units and the ``bootsvc`` command read.

        Args:
            mapped: the device to mount, where the updater has mapped one over the area already.
        """
        values = {
            "AREA": self.area.name.lower(),
            "IDENTITY": self.identity.hex(),
            "TRANSACTION": self.transaction.hex(),
            "TRIAL": str(int(self.is_trial)),
            "ROOT": self.root_node,
            "DATA": self.data_node,
            "OVERLAY": self.overlay,
            "INIT": self.init,
            "CONFIRM_LIMIT_S": str(self.confirm_limit_s),
            "ALARM": self.alarm,
            "SLOT": self.slot,
            "ROOT_OFFSET": str(self.root_offset or ""),
            "VERITY": self.verity.as_option() if self.verity else "",
            "MAPPED": mapped,
        }
        return "".join(f"BOOTSVC_{name}='{value}'\n" for name, value in values.items())


def start_cpio(document: object) -> bytes:
    """A cpio archive (newc) with the record of this start as its only file."""
    return _newc(CPIO_NAME, json.dumps(document).encode()) + _newc("TRAILER!!!", b"")


def _newc(name: str, data: bytes) -> bytes:
    fields = (0, 0o100444, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
