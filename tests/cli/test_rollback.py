"""``bootsvc rollback``: asks for the image in backup, and keeps the one it leaves if it can."""

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.formats.boot_status import Area, AreaState, Request
from bootsvc.units import BLOCK_SIZE
from tests.bench import V2, V3
from tests.cli.command import TRANSACTION, Command, Outcome
from tests.images import OTHER_KEY, make_image, signed
from tests.os_side.forgetful import ForgetfulFolder, PowerCut
from tests.os_side.kept import content_of, files_in, is_absent_or_whole, only_point

WITHOUT = "no restore point is kept, going back all the same: "


def went_back(bootsvc: Command, outcome: Outcome) -> bool:
    return outcome.code == ExitCode.OK and bootsvc.bench.status.request is Request.ROLLBACK


def went_back_without(bootsvc: Command, outcome: Outcome) -> str:
    """Why there is no restore point; the request was made, and nothing is left over."""
    assert went_back(bootsvc, outcome)
    assert files_in(bootsvc.run_dir / "data") == set()
    (line,) = [one for one in outcome.err.splitlines() if WITHOUT in one]
    return line.partition(WITHOUT)[2]


# --- the request --------------------------------------------------------------------------------


def test_rollback_asks_for_the_image_in_backup(bootsvc: Command) -> None:
    outcome = bootsvc("rollback")
    assert outcome.code == ExitCode.OK
    assert "number 1" in outcome.out
    assert bootsvc.bench.status.request is Request.ROLLBACK


def test_asking_twice_for_a_rollback_writes_once(bootsvc: Command) -> None:
    bootsvc("rollback")
    before = bootsvc.bench.digest()
    assert bootsvc("rollback").code == ExitCode.OK
    assert bootsvc.bench.digest() == before


def test_rollback_is_refused_where_there_is_nothing_to_go_back_to(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc.bench.change(
        lambda status: replace(status, backup=replace(status.backup, state=AreaState.BAD))
    )
    before = bootsvc.bench.digest()
    outcome = bootsvc("rollback")
    assert outcome.code == ExitCode.PHASE
    assert "hint: see: bootsvc verify" in outcome.err
    assert bootsvc.bench.digest() == before
    assert files_in(data) == set()


def test_rollback_is_refused_on_trial(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc.bench.on_trial(TRANSACTION)
    assert bootsvc("rollback").code == ExitCode.PHASE
    assert files_in(data) == set()


# --- the restore point --------------------------------------------------------------------------


def test_the_image_that_is_left_is_kept_and_can_be_come_back_to(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    outcome = bootsvc("rollback")
    assert went_back(bootsvc, outcome)
    assert "number 2, label 2.0, kept as a restore point" in outcome.out
    assert "to come back to it: bootsvc restore-point restore 2" in outcome.out
    point = only_point(data)
    assert (point.identity, point.why, point.problem) == (V2.identity, "rollback", "")
    assert content_of(data, point) == V2.as_file()


def test_an_image_may_hold_secrets_so_only_root_can_read_its_copy(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc("rollback")
    assert (data / "restore-points").stat().st_mode & 0o777 == 0o700


def test_blocks_of_zeros_take_no_room(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    image = make_image(V2.content[:BLOCK_SIZE] + bytes(40 * BLOCK_SIZE), number=2)
    bootsvc.bench.holds(Area.PRIMARY, image)
    bootsvc("rollback")
    point = only_point(data)
    assert content_of(data, point) == image.as_file()
    assert point.own_size < 3 * BLOCK_SIZE


def test_a_whole_restore_point_is_not_written_again(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc("rollback")
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    outcome = bootsvc("rollback")
    assert went_back(bootsvc, outcome)
    assert "is a restore point already" in outcome.out
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


@pytest.mark.parametrize("folder", ["packs", "recipes", "versions"])
@pytest.mark.parametrize("is_cut", [False, True], ids=["one byte", "cut"])
def test_a_damaged_restore_point_is_replaced(bootsvc: Command, folder: str, is_cut: bool) -> None:
    data = bootsvc.uses_data()
    bootsvc("rollback")
    (path,) = (data / "restore-points" / folder).iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = whole[:middle] if is_cut else whole[:middle] + b"\xff" + whole[middle + 1 :]
    path.write_bytes(damaged)
    assert went_back(bootsvc, bootsvc("rollback"))
    assert content_of(data, only_point(data)) == V2.as_file()
    assert path.read_bytes() == whole


def test_the_times_may_be_damaged_and_the_versions_are_still_there(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc("rollback")
    (path,) = (data / "restore-points/lineages").iterdir()
    path.write_bytes(b"{")
    assert content_of(data, only_point(data)) == V2.as_file()
    assert went_back(bootsvc, bootsvc("rollback"))


def test_what_a_power_cut_left_over_is_removed(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc("rollback")
    clean = files_in(data)
    bootsvc("restore-point remove", "2", "--yes")
    folder = data / "restore-points"
    (folder / f".{V3.identity.hex()}.part").write_bytes(b"of an earlier bootsvc")
    (folder / ".writing" / "a").write_bytes(b"half a file")
    (folder / "packs" / f"{V3.identity.hex()}.pack").write_bytes(b"a whole one that nobody named")
    assert went_back(bootsvc, bootsvc("rollback"))
    assert files_in(data) == clean


# --- going back without one ---------------------------------------------------------------------


def test_none_is_kept_where_none_is_wanted(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    outcome = bootsvc("rollback", "--no-restore-point")
    assert went_back(bootsvc, outcome)
    assert "restore point" not in outcome.out + outcome.err
    assert files_in(data) == set()


@pytest.mark.parametrize("blocks", [19, 24])
def test_a_tenth_of_the_file_system_stays_free(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    """18 blocks of random bytes, their digests, a recipe and two documents: 18 blocks are free for
    them, or 23."""
    data = bootsvc.uses_data()
    total, free = 1000, 100 + blocks - 1

    def room(_: object) -> os.statvfs_result:
        used = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
        left = free - used // BLOCK_SIZE
        return os.statvfs_result((BLOCK_SIZE, BLOCK_SIZE, total, left, left, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", room)
    outcome = bootsvc("rollback")
    if blocks == 19:
        why = went_back_without(bootsvc, outcome)
        assert str(data / "restore-points") in why
        assert "400.0 KiB of this file system stay free" in why
    else:
        assert went_back(bootsvc, outcome)
        assert only_point(data)


@pytest.mark.parametrize("facts", [None, "BOOTSVC_DATA_USED=0\n"])
def test_without_usable_data_the_rollback_goes_on(bootsvc: Command, facts: str | None) -> None:
    bootsvc.uses_data()
    (bootsvc.run_dir / "overlay.env").unlink()
    if facts:
        (bootsvc.run_dir / "overlay.env").write_text(facts)
    why = went_back_without(bootsvc, bootsvc("rollback"))
    assert "no data partition takes writes in this start" in why


def test_the_data_of_this_system_is_not_for_the_images_of_other_disks(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootsvc.uses_data()
    monkeypatch.setattr("bootsvc.os_side.machine.whole_disk", lambda _: Path("/dev/vda"))
    why = went_back_without(bootsvc, bootsvc("rollback"))
    assert "not this system's disk" in why


def test_an_altered_primary_is_not_kept(bootsvc: Command) -> None:
    bootsvc.uses_data()
    bootsvc.bench.write(bootsvc.bench.place("primary")[0] + 5000, b"?!")
    why = went_back_without(bootsvc, bootsvc("rollback"))
    assert "differs from its digest" in why


def test_a_primary_that_no_trusted_key_signed_is_not_kept(bootsvc: Command) -> None:
    bootsvc.uses_data()
    bootsvc.bench.put(Area.PRIMARY, signed(V2.content, V2.manifest, V2.tree, OTHER_KEY))
    assert "no signature" in went_back_without(bootsvc, bootsvc("rollback"))


def test_a_primary_that_the_record_does_not_name_is_not_kept(bootsvc: Command) -> None:
    bootsvc.uses_data()
    bootsvc.bench.put(Area.PRIMARY, V3)
    assert "the record names" in went_back_without(bootsvc, bootsvc("rollback"))


def test_without_trusted_keys_the_rollback_goes_on(bootsvc: Command) -> None:
    bootsvc.uses_data()
    (bootsvc.keys / "key1.pub").unlink()
    assert "no trusted key" in went_back_without(bootsvc, bootsvc("rollback"))


def test_without_the_library_that_packs_the_rollback_goes_on(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootsvc.uses_data()
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert "zstandard is missing" in went_back_without(bootsvc, bootsvc("rollback"))


def test_settings_that_are_wrong_cost_the_restore_point_and_not_the_rollback(
    bootsvc: Command,
) -> None:
    bootsvc.uses_data()
    bootsvc.settings.write_text("restore_points = 0\n")
    assert "restore_points must lie between" in went_back_without(bootsvc, bootsvc("rollback"))


def test_a_copy_that_does_not_read_back_is_not_kept(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The medium loses a bit of the first write, and reports nothing."""
    data = bootsvc.uses_data()
    write = os.pwritev

    def losing(fd: int, buffers: Any, offset: int) -> int:
        is_ours = Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(data)
        if is_ours and offset == 0:
            buffers = [bytes([buffers[0][0] ^ 1]) + bytes(buffers[0][1:])]
        return write(fd, buffers, offset)

    monkeypatch.setattr(os, "pwritev", losing)
    assert "differs from what was written" in went_back_without(bootsvc, bootsvc("rollback"))


# --- interruptions ------------------------------------------------------------------------------


@pytest.fixture
def steps(bootsvc: Command, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps of one keeping; afterwards nothing was ever kept or asked."""
    # What is flushed is counted; having the disk do it a thousand times over shows nothing more.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    watched = ForgetfulFolder(bootsvc.uses_data())
    before = bootsvc.bench.path.read_bytes()
    with monkeypatch.context() as patch:
        watched.install(patch)
        assert went_back(bootsvc, bootsvc("rollback"))
    begin_anew(bootsvc, before)
    return watched.done


def begin_anew(bootsvc: Command, disk: bytes) -> None:
    bootsvc.bench.path.write_bytes(disk)
    data = bootsvc.run_dir / "data"
    for path in sorted(data.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def stopped_at(bootsvc: Command, number: int, stop: BaseException) -> ForgetfulFolder:
    return ForgetfulFolder(bootsvc.run_dir / "data", stop_at=number, stop=stop)


def test_what_names_a_restore_point_is_written_last_of_all(steps: list[str]) -> None:
    named = ["flush", "make folder", "flush folder", "rename", "flush folder"]
    assert steps == [
        *("make folder", "flush folder") * 2,
        *("create", "write", "write", "write", *named),  # pack: frame, digests, header
        *("create", "write", *named) * 3,  # recipe, document, catalogue
    ]


@pytest.mark.parametrize(
    ("content", "names"),
    [(False, True), (True, False), (True, True)],
    ids=["names lost", "content lost", "both lost"],
)
def test_power_cut_at_any_step_leaves_no_half_restore_point_and_no_request(
    bootsvc: Command,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[str],
    content: bool,
    names: bool,
) -> None:
    data = bootsvc.run_dir / "data"
    before = bootsvc.bench.path.read_bytes()
    clean = None
    for number in range(len(steps)):
        watched = stopped_at(bootsvc, number, PowerCut())
        with monkeypatch.context() as patch:
            watched.install(patch)
            with pytest.raises(PowerCut):
                bootsvc("rollback")
        watched.lose(content=content, names=names)
        assert is_absent_or_whole(data, V2), (number, steps[number])
        assert bootsvc.bench.path.read_bytes() == before
        assert went_back(bootsvc, bootsvc("rollback")), steps[number]
        assert content_of(data, only_point(data)) == V2.as_file()
        clean = clean or files_in(data)
        assert files_in(data) == clean, (number, steps[number])
        begin_anew(bootsvc, before)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=os.strerror)
def test_an_error_at_any_step_costs_the_restore_point_and_never_the_rollback(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch, steps: list[str], number: int
) -> None:
    """Where the document stands already, there is a restore point that nobody spoke of."""
    data = bootsvc.run_dir / "data"
    before = bootsvc.bench.path.read_bytes()
    for at, step in enumerate(steps):
        with monkeypatch.context() as patch:
            failure = OSError(number, os.strerror(number))
            stopped_at(bootsvc, at, failure).install(patch)
            outcome = bootsvc("rollback")
        assert went_back(bootsvc, outcome), step
        assert os.strerror(number) in outcome.err.partition(WITHOUT)[2], (at, step)
        assert is_absent_or_whole(data, V2), (at, step)
        if not (data / "restore-points/versions").exists():
            assert files_in(data) == set(), (at, step)
        begin_anew(bootsvc, before)


def test_ctrl_c_at_any_step_asks_for_nothing_and_leaves_nothing_over(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    data = bootsvc.run_dir / "data"
    before = bootsvc.bench.path.read_bytes()
    for at, step in enumerate(steps):
        with monkeypatch.context() as patch:
            stopped_at(bootsvc, at, KeyboardInterrupt()).install(patch)
            outcome = bootsvc("rollback")
        assert outcome.code == ExitCode.INTERRUPTED, step
        assert bootsvc.bench.path.read_bytes() == before
        assert is_absent_or_whole(data, V2), step
        if not (data / "restore-points/versions").exists():
            assert files_in(data) == set(), (at, step)
        begin_anew(bootsvc, before)


def test_power_cut_while_a_damaged_restore_point_is_replaced(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    """It is damaged, absent or whole at any time, and afterwards whole."""
    data = bootsvc.run_dir / "data"
    before = bootsvc.bench.path.read_bytes()
    for number in range(len(steps)):
        bootsvc("rollback")
        (pack,) = (data / "restore-points/packs").iterdir()
        pack.write_bytes(pack.read_bytes()[:5000] + b"?!" + pack.read_bytes()[5002:])
        bootsvc.bench.path.write_bytes(before)
        watched = stopped_at(bootsvc, number, PowerCut())
        with monkeypatch.context() as patch:
            watched.install(patch)
            try:
                bootsvc("rollback")
            except PowerCut:
                assert bootsvc.bench.path.read_bytes() == before
        watched.lose(content=True, names=True)
        assert went_back(bootsvc, bootsvc("rollback"))
        assert content_of(data, only_point(data)) == V2.as_file()
        begin_anew(bootsvc, before)
