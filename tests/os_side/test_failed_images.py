"""Data learns from the record which images failed here."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.errors import ReadBackError
from bootsvc.formats.boot_status import (
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Phase,
    StatusCode,
)
from bootsvc.formats.failed_list import NAME, build, parse
from bootsvc.os_side.failed_images import remember
from bootsvc.storage.device import DirectDevice
from tests.os_side.forgetful import ForgetfulFolder, PowerCut

GOOD, BAD, OLDER = (bytes([letter]) * 32 for letter in b"GBO")
RECORD = BootStatus(
    StatusCode.WORKING,
    Phase.IDLE,
    Area.PRIMARY,
    primary=AreaRecord(AreaState.CONFIRMED, 4096, 1, GOOD),
    failed=(BAD,),
)


def remembered(data: Path) -> tuple[bytes, ...]:
    return parse((data / NAME).read_bytes())


def test_failed_images_of_the_record_join_those_that_data_knows(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(build([OLDER]))
    assert remember(tmp_path, RECORD)
    assert remembered(tmp_path) == (BAD, OLDER)


def test_a_list_that_is_right_is_not_written_again(tmp_path: Path) -> None:
    remember(tmp_path, RECORD)
    before = (tmp_path / NAME).stat().st_ino
    assert not remember(tmp_path, RECORD)
    assert (tmp_path / NAME).stat().st_ino == before


def test_where_nothing_failed_no_file_is_made(tmp_path: Path) -> None:
    assert not remember(tmp_path, replace(RECORD, failed=()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("state", [AreaState.CONFIRMED, AreaState.BAD])
def test_only_an_image_that_is_confirmed_is_forgiven(tmp_path: Path, state: AreaState) -> None:
    (tmp_path / NAME).write_bytes(build([BAD, GOOD]))
    remember(tmp_path, replace(RECORD, primary=replace(RECORD.primary, state=state)))
    assert remembered(tmp_path) == ((BAD,) if state is AreaState.CONFIRMED else (BAD, GOOD))


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("names", [False, True])
def test_a_power_cut_at_any_step_leaves_the_old_list_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bool, names: bool
) -> None:
    found = set()
    for number in range(20):
        (tmp_path / NAME).write_bytes(build([OLDER]))
        watched = ForgetfulFolder(tmp_path, stop_at=number)
        with monkeypatch.context() as patch, suppress(PowerCut):
            watched.install(patch)
            remember(tmp_path, RECORD)
        watched.lose(content=content, names=names)
        found.add(remembered(tmp_path))
        remember(tmp_path, RECORD)
        assert remembered(tmp_path) == (BAD, OLDER)
    assert watched.done == ["create", "write", "flush", "rename", "flush folder"]
    assert found == {(OLDER,), (BAD, OLDER)}


def test_a_list_that_is_read_back_differently_does_not_replace_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / NAME).write_bytes(build([OLDER]))
    monkeypatch.setattr(DirectDevice, "read_at", lambda _self, _at, length: bytes(length))
    with pytest.raises(ReadBackError, match="differs from what was written"):
        remember(tmp_path, RECORD)
    assert remembered(tmp_path) == (OLDER,)
