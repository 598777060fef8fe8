"""``bootsvc rollback``: asks for the image in backup, and keeps the one it leaves if it can."""

import errno
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.formats.boot_status import Area, AreaState, Request
from bootsvc.storage.image_area import copy_image
from bootsvc.storage.image_file import open_bimg
from bootsvc.units import BLOCK_SIZE
from tests.bench import V2, V3
from tests.cli.command import TRANSACTION, Command, Outcome
from tests.images import OTHER_KEY, make_image, signed
from tests.os_side.forgetful import ForgetfulFolder, PowerCut

WITHOUT = "no restore point is kept, going back all the same: "


def point_of(data: Path) -> Path:
    return data / "restore-points" / f"{V2.identity.hex()}.bimg"


def files_in(data: Path) -> set[str]:
    return {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}


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


def test_the_image_that_is_left_is_kept_and_can_be_staged_again(bootsvc: Command) -> None:
    path = point_of(bootsvc.uses_data())
    outcome = bootsvc("rollback")
    assert went_back(bootsvc, outcome)
    assert f"to come back to it: bootsvc stage {path}" in outcome.out
    assert "number 2, label 2.0" in outcome.out
    assert path.read_bytes() == V2.as_file()
    bootsvc.bench.change(lambda status: replace(status, request=Request.NONE))
    bootsvc.bench.put(Area.PRIMARY, V3)
    bootsvc.bench.change(
        lambda status: replace(status, primary=replace(status.primary, identity=V3.identity))
    )
    assert bootsvc("stage", path).code == ExitCode.OK
    assert bootsvc.bench.status.staging.identity == V2.identity


def test_an_image_may_hold_secrets_so_only_root_can_read_its_copy(bootsvc: Command) -> None:
    path = point_of(bootsvc.uses_data())
    bootsvc("rollback")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_blocks_of_zeros_take_no_room(bootsvc: Command) -> None:
    path = point_of(bootsvc.uses_data())
    bootsvc("rollback", "--no-restore-point")
    image = make_image(V2.content[:BLOCK_SIZE] + bytes(40 * BLOCK_SIZE), number=2)
    bootsvc.bench.put(Area.PRIMARY, image)
    bootsvc.bench.change(
        lambda status: replace(status, primary=replace(status.primary, identity=image.identity))
    )
    bootsvc("rollback")
    path = path.with_name(f"{image.identity.hex()}.bimg")
    assert path.read_bytes() == image.as_file()
    assert path.stat().st_blocks * 512 < 10 * BLOCK_SIZE


def test_a_whole_restore_point_is_not_written_again(bootsvc: Command) -> None:
    path = point_of(bootsvc.uses_data())
    bootsvc("rollback")
    before = path.stat()
    outcome = bootsvc("rollback")
    assert went_back(bootsvc, outcome)
    assert str(path) in outcome.out
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("kind", ["one byte", "half of it", "another image"])
def test_a_damaged_restore_point_is_replaced(bootsvc: Command, kind: str) -> None:
    path = point_of(bootsvc.uses_data())
    bootsvc("rollback")
    whole = V2.as_file()
    path.write_bytes(
        {
            "one byte": whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
            "half of it": whole[: len(whole) // 2],
            "another image": V3.as_file(),
        }[kind]
    )
    assert went_back(bootsvc, bootsvc("rollback"))
    assert path.read_bytes() == whole


def test_what_a_power_cut_left_over_is_removed(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    folder = point_of(data).parent
    folder.mkdir()
    for identity in (V2.identity, V3.identity):
        (folder / f".{identity.hex()}.part").write_bytes(b"half")
    assert went_back(bootsvc, bootsvc("rollback"))
    assert files_in(data) == {f"restore-points/{point_of(data).name}"}


def test_restore_points_of_other_images_stay(bootsvc: Command) -> None:
    path = point_of(bootsvc.uses_data())
    path.parent.mkdir()
    other = path.with_name(f"{V3.identity.hex()}.bimg")
    other.write_bytes(V3.as_file())
    bootsvc("rollback")
    assert path.exists()
    assert other.read_bytes() == V3.as_file()


# --- going back without one ---------------------------------------------------------------------


def test_none_is_kept_where_none_is_wanted(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    outcome = bootsvc("rollback", "--no-restore-point")
    assert went_back(bootsvc, outcome)
    assert "restore point" not in outcome.out + outcome.err
    assert files_in(data) == set()


@pytest.mark.parametrize("missing", [-1, 0])
def test_a_tenth_of_the_file_system_stays_free(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    """With one block less than that nothing is begun, and both sizes are told."""
    path = point_of(bootsvc.uses_data())
    total = 1000
    free = len(V2.as_file()) // BLOCK_SIZE + total // 10 + missing
    room = os.statvfs_result((BLOCK_SIZE, BLOCK_SIZE, total, free, free, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: room)
    outcome = bootsvc("rollback")
    if missing:
        why = went_back_without(bootsvc, outcome)
        assert str(path.parent) in why
        assert "484.0 KiB needed (84.0 KiB for the image, 400.0 KiB stay free)" in why
        assert "480.0 KiB there" in why
    else:
        assert went_back(bootsvc, outcome)
        assert path.exists()


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
    assert "is altered" in why


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


def test_a_copy_that_does_not_read_back_is_not_kept(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The medium loses a bit of the first write, and reports nothing."""
    data = bootsvc.uses_data()
    write = os.pwritev

    def losing(fd: int, buffers: Any, offset: int) -> int:
        is_ours = Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(data)
        if is_ours and offset == 0:
            buffers[0][0] ^= 1
        return write(fd, buffers, offset)

    monkeypatch.setattr(os, "pwritev", losing)
    assert "not what was written" in went_back_without(bootsvc, bootsvc("rollback"))


# --- interruptions ------------------------------------------------------------------------------


@pytest.fixture
def steps(bootsvc: Command, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps of one keeping, in several writes; afterwards nothing was ever kept or asked."""
    in_steps = partial(copy_image, chunk_size=4 * BLOCK_SIZE)
    monkeypatch.setattr("bootsvc.os_side.restore_points.copy_image", in_steps)
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


def is_absent_or_whole(path: Path) -> bool:
    if not path.exists():
        return True
    with open_bimg(path):
        return path.read_bytes() == V2.as_file()


def test_a_restore_point_is_named_last_of_all(steps: list[str]) -> None:
    assert steps == [
        *("make folder", "flush folder"),
        *("create", "truncate"),
        *("write",) * 5,
        *("flush", "write", "flush", "write", "flush"),
        *("rename", "flush folder"),
        "remove",
    ]


@pytest.mark.parametrize("names", [False, True], ids=["names kept", "names lost"])
@pytest.mark.parametrize("content", [False, True], ids=["content kept", "content lost"])
def test_power_cut_at_any_step_leaves_no_half_restore_point_and_no_request(
    bootsvc: Command,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[str],
    content: bool,
    names: bool,
) -> None:
    path = point_of(bootsvc.run_dir / "data")
    before = bootsvc.bench.path.read_bytes()
    for number in range(len(steps)):
        watched = stopped_at(bootsvc, number, PowerCut())
        with monkeypatch.context() as patch:
            watched.install(patch)
            with pytest.raises(PowerCut):
                bootsvc("rollback")
        watched.lose(content=content, names=names)
        assert is_absent_or_whole(path), steps[number]
        assert bootsvc.bench.path.read_bytes() == before
        assert went_back(bootsvc, bootsvc("rollback")), steps[number]
        assert path.read_bytes() == V2.as_file()
        assert files_in(bootsvc.run_dir / "data") == {f"restore-points/{path.name}"}
        begin_anew(bootsvc, before)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=os.strerror)
def test_an_error_at_any_step_costs_the_restore_point_and_never_the_rollback(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch, steps: list[str], number: int
) -> None:
    path = point_of(bootsvc.run_dir / "data")
    before = bootsvc.bench.path.read_bytes()
    for at, step in enumerate(steps):
        with monkeypatch.context() as patch:
            failure = OSError(number, os.strerror(number))
            stopped_at(bootsvc, at, failure).install(patch)
            outcome = bootsvc("rollback")
        if steps[at:] == ["remove"]:
            assert went_back(bootsvc, outcome)  # the copy was whole before that
            assert path.exists()
        elif steps[at:] == ["flush folder", "remove"]:
            assert WITHOUT in outcome.err  # its name may not outlive a power cut
            assert is_absent_or_whole(path)
        else:
            assert os.strerror(number) in went_back_without(bootsvc, outcome), step
        begin_anew(bootsvc, before)


def test_ctrl_c_at_any_step_asks_for_nothing_and_leaves_nothing_over(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    path = point_of(bootsvc.run_dir / "data")
    before = bootsvc.bench.path.read_bytes()
    for at, step in enumerate(steps[:-1]):
        with monkeypatch.context() as patch:
            stopped_at(bootsvc, at, KeyboardInterrupt()).install(patch)
            outcome = bootsvc("rollback")
        assert outcome.code == ExitCode.INTERRUPTED, step
        assert bootsvc.bench.path.read_bytes() == before
        assert is_absent_or_whole(path), step
        assert files_in(bootsvc.run_dir / "data") <= {f"restore-points/{path.name}"}
        begin_anew(bootsvc, before)


def test_power_cut_while_a_damaged_restore_point_is_replaced(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    """Until it is removed it is as damaged as it was; after that it is absent or whole."""
    path = point_of(bootsvc.run_dir / "data")
    before = bootsvc.bench.path.read_bytes()
    for number in range(len(steps)):
        path.parent.mkdir()
        path.write_bytes(b"damaged")
        watched = stopped_at(bootsvc, number, PowerCut())
        with monkeypatch.context() as patch:
            watched.install(patch)
            with pytest.raises(PowerCut):
                bootsvc("rollback")
        watched.lose(content=True, names=True)
        if "flush folder" in watched.done:
            assert is_absent_or_whole(path), watched.done
        else:
            assert path.read_bytes() == b"damaged"
        assert bootsvc.bench.path.read_bytes() == before
        assert went_back(bootsvc, bootsvc("rollback"))
        assert path.read_bytes() == V2.as_file()
        begin_anew(bootsvc, before)
