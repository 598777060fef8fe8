"""One power-on, as a pure function of the disk and of a small environment.

The real runner works on a simulated disk up to the hand-over; then the OS that was started does
what an OS does: it confirms itself if it is good, rejects itself if its health check fails, hangs,
or asks for something. The clock stands still and fresh ids come from the record, so equal states
behave equally and need to be run only once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache

from bootsvc.errors import AlteredImageError, BootsvcError, ConfirmRefusedError
from bootsvc.formats.boot_status import Area, AreaState, BootStatus, Phase, Reason, Request
from bootsvc.formats.gpt import NAMES, Gpt
from bootsvc.sequence import by_hand, requests
from bootsvc.sequence.actions import Action, Boot, Halt
from bootsvc.sequence.checks import Site
from bootsvc.sequence.runner import Runner, Start
from bootsvc.sequence.staging import StagedImage, UpdateRequest, write_staging
from bootsvc.storage.device import Window
from bootsvc.storage.disk import ROLE_OF_AREA, Disk, disk_on
from bootsvc.storage.image_area import CopyCounts, Footer, read_footer, read_leaves
from bootsvc.storage.status_store import StatusStore
from bootsvc.units import BLOCK_SIZE
from tests.images import COMPATIBLE, KEY
from tests.power_cut import block_store
from tests.power_cut.disk import (
    Base,
    Flushed,
    Marked,
    Operation,
    SimulatedDisk,
    Snapshot,
    WasRead,
    Written,
)
from tests.power_cut.oracle import StepFacts
from tests.power_cut.parsed import parsed_once
from tests.power_cut.scenarios import (
    CHUNK_SIZE,
    IMAGES,
    KERNEL_BLOCK,
    PARTS,
    AtConsole,
    RollBack,
    Scenario,
    StageImage,
    StartOnce,
)
from tests.power_cut.view import View, held, newest_record

SITE = Site((KEY.public(),), COMPATIBLE)
NOW_S = 1_700_000_000
Key = tuple[int, bool]
HAND_OVER = "boot"
AT_CONSOLE = "console-request"
ASKING = ("staging", "rollback-request", AT_CONSOLE)
"""The marks at which the OS, or a technician, begins to ask for something."""


@dataclass(frozen=True, eq=False)
class State:
    """A machine that is switched off.

    Attributes:
        asks: the OS, or a technician, will still ask for what the scenario wants.
    """

    content: Snapshot
    asks: bool = False

    @property
    def key(self) -> Key:
        """Equal for states that behave equally."""
        return self.content.key, self.asks


@dataclass(frozen=True, eq=False)
class Step:
    """One power-on and what it did.

    Attributes:
        log: every operation, with a mark where a phase begins and at the hand-over.
        at_boot: the disk at the hand-over; ``None`` where nothing was started.
        booted: the area that was started, in lower case; empty: nothing.
        told: what updater and OS said, for people.
        problem: an exception out of product code.
    """

    before: State
    after: State
    log: tuple[Operation, ...]
    at_boot: Snapshot | None
    booted: str
    told: tuple[str, ...]
    problem: str = ""

    @property
    def is_rest(self) -> bool:
        """Nothing changed, so nothing ever will."""
        return self.after.key == self.before.key

    @cached_property
    def asked_at(self) -> int:
        """Number of the operation before which the OS began to ask; behind the last: it did not."""
        number = 0
        for one in self.log:
            if isinstance(one, Marked):
                if one.phase in ASKING:
                    return number
            elif not isinstance(one, WasRead):
                number += 1
        return number + 1


def first_state(scenario: Scenario) -> State:
    """The machine before the scenario begins."""
    return State(Snapshot(scenario.base), asks=scenario.ask is not None)


def power_on(scenario: Scenario, state: State) -> Step:
    """Start the machine and let it run until it is switched off again."""
    return power_on_device(scenario, state, SimulatedDisk(state.content, scenario.sector_size))


def power_on_device(scenario: Scenario, state: State, device: SimulatedDisk) -> Step:
    """``power_on`` with a disk of the caller's making, which holds ``state.content``."""
    told: list[str] = []
    at_boot, booted, problem, asks = None, "", "", state.asks
    try:
        with parsed_once():
            runner, outcome, asks = _run_updater(scenario, state, device, told)
            if isinstance(outcome, Boot):
                at_boot, booted = device.content, outcome.area.name.lower()
                device.mark(HAND_OVER)
                asks = _run_os(scenario, asks, runner, outcome, device, told)
            else:
                told.append(f"halts: {outcome.reason.name}")
    except Exception as exc:  # noqa: BLE001 - whatever product code lets out is a finding
        problem = f"{type(exc).__name__}: {exc}"
    after = State(device.content, asks)
    return Step(state, after, tuple(device.log), at_boot, booted, tuple(told), problem)


def after_cut(step: Step, content: Snapshot, at: int) -> State:
    """The machine after a power cut at operation ``at`` of ``step``: who had begun to ask has
    forgotten it, unless it is an agent that goes on asking."""
    return State(content, step.after.asks if at >= step.asked_at else step.before.asks)


def operations(log: Iterable[Operation]) -> list[Written | Flushed]:
    """The operations that cuts are numbered by: writes and flushes."""
    return [one for one in log if isinstance(one, Written | Flushed)]


def facts_of(step: Step, look: Callable[[Snapshot], View]) -> StepFacts:
    """What the judge is told of ``step``; ``look`` is how it sees a disk."""
    marks = [one.phase if isinstance(one, Marked) else "" for one in step.log]
    boot_at = marks.index(HAND_OVER) if HAND_OVER in marks else len(step.log)
    done_before_boot = operations(step.log[:boot_at])
    return StepFacts(
        before=look(step.before.content),
        after=look(step.after.content),
        at_boot=None if step.at_boot is None else look(step.at_boot),
        booted=step.booted,
        wrote_before_boot=bool(done_before_boot),
        flushed_before_boot=not done_before_boot or isinstance(done_before_boot[-1], Flushed),
        wrote_after_boot=bool(operations(step.log[boot_at:])),
        asked=any(mark in ASKING for mark in marks),
        asked_before_boot=AT_CONSOLE in marks,
        problem=step.problem,
    )


# --- the updater --------------------------------------------------------------------------------


@dataclass
class _Listener:
    """Marks the phases in the disk's log, and keeps what is said."""

    device: SimulatedDisk
    told: list[str]

    def stage(self, name: str, **facts: object) -> None:
        del facts
        self.device.mark(name)

    def begin(self, work: str, total: int) -> None:
        """Nobody watches."""

    def tick(self, count: int) -> None:
        """Nobody watches."""

    def end(self, counts: CopyCounts | None = None) -> None:
        """Nobody watches."""

    def say(self, text: str) -> None:
        self.told.append(text)

    def decided(self, action: Action) -> None:
        """The disk's log tells enough."""


def _run_updater(
    scenario: Scenario, state: State, device: SimulatedDisk, told: list[str]
) -> tuple[Runner, Boot | Halt, bool]:
    """The updater's part of a start, a technician's with it; whether somebody will still ask."""
    start = Start(
        SITE,
        scenario.policy,
        scenario.crash,
        now_s=NOW_S,
        fresh_id=fresh_id(scenario, device.content),
        chunk_size=CHUNK_SIZE,
    )
    runner = Runner(_disk_on(device), start, _Listener(device, told))
    asks = state.asks
    if isinstance(scenario.ask, AtConsole) and asks:
        asks = _ask_at_console(scenario.ask, runner, device, told)
    outcome = runner.run()
    while isinstance(outcome, Boot) and _kernel_is_altered(device, outcome.area):
        runner.could_not_boot(outcome.area, AlteredImageError("the kernel differs"))
        outcome = runner.run()
    return runner, outcome, asks


def _ask_at_console(ask: AtConsole, runner: Runner, device: SimulatedDisk, told: list[str]) -> bool:
    """As the console does, through the very same functions; True where he will ask again: whoever
    is told that it was not done tries once more."""
    fresh = hashlib.sha256(repr((ask.wish, runner.status)).encode()).digest()[:16]
    wishes: dict[str, Callable[[], None]] = {
        "restore": lambda: by_hand.restore(runner),
        "abandon": lambda: by_hand.abandon(runner),
        "retry": lambda: by_hand.retry(runner, fresh),
        "install-without-backup": lambda: by_hand.install_without_backup(runner),
        "install-over-nothing": lambda: by_hand.install_over_nothing(runner),
    }
    device.mark(AT_CONSOLE)
    try:
        wishes[ask.wish]()
    except BootsvcError as exc:
        told.append(f"technician: {exc}")
        return True
    return ask.repeats


def _kernel_is_altered(device: SimulatedDisk, area: Area) -> bool:
    """Whether the hand-over would refuse what it is about to load."""
    at = KERNEL_BLOCK * BLOCK_SIZE
    start = PARTS[area.name.lower()].start + at
    kernel = device.content.read(start, BLOCK_SIZE)
    return all(image.content[at : at + BLOCK_SIZE] != kernel for image in IMAGES.values())


def fresh_id(scenario: Scenario, content: Snapshot) -> bytes:
    """16 bytes that stand for randomness: another id for each record that was ever the newest."""
    record = newest_record(scenario.truth, content)
    facts = (record.sequence, record.transaction) if record else ()
    return hashlib.sha256(repr(facts).encode()).digest()[:16]


@lru_cache(maxsize=64)
def _table_of(base: Base, sector_size: int) -> Gpt:
    """The partition table, which no scenario changes."""
    return disk_on(SimulatedDisk(Snapshot(base), sector_size)).gpt


def _disk_on(device: SimulatedDisk) -> Disk:
    """``storage.disk.disk_on`` without reading the partition table again."""
    gpt = _table_of(device.content.base, device.sector_size)

    def window(role: str) -> Window:
        (part,) = gpt.by_role(role)
        return Window(device, NAMES[role], part.offset, part.size)

    areas = {area: window(role) for area, role in ROLE_OF_AREA.items()}
    return Disk(device, gpt, StatusStore(window("status")), areas)


# --- the OS -------------------------------------------------------------------------------------


def _run_os(
    scenario: Scenario,
    asks: bool,
    runner: Runner,
    boot: Boot,
    device: SimulatedDisk,
    told: list[str],
) -> bool:
    """The OS that was started reacts; True where it will still ask after the next start."""
    running = held(scenario.truth, device.content, boot.area.name.lower())
    disk = _disk_on(device)
    started = requests.Started(
        boot.area,
        runner.seen.finding(boot.area).identity,
        runner.status.transaction if runner.status else bytes(16),
    )
    told.append(f"{running} runs from {boot.area.name.lower()}")
    try:
        if running in scenario.rejects and boot.is_trial:
            _reject(disk, started, device)
        elif running in scenario.good:
            _confirm(disk, started, device)
            if asks and not isinstance(scenario.ask, AtConsole):
                asks = _ask(scenario, disk, device)
    except BootsvcError as exc:
        told.append(f"{running}: {exc}")
    return asks


def _confirm(disk: Disk, started: requests.Started, device: SimulatedDisk) -> None:
    """As ``bootsvc confirm`` does; who is not on trial writes nothing."""
    status = disk.status.read()
    try:
        requests.confirmed(status, started, floor=0)
    except ConfirmRefusedError:
        return
    is_trial = status.phase is Phase.TRIAL
    floor = read_footer(disk.areas[Area.PRIMARY]).manifest.floor if is_trial else 0
    wanted = requests.confirmed(status, started, floor)
    if wanted != status:
        device.mark("confirm")
        disk.status.replace(wanted)


def _reject(disk: Disk, started: requests.Started, device: SimulatedDisk) -> None:
    """As ``bootsvc reject`` does."""
    device.mark("reject")
    status = disk.status.read()
    disk.status.replace(requests.rejected(status, started, Reason.HEALTH_CHECK, NOW_S))


def _ask(scenario: Scenario, disk: Disk, device: SimulatedDisk) -> bool:
    """Ask for what the scenario wants; True where it is to be asked again after a power cut."""
    status = disk.status.read()
    match scenario.ask:
        case StageImage(name, repeats, by_blocks):
            image = IMAGES[name]
            is_done = image.identity in (status.primary.identity, *status.failed)
            if is_done or status.request is Request.UPDATE:
                return repeats
            requests.check_stageable(status)
            device.mark("staging")
            if by_blocks:
                _update_by_blocks(disk, status, name)
                return repeats
            transaction = hashlib.sha256(repr((name, status.sequence)).encode()).digest()[:16]
            write_staging(
                disk, status, _source_of(name), UpdateRequest(transaction), _unwatched,
                chunk_size=CHUNK_SIZE,
            )  # fmt: skip
            return repeats
        case StartOnce(name):
            requests.check_staging_startable(status, IMAGES[name].identity)
            device.mark("staging")
            write_staging(disk, status, _source_of(name), None, _unwatched, chunk_size=CHUNK_SIZE)
            disk.status.replace(requests.staging_requested_once(disk.status.read()))
        case RollBack():
            device.mark("rollback-request")
            disk.status.replace(requests.rollback_requested(status))
    return False


def _update_by_blocks(disk: Disk, status: BootStatus, name: str) -> None:
    """As ``bootsvc update --install`` does: step 1, where that is not done, then step 2."""
    staged = status.staging
    if (staged.state, staged.identity) != (AreaState.VALID, IMAGES[name].identity):
        block_store.fetch(disk, status, name, SITE, _unwatched)
        status = disk.status.read()
    transaction = hashlib.sha256(repr((name, status.sequence)).encode()).digest()[:16]
    disk.status.replace(requests.update_requested(status, status.staging, transaction))


def _source_of(name: str) -> StagedImage:
    """The image file, as ``bootsvc stage`` has it after all its checks."""
    content, footer, leaves = _checked_file(name)
    return StagedImage(SimulatedDisk(content, 512, f"{name}.bimg"), footer, leaves)


@lru_cache
def _checked_file(name: str) -> tuple[Snapshot, Footer, bytes]:
    content = Snapshot(Base(IMAGES[name].as_file()))
    device = SimulatedDisk(content, 512)
    footer = read_footer(device)
    return content, footer, read_leaves(device, footer)


class _Unwatched:
    def tick(self, count: int) -> None:
        """Nobody watches."""


@contextmanager
def _unwatched(_: str, __: int) -> Iterator[_Unwatched]:
    yield _Unwatched()
