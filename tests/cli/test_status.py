"""``bootsvc status`` and ``verify``: they say what is so, and write nothing."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.formats.boot_status import Area, Failure, Phase, Reason, StatusCode
from bootsvc.units import describe_size
from tests.bench import V1, V2, V3, Bench
from tests.cli.command import TRANSACTION, Command
from tests.images import KEY, OTHER_KEY, make_image
from tests.os_side.kept import only_point


def line(text: str, name: str) -> str:
    """The words behind ``name`` in the text of a status."""
    found = [one for one in text.splitlines() if one.startswith(name.ljust(13))]
    assert len(found) == 1, text
    return found[0][13:].strip()


def document(bootsvc: Command) -> Any:
    return json.loads(bootsvc("status", "--json").out)


def damage(bench: Bench, role: str, at: int = 5000) -> None:
    byte = bench.content(role)[at]
    bench.write(bench.place(role)[0] + at, bytes([byte ^ 1]))


def test_healthy_machine_is_shown_in_words(bootsvc: Command) -> None:
    before = bootsvc.bench.digest()
    outcome = bootsvc("status")
    assert outcome.code == ExitCode.OK
    text = outcome.out
    assert line(text, "status code") == "1 (start the working image in primary)"
    assert line(text, "phase") == "IDLE: nothing under way"
    assert line(text, "next start") == "start primary"
    assert line(text, "because") == "primary is confirmed, and nothing was asked for"
    assert line(text, "primary") == (
        f"confirmed; number 2, label 2.0, identity {V2.identity.hex()[:12]}, "
        f"signed by key1 ({KEY.public().key_id.hex()})"
    )
    assert line(text, "staging") == "empty"
    assert line(text, "last failure") == "none"
    assert line(text, "record") == "sequence 1; copy 0: good; copy 1: good"
    assert bootsvc.bench.digest() == before


def test_staged_update_is_announced(bootsvc: Command) -> None:
    bootsvc("stage", bootsvc.file(V3))
    text = bootsvc("status").out
    assert "install it" in line(text, "next start")
    assert line(text, "because") == "an update was asked for (bootsvc stage)"
    assert "number 3, label 3.0" in line(text, "staging")


def test_trial_shows_tries_and_which_image_runs(bootsvc: Command) -> None:
    bootsvc.bench.on_trial(TRANSACTION, tries_left=2)
    text = bootsvc("status").out
    assert line(text, "status code").startswith("3 ")
    assert line(text, "tries") == "2 left of 3"
    assert "2 tries left" in line(text, "next start")


def test_last_failure_says_when_where_why_and_which_image(bootsvc: Command) -> None:
    failure = Failure(Phase.TRIAL, Reason.PANIC, Area.PRIMARY, 5, 1_700_000_000, 3, V3.identity)
    bootsvc.bench.change(lambda status: replace(status, last_failure=failure))
    words = line(bootsvc("status").out, "last failure")
    assert words == (
        "TRIAL: the kernel panicked, area primary, errno 5, image number 3 "
        f"({V3.identity.hex()[:12]}), 2023-11-14 22:13:20 UTC"
    )
    shown = document(bootsvc)["last_failure"]
    assert shown == {
        "phase": "trial",
        "reason": "panic",
        "reason_text": "the kernel panicked",
        "area": "primary",
        "errno": 5,
        "time_s": 1_700_000_000,
        "number": 3,
        "identity": V3.identity.hex(),
    }


def test_failure_without_a_clock_has_no_invented_time(bootsvc: Command) -> None:
    failure = Failure(Phase.CHECK, Reason.ALTERED, Area.STAGING)
    bootsvc.bench.change(lambda status: replace(status, last_failure=failure))
    assert "unknown time" in line(bootsvc("status").out, "last failure")


def test_running_image_is_named_where_the_updater_started_it(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootsvc.handed_over(V1, Area.BACKUP, is_trial=False)
    monkeypatch.setattr("bootsvc.os_side.machine.whole_disk", lambda _: bootsvc.bench.path)
    text = bootsvc("status").out
    assert line(text, "running now") == (
        f"number 1, label 1.0, identity {V1.identity.hex()[:12]}, started from backup"
    )
    assert document(bootsvc)["running"] == {
        "area": "backup",
        "identity": V1.identity.hex(),
        "number": 1,
        "label": "1.0",
        "is_trial": False,
    }


def test_alarms_of_this_start_are_shown(bootsvc: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    bootsvc.handed_over()
    monkeypatch.setattr("bootsvc.os_side.machine.whole_disk", lambda _: bootsvc.bench.path)
    (bootsvc.run_dir / "alarms").write_text("data takes no writes\n")
    assert line(bootsvc("status").out, "ALARM") == "data takes no writes"
    assert document(bootsvc)["alarms"] == ["data takes no writes"]


def test_other_disk_than_the_running_one_shows_no_running_image(bootsvc: Command) -> None:
    bootsvc.handed_over()
    (bootsvc.run_dir / "alarms").write_text("not of this disk\n")
    shown = document(bootsvc)
    assert shown["running"] is None
    assert shown["alarms"] == []


def test_damaged_copy_of_the_record_is_shown_and_not_repaired(bootsvc: Command) -> None:
    damage(bootsvc.bench, "status", at=20)
    before = bootsvc.bench.digest()
    assert "copy 0: BAD" in line(bootsvc("status").out, "record")
    copies = document(bootsvc)["copies"]
    assert [copy["is_valid"] for copy in copies] == [False, True]
    assert "CRC-32" in copies[0]["problem"]
    assert bootsvc.bench.digest() == before


def test_older_copy_of_the_record_is_told_from_the_newest(bootsvc: Command) -> None:
    old = bootsvc.bench.content("status")[:512]
    bootsvc.bench.change(lambda status: replace(status, crash_count=1))
    bootsvc.bench.write(bootsvc.bench.place("status")[0], old)
    assert "copy 0: older (sequence 1)" in line(bootsvc("status").out, "record")


def test_lost_record_has_an_exit_code_of_its_own(bootsvc: Command) -> None:
    offset, size = bootsvc.bench.place("status")
    bootsvc.bench.write(offset, bytes(size))
    assert bootsvc("status").code == ExitCode.STATUS_LOST


def test_area_that_holds_another_image_than_recorded_is_shown(bootsvc: Command) -> None:
    bootsvc.bench.put(Area.PRIMARY, V3)
    assert "NOT the image that the record names" in line(bootsvc("status").out, "primary")
    assert document(bootsvc)["areas"]["primary"]["is_as_recorded"] is False


def test_area_without_a_footer_is_shown_with_the_problem(bootsvc: Command) -> None:
    offset, size = bootsvc.bench.place("backup")
    bootsvc.bench.write(offset, bytes(size))
    shown = document(bootsvc)["areas"]["backup"]
    assert "no footer" in shown["problem"]
    assert (shown["number"], shown["identity"]) == (1, V1.identity.hex())
    assert shown["signed_by"] is None


def test_image_of_an_unknown_signer_is_shown_as_such(bootsvc: Command) -> None:
    bootsvc.bench.put(Area.BACKUP, make_image(V1.content, key=OTHER_KEY))
    words = line(bootsvc("status").out, "backup")
    assert "signed by no key that is trusted here" in words
    assert OTHER_KEY.public().key_id.hex() in words
    shown = document(bootsvc)["areas"]["backup"]["signed_by"]
    assert shown["trusted_key"] is None


def test_status_is_shown_without_any_key(bootsvc: Command) -> None:
    (bootsvc.keys / "key1.pub").unlink()
    outcome = bootsvc("status")
    assert outcome.code == ExitCode.OK
    assert "no trusted key" in outcome.err


def test_running_from_backup_for_good_is_an_alarm(bootsvc: Command) -> None:
    bootsvc.bench.change(
        lambda status: replace(
            status,
            status_code=StatusCode.BACKUP,
            phase=Phase.DEGRADED,
            boot_area=Area.BACKUP,
        )
    )
    assert "no working image in primary" in line(bootsvc("status").out, "ALARM")
    assert len(document(bootsvc)["alarms"]) == 1


def test_json_fits_the_record(bootsvc: Command) -> None:
    shown = document(bootsvc)
    status = bootsvc.bench.status
    assert shown["schema"] == 1
    assert (shown["status_code"], shown["phase"]) == (1, "idle")
    assert shown["sequence"] == status.sequence
    assert shown["version_floor"] == 1
    assert shown["layout_fits"] is True
    primary = shown["areas"]["primary"]
    assert (primary["number"], primary["identity"]) == (2, V2.identity.hex())
    assert primary["size"] == V2.manifest.size
    assert primary["signed_by"]["trusted_key"] == "key1"


# --- restore points -----------------------------------------------------------------------------


def test_the_restore_point_of_a_rollback_is_shown(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bootsvc.uses_data()
    assert document(bootsvc)["restore_points"] == []
    assert "restore point" not in bootsvc("status").out
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.5)
    bootsvc("rollback")
    point = only_point(data)
    assert line(bootsvc("status").out, "restore point") == (
        f"number 2, label 2.0, identity {V2.identity.hex()[:12]}, 84.0 KiB, "
        f"{describe_size(point.own_size)} of its own in data, "
        "kept 2023-11-14 22:13:20 UTC (rollback)"
    )
    assert document(bootsvc)["restore_points"] == [
        {
            "identity": V2.identity.hex(),
            "number": 2,
            "label": "2.0",
            "size": len(V2.as_file()),
            "own_size": point.own_size,
            "time_s": 1_700_000_000,
            "why": "rollback",
            "path": None,
            "problem": None,
        }
    ]


def test_image_files_of_an_earlier_bootsvc_are_shown_the_newest_first(bootsvc: Command) -> None:
    folder = bootsvc.uses_data() / "restore-points"
    folder.mkdir()
    for image, kept_s in ((V1, 100), (V3, 300), (V2, 200)):
        path = folder / f"{image.identity.hex()}.bimg"
        path.write_bytes(image.as_file())
        os.utime(path, (kept_s, kept_s))
    (folder / f".{V1.identity.hex()}.part").write_bytes(V1.as_file())
    assert [one["number"] for one in document(bootsvc)["restore_points"]] == [3, 2, 1]


DAMAGED = {
    "cut short": (V3.as_file()[:-4096], "not an image file"),
    "empty": (b"", "not an image file"),
    "a footer damaged": (V3.as_file()[:-2000] + bytes(2000), "CRC-32"),
    "another image": (V2.as_file(), f"it is image {V2.identity.hex()[:12]}"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_restore_point_is_shown_as_such(bootsvc: Command, kind: str) -> None:
    folder = bootsvc.uses_data() / "restore-points"
    folder.mkdir()
    path = folder / f"{V3.identity.hex()}.bimg"
    content, words = DAMAGED[kind]
    path.write_bytes(content)
    text = line(bootsvc("status").out, "restore point")
    assert text.startswith("DAMAGED (")
    assert words in text
    assert text.count(str(path)) == 1
    (shown,) = document(bootsvc)["restore_points"]
    assert (shown["identity"], shown["number"]) == (V3.identity.hex(), None)
    assert (shown["size"], shown["path"]) == (len(content), str(path))
    assert words in shown["problem"]


def test_what_is_no_image_file_at_all_is_shown_as_damaged(bootsvc: Command) -> None:
    folder = bootsvc.uses_data() / "restore-points"
    (folder / "mine.bimg").mkdir(parents=True)
    (folder / "gone.bimg").symlink_to("nothing")
    shown = {Path(one["path"]).name: one for one in document(bootsvc)["restore_points"]}
    assert shown["mine.bimg"]["problem"] == "not a file"
    assert shown["gone.bimg"]["problem"] == "No such file or directory"
    assert shown["mine.bimg"]["identity"] is None


def test_restore_points_are_unknown_where_data_cannot_be_looked_at(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    (data / "restore-points").write_text("a file where the folder should be")
    assert document(bootsvc)["restore_points"] is None
    (data / "restore-points").unlink()
    assert document(bootsvc)["restore_points"] == []
    (bootsvc.run_dir / "overlay.env").write_text("BOOTSVC_DATA_USED=0\n")
    assert document(bootsvc)["restore_points"] is None


def test_other_disk_than_the_running_one_shows_no_restore_points(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootsvc.uses_data()
    bootsvc("rollback")
    monkeypatch.setattr("bootsvc.os_side.machine.whole_disk", lambda _: Path("/dev/vda"))
    assert document(bootsvc)["restore_points"] is None


# --- verify -------------------------------------------------------------------------------------


def test_whole_images_are_good_and_empty_staging_is_left_out(bootsvc: Command) -> None:
    before = bootsvc.bench.digest()
    outcome = bootsvc("verify")
    assert outcome.code == ExitCode.OK
    assert [one.split()[1] for one in outcome.out.splitlines()] == ["good:", "good:", "left"]
    assert bootsvc.bench.digest() == before


@pytest.mark.parametrize("role", ["primary", "backup"])
def test_one_altered_byte_is_found(bootsvc: Command, role: str) -> None:
    damage(bootsvc.bench, role)
    outcome = bootsvc("verify")
    assert outcome.code == ExitCode.FAILED
    bad = [one for one in outcome.out.splitlines() if " BAD: " in one]
    assert len(bad) == 1
    assert bad[0].startswith(role)
    assert "block 1" in bad[0]


def test_only_the_area_asked_for_is_read(bootsvc: Command) -> None:
    damage(bootsvc.bench, "primary")
    assert bootsvc("verify", "backup").code == ExitCode.OK
    assert bootsvc("verify", "primary").code == ExitCode.FAILED


def test_empty_area_asked_for_by_name_is_bad(bootsvc: Command) -> None:
    outcome = bootsvc("verify", "staging")
    assert outcome.code == ExitCode.FAILED
    assert "no footer" in outcome.out


def test_whole_image_that_the_record_does_not_name_is_bad(bootsvc: Command) -> None:
    bootsvc.bench.put(Area.PRIMARY, V3)
    outcome = bootsvc("verify", "primary")
    assert outcome.code == ExitCode.FAILED
    assert "not the image that the record names" in outcome.out


def test_image_of_an_unknown_signer_is_bad(bootsvc: Command) -> None:
    bootsvc.bench.put(Area.BACKUP, make_image(V1.content, key=OTHER_KEY))
    assert bootsvc("verify", "backup").code == ExitCode.FAILED
