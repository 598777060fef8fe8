"""The updater's own work around the sequence: settings, keys, hand-over, and giving up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from bootsvc import settings as settings_module
from bootsvc import updater
from bootsvc.boot import backends, disks
from bootsvc.boot.backends import Loaded
from bootsvc.boot.handover import Handover
from bootsvc.console.actions import Outcome, Then
from bootsvc.console.reporter import ConsoleReporter
from bootsvc.errors import BootError, LayoutError
from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, Request
from bootsvc.formats.manifest import BootSection, InnerPartition
from bootsvc.formats.verity import Verity
from bootsvc.sequence.runner import Runner
from bootsvc.settings import Settings
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import Disk, disk_on
from bootsvc.units import BLOCK_SIZE
from tests.bench import V1, V2, V3, Bench, record_of
from tests.images import KEY, with_manifest

TRANSACTION = bytes(range(16))


class PlayedDesk:
    """A console at which things are chosen by the test; nobody is reached where nothing is played.

    Attributes:
        plays: what each opening comes to: an outcome, or an error of the console's own.
        opened: the problem for which each was opened.
    """

    is_wanted = False

    def __init__(self, start: Start) -> None:
        self.look = start.feed
        self.unlocks = 0
        self.plays: list[Outcome | Exception] = []
        self.opened: list[str] = []
        self.failed: list[Exception] = []
        self.closed = 0
        self.session: SimpleNamespace | None = None
        self.knock: bool | Exception = False

    def is_knocked_at(self, _: object) -> bool:
        if isinstance(self.knock, Exception):
            raise self.knock
        return self.knock

    def begin_update(self) -> None:
        """Nothing is fetched here."""

    def unlock(self) -> None:
        self.unlocks += 1

    def open(self, runner: object, problem: str) -> Outcome | None:
        self.opened.append(problem)
        self.session = SimpleNamespace(runner=runner)
        play = self.plays.pop(0) if self.plays else None
        if isinstance(play, Exception):
            raise play
        return play

    def give_up(self, error: Exception) -> None:
        self.failed.append(error)

    def close(self) -> None:
        self.closed += 1


class Start:
    """A start of the machine on a bench, with everything around the disk made up."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench = Bench(tmp_path / "disk.img")
        self.keys = tmp_path / "keys"
        self.keys.mkdir()
        (self.keys / "site.pub").write_text(KEY.public().key.hex() + "\n")
        self.settings = tmp_path / "bootsvc.json"
        self.settings.write_text('{"compatible": "test", "watchdog_s": 17}')
        self.loaded: list[Handover] = []
        self.records: list[object] = []
        self.started = 0
        self.jumps_fail = 0
        self.watchdog: list[tuple[object, ...]] = []
        self.unbootable: set[Area] = set()
        self.method = "switch_root"
        self.desk = PlayedDesk(self)
        self.monkeypatch = monkeypatch
        self.no_shell = tmp_path / "no-shell"
        read = settings_module.load_built_in
        after = settings_module.after_damage
        for target, name, value in (
            (updater, "RUN_DIR", tmp_path / "run"),
            (updater, "KEYS_DIR", self.keys),
            (updater, "load_built_in", lambda: read(self.settings)),
            (updater, "after_damage", lambda: after(self.settings, self.no_shell)),
            (updater, "find_disk", self.find_disk),
            (updater, "find_crash", lambda: None),
            (updater, "partition_node", self.partition_node),
            (backends, "load", self.load),
            (updater, "Watchdog", lambda: self),
            (updater, "Desk", lambda *_: self.desk),
        ):
            monkeypatch.setattr(target, name, value)

    def find_disk(self, _: float, looked: Callable[[], None]) -> Disk:
        looked()
        return disk_on(DirectDevice(self.bench.path, writable=True))

    def partition_node(self, disk: Disk, role: str) -> Path:
        return Path(f"/dev/vda{disk.partition(role).index}")

    def load(
        self,
        _: BootSection,
        handover: Handover,
        _line: str,
        record: object,
        progress: Callable[[], None],
    ) -> Loaded:
        progress()
        if handover.area in self.unbootable:
            raise BootError("/boot/vmlinuz: differs from its signed digest")
        self.loaded.append(handover)
        self.records.append(record)
        return Loaded(self.method, self.start)

    def start(self) -> None:
        if self.jumps_fail:
            self.jumps_fail -= 1
            raise BootError("the loaded kernel cannot be started")
        self.started += 1

    # --- what it asks of the watchdog -------------------------------------------------------

    def guard_work(self, timeout_s: int) -> str:
        self.watchdog.append(("work", timeout_s))
        return "watchdog: guards"

    def feed(self) -> None:
        if self.watchdog[-1] != ("fed",):
            self.watchdog.append(("fed",))

    def stop(self) -> str:
        assert not self.started
        self.watchdog.append(("stopped",))
        return ""

    def guard_trial(self, timeout_s: int, *, same_kernel: bool) -> str:
        assert not self.started
        self.watchdog.append(("trial", timeout_s, same_kernel))
        return "watchdog: armed"


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    return Start(tmp_path, monkeypatch)


def test_the_confirmed_image_is_handed_its_facts(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    assert updater.main() == 0
    assert start.started == 1
    (facts,) = start.loaded
    assert (facts.area, facts.identity, facts.is_trial) == (Area.PRIMARY, V2.identity, False)
    assert facts.root_node == "/dev/vda2"
    assert (facts.data_node, facts.data_guid) == ("", ""), "this disk has no data partition"
    assert (facts.overlay, facts.init, facts.alarm) == ("volatile", "/sbin/init", "")
    assert facts.confirm_limit_s == 300
    assert start.watchdog == [("work", 300), ("fed",), ("stopped",)]
    out = capsys.readouterr().out
    assert "ALARM" not in out
    assert out.splitlines()[0] == "bootsvc: stage=start"
    assert "stage=handover area=primary method=switch_root number=2 trial=0" in out


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_checked_disk_is_handed_its_tree_and_place_and_a_machine_that_keeps_no_panic_says_so(
    start: Start,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_kept: bool,
) -> None:
    boot = replace(V2.manifest.boot, root_partition=InnerPartition(4096, 8192), verity=True)
    image = with_manifest(V2, boot=boot)
    start.bench.put(Area.PRIMARY, image)
    confirmed = record_of(image, AreaState.CONFIRMED)
    start.bench.change(lambda status: replace(status, primary=confirmed))
    monkeypatch.setattr(updater, "keeps_panics", lambda: is_kept)
    assert updater.main() == 0
    (facts,) = start.loaded
    area = image.in_area(start.bench.place("primary")[1])
    tree_at = area.index(image.tree)
    assert facts.verity == Verity(18, tree_at // BLOCK_SIZE, image.manifest.root)
    assert facts.root_offset == 4096
    out = capsys.readouterr().out
    assert "every block is checked while the image runs" in out
    assert ("nothing here keeps a record of a panic" in out) is not is_kept


def test_the_record_of_the_start_tells_the_os_what_was_done(start: Start) -> None:
    updater.main()
    (record,) = start.records
    assert isinstance(record, dict)
    assert record["schema"] == 1
    assert record["handover"] == start.loaded[0].kernel_facts()
    assert {"decided": "boot", "area": "primary"} in record["entries"]


@pytest.mark.parametrize(("method", "same_kernel"), [("switch_root", True), ("kexec", False)])
def test_a_trial_is_guarded_by_the_watchdog_of_the_setting(
    start: Start, method: str, same_kernel: bool
) -> None:
    start.bench.on_trial(TRANSACTION)
    start.method = method
    assert updater.main() == 0
    assert start.watchdog == [("work", 300), ("fed",), ("trial", 17, same_kernel)]
    assert (start.loaded[0].is_trial, start.loaded[0].transaction) == (True, TRANSACTION)
    assert start.bench.status.tries_left == 1, "the try is paid for before the start"


def test_an_image_that_cannot_be_loaded_gives_way_to_the_backup_with_an_alarm(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start.unbootable = {Area.PRIMARY}
    assert updater.main() == 0
    assert [one.area for one in start.loaded] == [Area.BACKUP]
    assert start.loaded[0].identity == V1.identity
    assert start.loaded[0].alarm
    out = capsys.readouterr().out
    assert "cannot start primary: /boot/vmlinuz: differs from its signed digest" in out
    assert "bootsvc: ALARM " in out


def test_a_jump_that_fails_leaves_the_work_that_follows_guarded(start: Start) -> None:
    start.jumps_fail = 1
    assert updater.main() == 0
    assert start.started == 1
    assert start.watchdog == [
        *(("work", 300), ("fed",), ("stopped",)),
        *(("work", 300), ("fed",), ("stopped",)),
    ]


def test_the_time_of_the_works_watchdog_is_a_setting(start: Start) -> None:
    start.settings.write_text('{"compatible": "test", "work_watchdog_s": 77}')
    assert updater.main() == 0
    assert start.watchdog[0] == ("work", 77)


def test_without_anything_to_start_it_halts_with_the_reason_and_exit_code_3(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start.unbootable = {Area.PRIMARY, Area.BACKUP}
    assert updater.main() == updater.HALTED == 3
    out = capsys.readouterr().out.splitlines()
    assert any(line.startswith("bootsvc: HALT: ") for line in out)
    assert any(line.startswith("bootsvc: last failure: ") for line in out)
    assert out[-1] == "bootsvc: stage=halt"
    assert not start.started


def test_without_a_disk_it_halts_and_says_what_to_do(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "block").mkdir()
    monkeypatch.setattr(disks, "SYS_BLOCK", tmp_path / "block")
    monkeypatch.setattr(updater, "find_disk", lambda *_: disks.find_disk(0))
    assert updater.main() == 3
    out = capsys.readouterr().out
    assert "bootsvc: HALT: no disk with bootsvc's partitions" in out
    assert "bootsvc disk create" in out
    assert not start.loaded


def test_a_lost_partition_table_is_an_alarm_and_the_spare_starts_the_image(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    with start.bench.path.open("r+b") as file:
        file.seek(512)
        file.write(bytes(512))
    assert updater.main() == 0
    assert start.started
    assert "ALARM the partition table at the disk's beginning is lost" in capsys.readouterr().out
    assert start.bench.path.read_bytes()[512:1024] == bytes(512), "repaired only on request"


def test_options_that_are_no_utf_8_do_not_keep_the_image_from_its_start(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cmdline").write_bytes(b"quiet owner=Andr\xe9 bootsvc.tries=2\n")
    monkeypatch.setattr(updater, "CMDLINE_FILE", tmp_path / "cmdline")
    assert updater.main() == 0
    assert start.started


def test_a_disk_that_vanishes_from_sys_still_leaves_a_reason(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_node(disk: Disk, role: str) -> Path:
        raise LayoutError(f"{disk.device.name}: the kernel shows no partition for {role}")

    monkeypatch.setattr(updater, "partition_node", no_node)
    assert updater.main() == 3
    assert "cannot start primary: " in capsys.readouterr().out
    assert not start.started


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"trys": 1}', "unknown setting 'trys'; did you mean tries?"),
        ('{"tries": 99}', "tries must lie between 1 and 20"),
        ("{", "SETTINGS.md"),
    ],
)
def test_a_bad_settings_file_is_reported_and_the_defaults_serve(
    start: Start, capsys: pytest.CaptureFixture[str], content: str, words: str
) -> None:
    start.settings.write_text(content)
    reporter = ConsoleReporter()
    assert updater.settings_for("", reporter) == Settings()
    out = capsys.readouterr().out
    assert out.startswith("bootsvc: ALARM ")
    assert words in out
    assert updater.main() == 0, "a setting never keeps a machine from starting"


def test_damaged_settings_do_not_open_a_locked_console_nor_keep_the_image_from_its_start(
    start: Start,
) -> None:
    start.no_shell.write_text("the console is locked with a password\n")
    start.settings.write_text("{")
    options = "bootsvc.console_password= bootsvc.console_shell=on bootsvc.tries=2"
    found = updater.settings_for(options, ConsoleReporter())
    assert found == Settings(tries=2, console_password="nobody", console_shell=False)
    assert updater.main() == 0
    assert start.started


def test_a_bad_kernel_option_is_reported_and_the_file_serves(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = Settings(compatible="test", watchdog_s=17)
    assert updater.settings_for("quiet bootsvc.tries=x", ConsoleReporter()) == expected
    assert "ALARM kernel option bootsvc.tries" in capsys.readouterr().out
    assert start.settings.exists()


def test_kernel_options_go_before_the_file(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start.settings.write_text('{"tries": 5, "crash_limit": 2}')
    found = updater.settings_for("bootsvc.tries=1 bootsvc.restore=off\n", ConsoleReporter())
    assert found == Settings(tries=1, crash_limit=2, restore=False)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("content", [b"no key\n", b"", b"\xff\xfe", b"zz" * 32])
def test_a_bad_key_file_is_an_alarm_and_the_good_ones_serve(
    start: Start, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (start.keys / "bad.pub").write_bytes(content)
    (start.keys / "private.key").write_bytes(b"never read")
    found = updater._keys(ConsoleReporter())
    assert [(one.name, one.key) for one in found] == [("site", KEY.public().key)]
    out = capsys.readouterr().out
    assert out.startswith("bootsvc: ALARM ")
    assert len(out.splitlines()) == 1


def test_an_update_that_waits_is_installed_under_the_sites_key_and_machine_type(
    start: Start,
) -> None:
    stage_v3(start, lambda: None)
    assert updater.main() == 0
    assert start.bench.status.phase is Phase.TRIAL
    assert start.loaded[0].is_trial


@pytest.mark.parametrize("wrong", ["key", "machine"])
def test_an_update_for_another_site_is_refused_and_the_old_image_starts(
    start: Start, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil() -> None:
        if wrong == "key":
            (start.keys / "site.pub").unlink()
        else:
            start.settings.write_text('{"compatible": "another"}')

    stage_v3(start, spoil)
    assert updater.main() == 0
    assert not start.loaded[0].is_trial
    expected = {"key": Reason.SIGNATURE, "machine": Reason.WRONG_MACHINE}[wrong]
    assert start.bench.status.last_failure.reason == expected
    assert "staging refused" in capsys.readouterr().out


@pytest.mark.parametrize("is_under_way", [False, True])
def test_a_fetch_that_comes_to_nothing_unlocks_the_screen_unless_an_update_is_under_way(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_under_way: bool
) -> None:
    """Beside the unlocking that follows the sequence's work on every start."""
    (tmp_path / "cmdline").write_text("bootsvc.install=/dev/none bootsvc.disk_wait_s=0\n")
    monkeypatch.setattr(updater, "CMDLINE_FILE", tmp_path / "cmdline")
    if is_under_way:
        stage_v3(start, lambda: None)
    assert updater.main() == 0
    assert start.desk.unlocks == (1 if is_under_way else 2)


def stage_v3(start: Start, spoil: Callable[[], None]) -> None:
    start.bench.put(Area.STAGING, V3)
    start.bench.change(
        lambda status: replace(
            status,
            request=Request.UPDATE,
            staging=record_of(V3, AreaState.VALID),
            transaction=TRANSACTION,
        )
    )
    spoil()


# --- the console ---------------------------------------------------------------------------------


def test_without_a_knock_no_console_is_opened_and_all_lines_are_left_as_they_were(
    start: Start,
) -> None:
    assert updater.main() == 0
    assert (start.desk.opened, start.desk.closed) == ([], 1)


def test_who_knocks_gets_the_console_before_anything_is_done(start: Start) -> None:
    start.desk.knock = True
    start.desk.plays = [Outcome(is_done=True, then=Then.GO_ON)]
    assert updater.main() == 0
    assert start.desk.opened == [""]
    assert [one.area for one in start.loaded] == [Area.PRIMARY]


def test_an_area_chosen_at_the_console_is_started_this_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = start.desk.open

    def verify_and_choose(runner: Runner, problem: str) -> Outcome | None:
        assert runner.check(Area.BACKUP).is_verified
        return opening(runner, problem)

    monkeypatch.setattr(start.desk, "open", verify_and_choose)
    before = start.bench.status
    start.desk.knock = True
    start.desk.plays = [Outcome(is_done=True, then=Then.BOOT, area=Area.BACKUP)]
    assert updater.main() == 0
    assert [one.area for one in start.loaded] == [Area.BACKUP]
    assert start.bench.status == before


def test_a_machine_that_halts_opens_its_console_with_the_reason_until_it_can_go_on(
    start: Start,
) -> None:
    start.unbootable = {Area.PRIMARY, Area.BACKUP}
    start.desk.plays = [Outcome(is_done=True, then=Then.GO_ON)]
    assert updater.main() == 3, "the second time nobody is reached"
    assert len(start.desk.opened) == 2
    assert all(start.desk.opened)


@pytest.mark.parametrize(
    ("then", "name"), [(Then.REBOOT, "restart"), (Then.POWER_OFF, "power_off")]
)
def test_the_machine_is_restarted_or_switched_off_and_goes_on_where_the_kernel_refuses(
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    then: Then,
    name: str,
) -> None:
    def refuse() -> None:
        raise BootError("the kernel refuses")

    monkeypatch.setattr(f"bootsvc.boot.syscalls.{name}", refuse)
    start.desk.knock = True
    start.desk.plays = [Outcome(is_done=True, then=then)]
    assert updater.main() == 0
    assert "ALARM the kernel refuses" in capsys.readouterr().out
    assert start.desk.closed == 2, "the lines are left as they were before the end"


def test_a_console_that_fails_stops_no_start(start: Start) -> None:
    start.desk.knock = True
    start.desk.plays = [ZeroDivisionError("a mistake")]
    assert updater.main() == 0
    assert [str(error) for error in start.desk.failed] == ["a mistake"]
    start.started = 0
    start.desk.knock = OSError("no terminal")
    assert updater.main() == 0
    assert [str(error) for error in start.desk.failed] == ["a mistake", "no terminal"]
