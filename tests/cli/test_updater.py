"""``bootsvc updater``: a new updater into the other slot, tried, and proven by its system."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.updater import text
from bootsvc.disk.create import DiskContents, create_disk
from bootsvc.disk.partition import plan
from bootsvc.os_side import updater_slots
from bootsvc.os_side.updater_slots import UpdaterReport, slots_on
from bootsvc.settings import NO_SHELL_PATH
from bootsvc.storage.device import DirectDevice, Window
from bootsvc.storage.disk import open_disk
from bootsvc.storage.updater_slots import Marks, SlotStore
from bootsvc.units import MIB
from tests.cli.command import Command, Outcome
from tests.disk.small_image import write_image
from tests.volumes import initramfs, kernel


class Updater:
    """A machine on a disk with version 1 of the updater in slot a."""

    def __init__(self, bootsvc: Command) -> None:
        self.bootsvc = bootsvc
        self.folder = bootsvc.folder
        self.disk = self.folder / "machine.img"
        write_image(self.folder / "v1.bimg", b"image")
        self.files(1)
        contents = DiskContents(
            self.folder / "v1.bimg", *self.paths, confirmed=True, menu_seconds=0
        )
        create_disk(self.disk, plan(area_size=2 * MIB, data_size=8 * MIB, seed="test"), contents)

    @property
    def paths(self) -> tuple[Path, Path]:
        """Kernel and initramfs to be staged."""
        return self.folder / "vmlinuz", self.folder / "updater.img"

    def files(self, number: int) -> None:
        """Make these files of version ``number``."""
        for path, data in zip(self.paths, (kernel(number), initramfs(number)), strict=True):
            path.write_bytes(data)

    def started_from(self, slot: str) -> None:
        """The updater's ``slot`` started the system that runs, from this very disk."""
        self.bootsvc.handed_over(is_trial=False)
        env = self.bootsvc.run_dir / "handover.env"
        env.write_text(env.read_text().replace("SLOT=''", f"SLOT='{slot}'"))
        self.bootsvc.patch.setattr("bootsvc.os_side.machine.whole_disk", lambda _: self.disk)

    def tries(self) -> None:
        """What GRUB does before it starts the slot that is to be tried."""
        with open_disk(self.disk, writable=True) as disk:
            store = slots_on(disk)
            store._mark("try.env", {"try": "", "tried": store.marks().to_try})

    def marks(self) -> Marks:
        """The marks as they stand."""
        with open_disk(self.disk, writable=False) as disk:
            return slots_on(disk).marks()

    def __call__(self, name: str, *arguments: str | Path) -> Outcome:
        """``bootsvc updater NAME --disk ... ARGUMENTS``."""
        return self.bootsvc.plain("updater", name, "--disk", self.disk, *arguments)


@pytest.fixture
def updater(bootsvc: Command) -> Updater:
    return Updater(bootsvc)


def test_a_new_machine_runs_its_first_updater(updater: Updater) -> None:
    updater.started_from("a")
    outcome = updater("status")
    assert outcome.code == ExitCode.OK
    assert "running now   slot a" in outcome.out
    assert "next start    slot a" in outcome.out
    assert "slot a        whole: kernel 6.1.1, 19.5 KiB" in outcome.out
    assert "slot b        slot b is empty" in outcome.out


def test_a_staged_updater_is_tried_once_and_kept_by_the_confirm_of_its_system(
    updater: Updater,
) -> None:
    updater.started_from("a")
    updater.files(2)
    outcome = updater("stage", *updater.paths)
    assert outcome.code == ExitCode.OK
    assert "slot b holds the new updater: the next start tries it, once" in outcome.out
    assert "slot b, once, to be tried" in updater("status").out
    # The system that is still running was started by the old slot: it proves nothing.
    assert "nothing to confirm" in updater("confirm").out
    assert updater.marks() == Marks("a", "b")
    updater.tries()
    updater.started_from("b")
    assert "slot b proved itself" in updater("confirm").out
    assert updater.marks() == Marks("b")
    assert "nothing to confirm" in updater("confirm").out


def test_an_updater_that_did_not_prove_itself_is_told_and_written_over(updater: Updater) -> None:
    updater.started_from("a")
    updater.files(2)
    updater("stage", *updater.paths)
    updater.tries()
    assert "slot b was tried and did not prove itself" in updater("status").out
    assert "nothing to confirm" in updater("confirm").out
    updater.files(3)
    updater("stage", *updater.paths)
    assert updater.marks() == Marks("a", "b")
    assert "6.1.3" in updater("status").out


def test_a_slot_chosen_from_the_menu_does_not_become_the_proven_one(updater: Updater) -> None:
    updater.started_from("b")
    assert "nothing to confirm" in updater("confirm").out
    assert updater.marks() == Marks("a")


def test_a_tried_slot_that_was_damaged_meanwhile_is_not_proven(updater: Updater) -> None:
    updater.started_from("a")
    updater.files(2)
    updater("stage", *updater.paths)
    updater.tries()
    updater.started_from("b")
    data = updater.disk.read_bytes()
    with updater.disk.open("r+b") as file:
        file.seek(data.find(kernel(2)) + 15_000)
        file.write(b"rotten")
    assert updater("confirm").code == ExitCode.ALTERED
    assert updater.marks() == Marks("a", "", "b")
    assert "vmlinuz differs from its sums" in updater("status").out


def test_with_a_damaged_mark_the_running_slot_is_the_good_one(updater: Updater) -> None:
    with open_disk(updater.disk, writable=True) as disk:
        slots_on(disk)._mark("proven.env", {"slot": "?"})
    updater.files(2)
    refused = updater("stage", *updater.paths)
    assert refused.code == ExitCode.PHASE
    assert "nobody knows which slot" in refused.err
    updater.started_from("a")
    assert "proven        not known" in updater("status").out
    assert "slot b holds" in updater("stage", *updater.paths).out
    assert "slot a proved itself" in updater("confirm").out


@pytest.mark.parametrize("which", [0, 1])
def test_files_that_no_machine_could_start_are_refused(updater: Updater, which: int) -> None:
    before = updater.disk.read_bytes()
    updater.paths[which].write_bytes(b"no such thing")
    assert updater("stage", *updater.paths).code == ExitCode.NOT_STARTABLE
    assert updater.disk.read_bytes() == before


def test_a_missing_file_is_named(updater: Updater) -> None:
    outcome = updater("stage", updater.folder / "none", updater.paths[1])
    assert outcome.code == ExitCode.DISK
    assert "none" in outcome.err


def test_a_file_without_end_is_not_read_to_its_end(updater: Updater) -> None:
    before = updater.disk.read_bytes()
    outcome = updater("stage", updater.paths[0], "/dev/zero")
    assert outcome.code == ExitCode.DISK
    assert "/dev/zero: larger than the whole ESP" in outcome.err
    assert updater.disk.read_bytes() == before


def lock(data: bytes) -> bytes:
    """``data`` as the initramfs of an updater whose console is locked."""
    return data + str(NO_SHELL_PATH.relative_to("/")).encode() + b"\0"


def test_a_locked_machine_gets_no_updater_that_is_open_to_everybody(updater: Updater) -> None:
    path = updater.paths[1]
    path.write_bytes(lock(initramfs(2)))
    updater.started_from("a")
    assert updater("stage", *updater.paths).code == ExitCode.OK
    updater.tries()
    updater.started_from("b")
    assert updater("confirm").code == ExitCode.OK
    before = updater.disk.read_bytes()

    path.write_bytes(initramfs(3))
    refused = updater("stage", *updater.paths)
    assert refused.code == ExitCode.SETTINGS
    assert f"{path}: its console is open to everybody" in refused.err
    assert "--allow-unlocked" in refused.err
    assert updater.disk.read_bytes() == before

    path.write_bytes(lock(initramfs(4)))
    assert updater("stage", *updater.paths).code == ExitCode.OK
    path.write_bytes(initramfs(3))
    assert updater("stage", "--allow-unlocked", *updater.paths).code == ExitCode.OK


def test_where_the_lock_cannot_be_told_nothing_is_staged_without_the_word(
    updater: Updater, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = subprocess.run(["zstd", "-q"], input=initramfs(2), capture_output=True, check=True)
    updater.paths[1].write_bytes(packed.stdout)
    updater.started_from("a")
    assert updater("stage", *updater.paths).code == ExitCode.OK
    updater.tries()
    updater.started_from("b")
    assert updater("confirm").code == ExitCode.OK
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    refused = updater("stage", *updater.paths)
    assert refused.code == ExitCode.TOOL
    assert (
        "whether the updater in use is locked cannot be told: zstd is not installed" in refused.err
    )
    assert updater("stage", "--allow-unlocked", *updater.paths).code == ExitCode.OK


def test_a_system_that_no_slot_started_can_confirm_none(updater: Updater) -> None:
    assert updater("confirm").code == ExitCode.CONFIRM_REFUSED


def test_programs_get_the_same_as_json(updater: Updater) -> None:
    updater.started_from("a")
    document = json.loads(updater("status", "--json").out)
    assert document["schema"] == 1
    assert (document["running"], document["proven"], document["to_try"]) == ("a", "a", None)
    assert document["slots"]["a"]["kernel_release"] == "6.1.1"
    assert document["slots"]["b"]["is_empty"]
    updater.files(2)
    document = json.loads(updater("stage", "--json", *updater.paths).out)
    assert (document["next_start"], document["slots"]["b"]["is_whole"]) == ("b", True)


def test_an_ordinary_confirm_proves_the_updater_by_the_way(updater: Updater) -> None:
    updater.started_from("a")
    updater.files(2)
    updater("stage", *updater.paths)
    updater.tries()
    bench = updater.bootsvc.bench
    updater.started_from("b")
    updater.bootsvc.patch.setattr("bootsvc.cli.os_side.is_own_disk", lambda _: True)
    updater.bootsvc.patch.setattr(
        updater_slots, "slots_on", lambda disk: _slots_of(updater.disk, disk)
    )
    outcome = updater.bootsvc("confirm")
    assert outcome.code == ExitCode.OK, outcome.err
    assert "slot b proved itself" in outcome.out
    assert updater.marks() == Marks("b")
    assert bench.status.sequence == 1


def _slots_of(path: Path, _: object) -> SlotStore:
    """The slots of another disk: the small one of the command's tests has none."""
    with open_disk(path, writable=False) as disk:
        part = disk.partition("esp")
    return SlotStore(Window(DirectDevice(path, writable=True), "esp", part.offset, part.size))


def test_an_updater_that_cannot_be_confirmed_is_an_alarm_and_no_failure(updater: Updater) -> None:
    updater.started_from("b")
    updater.bootsvc.patch.setattr("bootsvc.cli.os_side.is_own_disk", lambda _: True)
    # The command's own small disk has no ESP.
    outcome = updater.bootsvc("confirm")
    assert outcome.code == ExitCode.OK
    assert "ALARM the updater's slot b cannot be confirmed" in outcome.err


def test_where_neither_slot_is_whole_the_next_start_is_none() -> None:
    slot = updater_slots.SlotReport(None, problem="slot is empty", is_empty=True)
    report = UpdaterReport("", Marks(""), {"a": slot, "b": slot})
    assert report.next_start == ""
    assert "NONE: neither slot can be started" in text(report)
