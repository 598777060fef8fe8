"""The updater: runs at every start from the initramfs, before any OS (DESIGN 1).

``init`` runs it as a child and reads its exit code:

    0   everything for switch_root is in /run/bootsvc/handover.env
    3   nothing may be started, and the console reached nobody; the reason was printed; init opens
        the rescue shell
    else  Python died; init says so and starts what the record names

kexec never returns.
"""

from __future__ import annotations

import time

_STARTED_S = time.clock_gettime(time.CLOCK_BOOTTIME)

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.boot.cmdline import parse_options, updater_slot
from bootsvc.boot.disks import find_disk, partition_node
from bootsvc.boot.evidence import find_crash, keeps_panics
from bootsvc.boot.handover import RUN_DIR, Handover
from bootsvc.boot.watchdog import Watchdog
from bootsvc.console.desk import Desk
from bootsvc.console.plan import works_of
from bootsvc.console.reporter import ConsoleReporter
from bootsvc.errors import BootError, BootsvcError, LayoutError, SettingsError
from bootsvc.formats.boot_status import Reason
from bootsvc.formats.describe import (
    describe_failure,
    describe_reason,
    next_start,
    why_next_start,
)
from bootsvc.formats.verity import Verity
from bootsvc.sequence.actions import Boot, Halt
from bootsvc.sequence.checks import Site
from bootsvc.sequence.runner import Runner, Start
from bootsvc.settings import (
    INSTALLER_DIR,
    KEYS_DIR,
    Settings,
    after_damage,
    load_built_in,
    with_kernel_options,
)
from bootsvc.storage.disk import ROLE_OF_AREA, Disk
from bootsvc.storage.image_area import Footer, read_footer
from bootsvc.trust.keys import PublicKey, parse_public_key

if TYPE_CHECKING:
    from bootsvc.console.actions import Outcome

LAZY_IMPORTS = (
    "encodings.utf_16_le",
    "difflib",
    "ctypes",
    "subprocess",
    "nacl.bindings",
    "nacl.exceptions",
    "bootsvc.boot.backends",
    "bootsvc.boot.data",
    "bootsvc.boot.dm",
    "bootsvc.boot.download",
    "bootsvc.boot.hardware",
    "bootsvc.boot.http_file",
    "bootsvc.boot.install",
    "bootsvc.boot.network",
    "bootsvc.boot.stick",
    "bootsvc.boot.syscalls",
    "bootsvc.console.facts_of",
    "bootsvc.console.forced",
    "bootsvc.console.loop",
    "bootsvc.console.person",
    "bootsvc.console.program_line",
    "bootsvc.console.program_port",
    "bootsvc.console.shell",
    "bootsvc.os_side.start_log",
    "bootsvc.trust.grub_password",
    "bootsvc.trust.password",
)
"""Modules that are imported only when needed; the initramfs must carry them as well."""

CMDLINE_FILE = Path("/proc/cmdline")
HALTED = 3
_SANE_CLOCK_S = 1_700_000_000


@dataclass(frozen=True)
class Clock:
    """When this start came how far, in seconds since the kernel began."""

    python_s: float
    imported_s: float


@dataclass(frozen=True)
class Surroundings:
    """What a start works with beside the disk and its runner."""

    settings: Settings
    cmdline: str
    clock: Clock
    reporter: ConsoleReporter
    watchdog: Watchdog
    desk: Desk


def main() -> int:
    """One start of the machine; see the exit codes above."""
    clock = Clock(_STARTED_S, time.clock_gettime(time.CLOCK_BOOTTIME))
    reporter = ConsoleReporter()
    reporter.stage("start")
    RUN_DIR.mkdir(parents=True, exist_ok=True)
    # A boot loader passes any bytes on; what is no UTF-8 is no option of ours.
    cmdline = CMDLINE_FILE.read_text("utf-8", errors="replace")
    settings = settings_for(cmdline, reporter)
    watchdog = Watchdog()
    reporter.say(watchdog.guard_work(settings.work_watchdog_s))
    desk = Desk(
        settings, cmdline, reporter, watchdog, lambda disk: runner_on(disk, settings, reporter)
    )
    reporter.on_progress = desk.look
    try:
        return _run(Surroundings(settings, cmdline, clock, reporter, watchdog, desk))
    finally:
        desk.close()


def _find_runner(around: Surroundings) -> Runner | str:
    """The runner of this start, or why no disk can be used, as a sentence."""
    settings, reporter = around.settings, around.reporter
    looked = reporter.wait("the disk", settings.disk_wait_s, "the console opens without one")
    try:
        return runner_on(find_disk(settings.disk_wait_s, looked), settings, reporter)
    except BootsvcError as exc:
        can_create = isinstance(exc, LayoutError) and INSTALLER_DIR.is_dir()
        hint = "make one at the console: create-disk" if can_create else exc.hint
        return _halt(reporter, str(exc), hint)


def runner_on(disk: Disk, settings: Settings, reporter: ConsoleReporter) -> Runner:
    """The runner of this start on ``disk``, told all that is known beside the disk."""
    if disk.gpt.is_spare:
        reporter.say(
            "ALARM the partition table at the disk's beginning is lost; the spare at its end "
            "serves (repair it at the console: repair-gpt)"
        )
    now_s = int(time.time())
    start = Start(
        site=Site(_keys(reporter), settings.compatible),
        policy=settings.policy,
        crash=find_crash(),
        now_s=now_s if now_s > _SANE_CLOCK_S else 0,
        fresh_id=os.urandom(16),
        failed_in_data=lambda: _failed_in_data(disk, reporter),
    )
    runner = Runner(disk, start, reporter)
    if runner.status is not None:
        reporter.say(f"next: {next_start(runner.status)}; why: {why_next_start(runner.status)}")
        reporter.plan = works_of(runner.status)
    return runner


def _failed_in_data(disk: Disk, reporter: ConsoleReporter) -> tuple[bytes, ...]:
    from bootsvc.boot.data import failed_images

    return failed_images(disk, reporter.say)


def _run(around: Surroundings) -> int:
    """From the disk to the hand-over, by way of the console where somebody wants it or nothing
    else is left."""
    desk = around.desk
    _create_what_is_asked_for(around)
    found = _find_runner(around)
    runner, problem = (None, found) if isinstance(found, str) else (found, "")
    is_console_wanted = runner is not None and _is_knocked_at(around, runner)
    if runner is not None and not is_console_wanted:
        _install_what_is_asked_for(runner, around)
        is_console_wanted = desk.is_wanted
    while True:
        chosen: Boot | None = None
        if runner is None or is_console_wanted:
            outcome = _console(around, runner, problem)
            if outcome is None and problem:
                return HALTED
            runner, chosen = _after_console(around, runner, outcome)
            if runner is None:
                found = _find_runner(around)
                runner, problem = (None, found) if isinstance(found, str) else (found, "")
                continue
        decided = chosen or runner.run()
        desk.unlock()
        problem, is_console_wanted = "", desk.is_wanted
        if isinstance(decided, Halt):
            problem, is_console_wanted = _halt_for(runner, decided, around.reporter), True
            continue
        if is_console_wanted:
            continue
        decided_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            _hand_over(runner, decided, around, decided_s)
        except BootsvcError as exc:
            around.watchdog.guard_work(around.settings.work_watchdog_s)
            runner.could_not_boot(decided.area, exc)
        else:
            return 0


def _create_what_is_asked_for(around: Surroundings) -> None:
    wanted = parse_options(around.cmdline).get("bootsvc.create-disk")
    if wanted is None:
        return
    if not INSTALLER_DIR.is_dir():
        around.reporter.say("ALARM bootsvc.create-disk: this updater carries nothing to make one")
        return
    from bootsvc.disk.unattended import create_as_told

    create_as_told(wanted, around.settings, around.reporter)


def _install_what_is_asked_for(runner: Runner, around: Surroundings) -> None:
    source = parse_options(around.cmdline).get("bootsvc.install")
    if source:
        from bootsvc.boot.install import install_from

        desk = around.desk
        install_from(
            source,
            runner,
            around.settings,
            around.reporter,
            lambda: desk.is_wanted,
            desk.begin_update,
        )
        around.reporter.plan = works_of(runner.status)
        if not around.reporter.plan:
            desk.unlock()  # it came to nothing


def _halt_for(runner: Runner, decided: Halt, reporter: ConsoleReporter) -> str:
    if runner.status is not None:
        reporter.say(f"last failure: {describe_failure(runner.status.last_failure)}")
    return _halt(reporter, describe_reason(decided.reason), "")


def _is_knocked_at(around: Surroundings, runner: Runner) -> bool:
    try:
        return around.desk.is_knocked_at(runner)
    except Exception as exc:  # noqa: BLE001  # a console that fails must not cost the machine
        around.desk.give_up(exc)
        return False


def _console(around: Surroundings, runner: Runner | None, problem: str) -> Outcome | None:
    """What was decided at the console; None where nobody could be reached."""
    try:
        return around.desk.open(runner, problem)
    except Exception as exc:  # noqa: BLE001  # as above
        around.desk.give_up(exc)
        return None


def _after_console(
    around: Surroundings, runner: Runner | None, outcome: Outcome | None
) -> tuple[Runner | None, Boot | None]:
    """The runner that goes on, and the area that a person chose for this start."""
    from bootsvc.console.actions import Then

    session = around.desk.session
    if outcome is None or session is None:
        return runner, None
    if outcome.then in (Then.REBOOT, Then.POWER_OFF):
        _end(around, is_restart=outcome.then is Then.REBOOT)
    if session.runner is not None and session.runner.status is not None:
        around.reporter.plan = works_of(session.runner.status)
    if outcome.then is Then.BOOT:
        return session.runner, Boot(outcome.area, alarm=outcome.alarm)
    return session.runner, None


def _end(around: Surroundings, *, is_restart: bool) -> None:
    """Restart the machine or switch it off; returns only where the kernel refuses."""
    from bootsvc.boot.syscalls import power_off, restart

    around.desk.close()
    os.sync()
    try:
        (restart if is_restart else power_off)()
    except BootsvcError as exc:
        around.reporter.say(f"ALARM {exc}")


def _hand_over(runner: Runner, outcome: Boot, around: Surroundings, decided_s: float) -> None:
    """Load and start what was decided; returns only for switch_root.

    Raises:
        BootError: it cannot be started.
    """
    from bootsvc.boot.backends import load as load_image  # these need ctypes

    reporter, clock, watchdog = around.reporter, around.clock, around.watchdog
    disk = runner.disk
    footer = read_footer(disk.areas[outcome.area])
    if footer.identity != runner.seen.finding(outcome.area).identity:
        raise BootError(f"{outcome.area.name.lower()}: its footer changed since it was looked at")
    if outcome.alarm is not Reason.NONE:
        reporter.say(f"ALARM {describe_reason(outcome.alarm)}")
    boot = footer.manifest.boot
    handover = _facts(disk, runner, outcome, footer, around)
    record = {"schema": 1, "entries": reporter.entries, "handover": handover.kernel_facts()}
    loaded = load_image(boot, handover, around.cmdline, record, watchdog.feed)
    if handover.verity:
        reporter.say(_said_of_verity(keeps_panics()))
    if outcome.is_trial:
        same_kernel = loaded.method == "switch_root"
        reporter.say(watchdog.guard_trial(around.settings.watchdog_s, same_kernel=same_kernel))
    loaded_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    reporter.say(
        f"seconds since the kernel began: python {clock.python_s:.3f}, "
        f"imported {clock.imported_s:.3f}, decided {decided_s:.3f}, loaded {loaded_s:.3f}"
    )
    reporter.stage(
        "handover",
        area=outcome.area.name.lower(),
        method=loaded.method,
        number=footer.manifest.number,
        trial=int(outcome.is_trial),
    )
    os.sync()
    # The very last step: whatever hangs before it is guarded.
    if not outcome.is_trial and (problem := watchdog.stop()):
        reporter.say(problem)
    loaded.start()


def _facts(
    disk: Disk, runner: Runner, outcome: Boot, footer: Footer, around: Surroundings
) -> Handover:
    boot = footer.manifest.boot
    role = ROLE_OF_AREA[outcome.area]
    data_node = data_guid = ""
    try:
        data_node = str(partition_node(disk, "data"))
        data_guid = disk.partition("data").guid
    except LayoutError:
        pass  # overlay.sh raises the alarm and goes on without data
    return Handover(
        area=outcome.area,
        identity=runner.seen.finding(outcome.area).identity,
        transaction=runner.status.transaction if runner.status else bytes(16),
        is_trial=outcome.is_trial,
        root_node=str(partition_node(disk, role)),
        root_guid=disk.partition(role).guid,
        data_node=data_node,
        data_guid=data_guid,
        overlay=boot.overlay,
        init=boot.init,
        confirm_limit_s=around.settings.confirm_limit_s,
        alarm="" if outcome.alarm is Reason.NONE else outcome.alarm.name.lower(),
        slot=updater_slot(around.cmdline),
        root_offset=boot.root_partition.offset if boot.root_partition else 0,
        verity=_verity_of(disk, outcome, footer) if boot.verity else None,
    )


def _said_of_verity(is_kept: bool) -> str:
    if is_kept:
        return "every block is checked while the image runs: a rotten one restarts the machine"
    return (
        "every block is checked while the image runs: a rotten one restarts the machine, but "
        "nothing here keeps a record of a panic: it is noticed by `bootsvc verify` alone"
    )


def _verity_of(disk: Disk, outcome: Boot, footer: Footer) -> Verity:
    manifest, area = footer.manifest, disk.areas[outcome.area]
    return Verity.of(manifest.size, area.size, footer.locator.footer_size, manifest.root)


def settings_for(cmdline: str, reporter: ConsoleReporter) -> Settings:
    """The settings; a bad one is reported and the defaults serve (DESIGN 9), but unlock nothing."""

    def report(exc: SettingsError) -> None:
        reporter.say(f"ALARM {exc}; {exc.hint or 'going on without it'}")

    try:
        settings = load_built_in()
    except SettingsError as exc:
        report(exc)
        settings = after_damage()
    try:
        return with_kernel_options(settings, parse_options(cmdline))
    except SettingsError as exc:
        report(exc)
        return settings


def _keys(reporter: ConsoleReporter) -> tuple[PublicKey, ...]:
    keys = []
    for path in sorted(KEYS_DIR.glob("*.pub")):
        try:
            keys.append(parse_public_key(path.stem, path.read_text("utf-8")))
        except (BootsvcError, OSError, UnicodeDecodeError) as exc:
            reporter.say(f"ALARM {exc}")
    return tuple(keys)


def _halt(reporter: ConsoleReporter, why: str, hint: str) -> str:
    """Say that this machine cannot go on by itself, and why; returns why."""
    reporter.say(f"HALT: {why}")
    if hint:
        reporter.say(hint)
    reporter.stage("halt")
    return why


if __name__ == "__main__":
    sys.exit(main())
