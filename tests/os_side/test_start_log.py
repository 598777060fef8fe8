"""The records of past starts in data."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from bootsvc.errors import FieldError
from bootsvc.os_side.start_log import FOLDER, KEPT, keep, past_start, past_starts
from tests.os_side.forgetful import ForgetfulFolder, PowerCut

NOW_S = 1_800_000_000
ENTRIES = [{"at_s": 1.5, "stage": "start"}, {"at_s": 2.0, "text": "all is well"}]


def left_by_updater(folder: Path, **facts: object) -> Path:
    path = folder / "start.json"
    document = {"schema": 1, "entries": ENTRIES, "handover": {"area": "primary"}, **facts}
    path.write_text(json.dumps(document))
    return path


def test_a_start_is_kept_with_its_number_and_the_time(tmp_path: Path) -> None:
    assert keep(left_by_updater(tmp_path), "one", NOW_S, tmp_path) == 1
    (kept,) = past_starts(tmp_path, 10)
    assert (kept.number, kept.kept_at_s, kept.handover) == (1, NOW_S, {"area": "primary"})
    assert list(kept.entries) == ENTRIES


def test_the_same_start_is_not_kept_twice(tmp_path: Path) -> None:
    start = left_by_updater(tmp_path)
    keep(start, "one", NOW_S, tmp_path)
    assert keep(start, "one", NOW_S + 1, tmp_path) is None
    assert len(past_starts(tmp_path, 10)) == 1


def test_the_newest_start_comes_first_and_the_oldest_go(tmp_path: Path) -> None:
    start = left_by_updater(tmp_path)
    for number in range(KEPT + 3):
        keep(start, f"boot {number}", NOW_S, tmp_path)
    numbers = [one.number for one in past_starts(tmp_path, 1000)]
    assert numbers == list(range(KEPT + 3, 3, -1))
    assert past_start(tmp_path, 3) is None
    assert past_start(tmp_path, 4) is not None


def test_a_damaged_record_is_shown_with_its_problem_and_hides_no_other(tmp_path: Path) -> None:
    start = left_by_updater(tmp_path)
    keep(start, "one", NOW_S, tmp_path)
    keep(start, "two", NOW_S, tmp_path)
    (tmp_path / FOLDER / "00000002.json").write_bytes(b"\xff{")
    bad, good = past_starts(tmp_path, 10)
    assert "no record of a start" in bad.problem
    assert not good.problem
    assert keep(start, "three", NOW_S, tmp_path) == 3


@pytest.mark.parametrize("text", ["[]", "{", '{"entries": [1]}', "[" * 100_000])
def test_what_is_no_record_of_a_start_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "00000001.json").write_text(text)
    one = past_start(tmp_path, 1)
    assert one is not None
    assert one.problem


def test_a_record_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "start.json"
    path.write_bytes(b" " * (1 << 20))
    with pytest.raises(FieldError, match="larger"):
        keep(path, "one", NOW_S, tmp_path)


def test_a_machine_without_kept_starts_has_none(tmp_path: Path) -> None:
    assert past_starts(tmp_path, 10) == ()


def test_a_power_cut_at_any_step_leaves_every_start_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stop_at in range(8):
        data = tmp_path / f"cut at {stop_at}"
        data.mkdir()
        start = left_by_updater(data)
        keep(start, "one", NOW_S, data)
        watched = ForgetfulFolder(data, stop_at=stop_at)
        with monkeypatch.context() as patch, suppress(PowerCut):
            watched.install(patch)
            keep(start, "two", NOW_S, data)
        watched.lose(content=True, names=True)
        kept = past_starts(data, 10)
        assert [one.problem for one in kept] == [""] * len(kept)
        assert kept[-1].number == 1
        assert keep(start, "three", NOW_S, data) == len(kept) + 1
    assert watched.done == ["create", "write", "flush", "rename", "flush folder"]
