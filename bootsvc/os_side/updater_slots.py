"""The updater's own update, seen from the running OS (DESIGN 2).

A new kernel and initramfs go into the slot that is not the proven one; GRUB tries it once; the OS
that comes up from it and is good (``bootsvc confirm``) makes it the proven one. How the slots lie
and why no power cut costs the machine its updater: ``bootsvc/disk/ESP.md``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bootsvc.boot.disks import partition_node
from bootsvc.errors import (
    BootError,
    BootsvcError,
    DiskBusyError,
    FormatError,
    LayoutError,
    SequenceError,
    StorageError,
)
from bootsvc.formats.gpt import NAMES
from bootsvc.formats.updater_slots import SLOTS, other
from bootsvc.storage.device import Window
from bootsvc.storage.disk import Disk
from bootsvc.storage.updater_slots import (
    Marks,
    SlotContent,
    SlotStore,
    Tick,
    is_kernel,
    no_tick,
)

_ARCHIVES = (
    b"070701",  # cpio, not packed
    b"\x1f\x8b",  # gzip
    b"\x28\xb5\x2f\xfd",  # zstd
    b"\xfd7zXZ",
    b"BZh",
    b"\x5d\0\0",  # lzma
    b"\x02\x21\x4c\x18",  # lz4, as the kernel's own build packs it
)
"""How an initramfs may begin."""


@dataclass(frozen=True)
class SlotReport:
    """One slot as it was found.

    Attributes:
        content: None where ``problem`` says why it cannot be started.
        is_empty: it was never finished, as opposed to damaged.
        release: version of its kernel, in the kernel's own words.
    """

    content: SlotContent | None
    release: str = ""
    problem: str = ""
    is_empty: bool = False


@dataclass(frozen=True)
class UpdaterReport:
    """The updater's slots, and what the next start does.

    Attributes:
        running: the slot that started this system; empty = unknown.
        slots: by name.
    """

    running: str
    marks: Marks
    slots: dict[str, SlotReport]

    @property
    def next_start(self) -> str:
        """The slot that GRUB starts next, by its own rules; empty where neither is whole."""
        wanted = self.marks.to_try or self.marks.proven or _untried(self.marks)
        order = (wanted, other(wanted))
        return next((slot for slot in order if self.slots[slot].content), "")


def slots_on(disk: Disk) -> SlotStore:
    """The updater's slots on ``disk``.

    Raises:
        LayoutError, FormatError: it has none, or they are not as they were made.
    """
    part = disk.partition("esp")
    return SlotStore(Window(disk.device, NAMES["esp"], part.offset, part.size))


@contextmanager
def unmounted(disk: Disk) -> Iterator[None]:
    """Keep everybody from mounting the ESP of ``disk`` meanwhile.

    Raises:
        DiskBusyError: it is mounted: two writers with a cache between them would damage it.
        StorageError: it cannot be opened.
    """
    try:
        node = partition_node(disk, "esp")
    except LayoutError:
        yield  # a disk file, which has no partitions to mount
        return
    try:
        fd = os.open(node, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno == errno.EBUSY:
            raise DiskBusyError(
                f"{node}: the ESP is mounted", hint=f"unmount it first: umount {node}"
            ) from exc
        raise StorageError(f"{node}: cannot be opened: {exc.strerror}") from exc
    try:
        yield
    finally:
        os.close(fd)


def report(store: SlotStore, running: str) -> UpdaterReport:
    """All that can be said of the slots; both are read in full."""
    return UpdaterReport(running, store.marks(), {slot: _look_at(store, slot) for slot in SLOTS})


def _look_at(store: SlotStore, slot: str) -> SlotReport:
    try:
        return SlotReport(store.read(slot), store.release(slot))
    except BootsvcError as exc:
        return SlotReport(None, problem=str(exc), is_empty=isinstance(exc, FormatError))


def check_files(kernel: bytes, initramfs: bytes) -> None:
    """Refuse what no machine could start, before anything is written.

    Raises:
        BootError: the kernel is none for x86, or the initramfs no archive.
    """
    if not is_kernel(kernel):
        raise BootError("the kernel is no Linux kernel for x86 (bzImage)")
    if not initramfs.startswith(_ARCHIVES):
        raise BootError("the initramfs is no cpio archive, packed or not")


def stage(
    store: SlotStore, kernel: bytes, initramfs: bytes, running: str, tick: Tick = no_tick
) -> str:
    """Fill the slot that is not the proven one and have it tried once; returns its name.

    Args:
        running: the slot that started this system; it decides where the mark is unreadable.

    Raises:
        BootError: see ``check_files``.
        SequenceError: nobody knows which slot is the proven one.
        LayoutError: the slot has no room.
        StorageError: the disk failed; the proven slot is untouched.
    """
    check_files(kernel, initramfs)
    proven = store.marks().proven or running
    if not proven:
        raise SequenceError(
            "nobody knows which slot of the updater is good: the mark is damaged, and this system"
            " was not started by one",
            hint="stage from the running machine",
        )
    slot = other(proven)
    store.write(slot, kernel, initramfs, tick)
    store.try_once(slot)
    return slot


def prove(store: SlotStore, running: str) -> bool:
    """The system that slot ``running`` started is good; True where that makes it the proven one.

    Only a slot that GRUB tried counts, not one that a person chose from the menu for once. On
    every other start nothing is read but the marks, and nothing is written.

    Raises:
        StorageError, ImageError, FormatError: the slot is damaged by now, or the disk failed.
    """
    marks = store.marks()
    is_news = bool(running) and (marks.tried == running or not marks.proven)
    if not is_news:
        return False
    if marks.proven != running:
        store.read(running)
    return store.prove(running)


def _untried(marks: Marks) -> str:
    return other(marks.tried) if marks.tried == "a" else "a"
