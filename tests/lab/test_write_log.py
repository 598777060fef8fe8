"""The log of writes: hand-made ones, damaged ones, and one that QEMU made."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qemu_lab.errors import WriteLogError
from qemu_lab.write_log import (
    MAGIC,
    MAX_ENTRIES,
    Flag,
    Replay,
    WriteLog,
    create_log,
    epochs_of,
)

DISK_SECTORS = 16


@dataclass(frozen=True)
class Made:
    """One entry for a log; ``count`` sectors, filled with ``fill``."""

    first: int = 0
    count: int = 0
    flags: int = 0
    fill: int = 0
    mark: bytes = b""


FLUSH = Made(flags=Flag.FLUSH)


def log_of(entries: Sequence[Made], sector: int = 512) -> bytes:
    log = struct.pack("<QQQI", MAGIC, 1, len(entries), sector).ljust(sector, b"\0")
    for one in entries:
        head = struct.pack("<QQQQ", one.first, one.count, one.flags, len(one.mark)) + one.mark
        log += head.ljust(sector, b"\0")
        if not one.flags & Flag.DISCARD:
            log += bytes([one.fill]) * (one.count * sector)
    return log


def opened(path: Path, content: bytes) -> WriteLog:
    path.write_bytes(content)
    return WriteLog(path)


made = st.builds(
    Made,
    first=st.integers(0, DISK_SECTORS - 4),
    count=st.integers(0, 4),
    flags=st.sampled_from((0, Flag.FLUSH, Flag.FUA, Flag.DISCARD, Flag.FLUSH | Flag.FUA)),
    fill=st.integers(1, 255),
)
on_one_file = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# --- the format -----------------------------------------------------------------------------------


@given(entries=st.lists(made, max_size=8), sector=st.sampled_from((512, 4096)))
@on_one_file
def test_every_entry_is_read_as_it_was_written(
    tmp_path: Path, entries: list[Made], sector: int
) -> None:
    log = opened(tmp_path / "log", log_of(entries, sector))
    assert len(log.entries) == len(entries)
    for number, (found, wanted) in enumerate(zip(log.entries, entries, strict=True)):
        assert found.number == number
        assert (found.offset, found.length) == (wanted.first * sector, wanted.count * sector)
        assert found.flags == wanted.flags
        fill = 0 if wanted.flags & Flag.DISCARD else wanted.fill
        assert log.data(found) == bytes([fill]) * found.length


def test_a_mark_has_its_text_and_changes_nothing(tmp_path: Path) -> None:
    log = opened(tmp_path / "log", log_of([Made(flags=Flag.MARK, mark=b"here"), Made(2, 1)]))
    mark, write = log.entries
    assert log.mark(mark) == b"here"
    assert not mark.is_write
    assert write.offset == 1024


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda log: log[:27], "too short"),
        (lambda log: b"\0" * len(log), "no log of writes"),
        (lambda log: log[:8] + b"\2" + log[9:], "version 2"),
        (lambda log: log[:24] + b"\1" + log[25:], "sectors of 513 bytes"),
        (lambda log: log[:16] + struct.pack("<Q", MAX_ENTRIES + 1) + log[24:], "entries"),
        (lambda log: log[:16] + struct.pack("<Q", 3) + log[24:], "entry 2 lies behind"),
        (lambda log: log[:-1], "entry 1 has its data behind"),
        (lambda log: log[:528] + b"\x40" + log[529:], "entry 0 has unknown flags"),
        (lambda log: log[:512] + b"\xff" * 8 + log[520:], "entry 0 writes"),
        (lambda log: log[:528] + b"\x08" + log[529:], "entry 0 is a mark and a write"),
        (lambda log: log[:536] + b"\1" + log[537:], "entry 0 has a mark of 1"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path: Path, change: object, reason: str) -> None:
    whole = log_of([Made(0, 1, fill=1), Made(4, 2, fill=2)])
    assert callable(change)
    with pytest.raises(WriteLogError, match=reason):
        opened(tmp_path / "log", change(whole))


@given(
    entries=st.lists(made, min_size=1, max_size=5),
    at=st.integers(0, 1 << 16),
    bit=st.integers(0, 7),
    cut=st.booleans(),
)
@on_one_file
def test_a_log_cut_short_or_with_a_flipped_bit_is_refused_or_read_within_the_file(
    tmp_path: Path, entries: list[Made], at: int, bit: int, cut: bool
) -> None:
    content = bytearray(log_of(entries))
    at %= len(content)
    if cut:
        del content[at:]
    else:
        content[at] ^= 1 << bit
    try:
        log = opened(tmp_path / "log", bytes(content))
    except WriteLogError:
        return
    for entry in log.entries:
        if Flag.DISCARD not in entry.flags:
            assert len(log.data(entry)) == entry.length


@given(content=st.binary(max_size=2048))
@on_one_file
def test_any_bytes_behind_a_good_superblock_are_no_other_error(
    tmp_path: Path, content: bytes
) -> None:
    head = struct.pack("<QQQI", MAGIC, 1, 5, 512).ljust(512, b"\0")
    try:
        opened(tmp_path / "log", head + content)
    except WriteLogError:
        pass
    else:
        assert len(content) >= 5 * 512


def test_an_empty_log_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    create_log(path)
    assert WriteLog(path).entries == ()
    path.write_bytes(log_of([FLUSH]))
    create_log(path)
    assert len(WriteLog(path).entries) == 1


def test_a_log_that_qemu_wrote_is_read(tmp_path: Path) -> None:
    disk, path = tmp_path / "disk", tmp_path / "log"
    disk.write_bytes(bytes(64 * 1024))
    create_log(path)
    options = (
        f"driver=blklogwrites,file.driver=file,file.filename={disk},"
        f"log.driver=file,log.filename={path},log-append=on,log-super-update-interval=1"
    )
    for commands in (
        ("write -P 1 0 4k", "flush", "write -P 2 4k 512"),
        ("write -P 3 2k 1k", "write -z 8k 1k", "discard 0 512", "flush"),
    ):
        words = [word for command in commands for word in ("-c", command)]
        subprocess.run(
            ["qemu-io", *words, "--image-opts", options], check=True, capture_output=True
        )
    log = WriteLog(path)
    writes = [(one.offset, one.length) for one in log.entries if one.is_write]
    assert writes == [(0, 4096), (4096, 512), (2048, 1024), (8192, 1024), (0, 512)]
    assert sum(one.is_flush for one in log.entries) >= 2
    before = tmp_path / "before"
    before.write_bytes(bytes(64 * 1024))
    replay = Replay(before, log, tmp_path / "scratch")
    replay.advance(len(log.entries))
    with replay.rebuilt() as rebuilt:
        assert rebuilt[512:] == disk.read_bytes()[512:]  # a discard promises nothing


# --- epochs and rebuilt disks ---------------------------------------------------------------------


def test_the_log_is_cut_at_its_flushes(tmp_path: Path) -> None:
    entries = [Made(0, 1), Made(1, 1), FLUSH, FLUSH, Made(2, 1)]
    epochs = epochs_of(opened(tmp_path / "log", log_of(entries)).entries)
    found = [(one.first, one.stop, [write.number for write in one.writes]) for one in epochs]
    assert found == [(0, 3, [0, 1]), (3, 4, []), (4, 5, [4])]


def test_the_data_of_a_flush_come_after_it(tmp_path: Path) -> None:
    entries = [Made(0, 1), Made(1, 1, flags=Flag.FLUSH | Flag.FUA), FLUSH]
    epochs = epochs_of(opened(tmp_path / "log", log_of(entries)).entries)
    found = [(one.first, one.stop, [write.number for write in one.writes]) for one in epochs]
    assert found == [(0, 1, [0]), (1, 3, [1])]


@given(entries=st.lists(made, max_size=8), data=st.data())
@on_one_file
def test_a_rebuilt_disk_holds_what_came_before_the_cut_and_what_arrived(
    tmp_path: Path, entries: list[Made], data: st.DataObject
) -> None:
    log = opened(tmp_path / "log", log_of(entries))
    position = data.draw(st.integers(0, len(entries)))
    arrived = [one for one in log.entries[position:] if data.draw(st.booleans())]
    before = bytes(DISK_SECTORS * 512)
    (tmp_path / "before").write_bytes(before)
    wanted = bytearray(before)
    for one in (*log.entries[:position], *arrived):
        wanted[one.offset : one.end] = log.data(one)

    replay = Replay(tmp_path / "before", log, tmp_path / "scratch")
    replay.advance(position)
    with replay.rebuilt(arrived) as disk:
        assert disk[:] == wanted
        disk[:512] = bytes([7]) * 512
    with replay.rebuilt(arrived) as disk:
        assert disk[:] == wanted
    replay.write_out(tmp_path / "out", arrived)
    assert (tmp_path / "out").read_bytes() == wanted
    assert (tmp_path / "before").read_bytes() == before


def test_a_replay_goes_only_forward(tmp_path: Path) -> None:
    log = opened(tmp_path / "log", log_of([FLUSH, FLUSH]))
    (tmp_path / "before").write_bytes(bytes(512))
    replay = Replay(tmp_path / "before", log, tmp_path / "scratch")
    replay.advance(1)
    with pytest.raises(ValueError, match="from entry 1 to 0"):
        replay.advance(0)
    with pytest.raises(ValueError, match="from entry 1 to 3"):
        replay.advance(3)


def test_a_log_of_a_larger_disk_is_refused(tmp_path: Path) -> None:
    log = opened(tmp_path / "log", log_of([Made(1, 1)]))
    (tmp_path / "before").write_bytes(bytes(512))
    with pytest.raises(WriteLogError, match="entry 0 ends at 1024 of 512 bytes"):
        Replay(tmp_path / "before", log, tmp_path / "scratch")
