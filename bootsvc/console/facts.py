"""What the console knows of a machine: one value, the same for people and programs. Pure.

People read it as pages (``pages``), programs as JSON (``as_json``, documented in ``PROTOCOL.md``).
"""

from __future__ import annotations

from dataclasses import dataclass

from bootsvc.formats.boot_status import BootStatus

SCHEMA = 1
"""Version of what programs read and write; raised when a field changes its meaning or goes."""


@dataclass(frozen=True)
class AreaFacts:
    """One area, by the record and by what this start found in it.

    Attributes:
        name: primary, backup or staging.
        state: the record's word for it: empty, writing, valid, confirmed or bad.
        number, label: of the image found there; 0 and "" where none was found.
        identity: 64 hex digits, "" where no image was found.
        signed_by: the name of the key that signed it, "" where none that is trusted did.
        check: unseen, footed (only its footer was read), verified (every byte) or refused.
        problem: why it may not be used, in words; "" where nothing is known against it.
    """

    name: str
    state: str
    number: int = 0
    label: str = ""
    identity: str = ""
    signed_by: str = ""
    check: str = "unseen"
    problem: str = ""


@dataclass(frozen=True)
class Facts:
    """A machine, as the console can tell it.

    Attributes:
        bootsvc: version of the updater that runs.
        slot: the updater's slot that was started: a or b; "" where it came from elsewhere.
        compatible: the machine type.
        disk: device node; "" where none can be used.
        problem: why the machine cannot go on by itself (HALT), in words; "" where it can.
        status: the record as it stands; None where it was lost or never read.
        next, why: what runs next if nobody presses a key, and why, as sentences.
        last_failure: as one sentence, "" where there is none; when: ``last_failure_at_s``.
        last_failure_at_s: seconds since 1970, 0 where unknown.
        areas: primary, backup, staging.
        failed: identities, 64 hex digits, that failed here, newest first.
        alarms: sentences of this start that a person should know.
        watchdog: what guards the machine now, as a sentence.
        clock_s: seconds since 1970 by the machine's clock, 0 where it is not to be believed.
        address: the network address in use, "" where the network is off.
        mirror: base URL of images for ``install``, "" where none is set.
        is_locked: the console wants a password first; nothing else is shown until then.
        has_shell: the shell may be opened from the console.
        has_installer: this updater carries what goes on a new disk.
    """

    bootsvc: str
    slot: str
    compatible: str
    disk: str
    problem: str
    status: BootStatus | None
    next: str
    why: str
    last_failure: str = ""
    last_failure_at_s: int = 0
    areas: tuple[AreaFacts, ...] = ()
    failed: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    watchdog: str = ""
    clock_s: int = 0
    address: str = ""
    mirror: str = ""
    is_locked: bool = False
    has_shell: bool = True
    has_installer: bool = False

    def area(self, name: str) -> AreaFacts:
        """The area ``name``. Raises KeyError: there is none of that name."""
        for one in self.areas:
            if one.name == name:
                return one
        raise KeyError(name)
