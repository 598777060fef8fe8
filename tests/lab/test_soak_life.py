"""The moments of the soak's cuts, on a machine that is played: lines and hellos at given times."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from qemu_lab.soak import life
from qemu_lab.soak.life import Ending, Life, StuckError, Witness
from qemu_lab.soak.oracle import HandOver
from qemu_lab.soak.plan import At, Cut, Means
from qemu_lab.stages import Stage
from qemu_lab.transcript import Line
from qemu_lab.vm import VM

HELLO = "hello"
TEMPO = 3.0

START = [(0.1, "SeaBIOS (version 1.16)"), (TEMPO, "bootsvc: stage=start")]
PROVEN = [
    *START,
    (3.5, "bootsvc: stage=handover area=primary number=2 trial=0"),
    (5.0, "lab: responder up version=2"),
    (5.0, f"{HELLO} area=primary version=2 trial=0"),
]
UPDATE = [
    *START,
    (3.2, "bootsvc: stage=check code=1"),
    (4.0, "bootsvc: stage=copy code=2"),
    (5.0, "bootsvc: stage=trial code=3 tries_left=2"),
    (5.1, "bootsvc: stage=handover area=primary number=3 trial=1"),
    (7.0, f"{HELLO} area=primary version=3 trial=1"),
    (8.0, "lab: confirm ended 0"),
]
HANGS = [
    *START,
    (3.5, "bootsvc: stage=handover area=primary number=8 trial=1"),
    (4.0, "probe: behaviour hang"),
]


class Played:
    """Stands for a VM: plays one list of lines for each power-on."""

    def __init__(self, *starts: Sequence[tuple[float, str]]) -> None:
        self.starts = list(starts)
        self.lines: list[Line] = []
        self.hellos: list[dict[str, str]] = []
        self.running = False
        self.log: list[str] = []
        self.now = self.began = 0.0
        self.waiting: list[tuple[float, str]] = []
        self.console = SimpleNamespace(
            transcript=SimpleNamespace(lines=self.lines),
            check=lambda *_: None,
            forgive=lambda _: None,
            settle=lambda: None,
            tail=lambda _: "",
        )
        self.port = SimpleNamespace(
            reader=SimpleNamespace(hellos=self.hellos),
            wait_hello=lambda _: self.hellos.pop(0),
            run=lambda command, _: self.log.append(command),
        )

    def start(self) -> None:
        self.running, self.began = True, self.now
        self.waiting = list(self.starts.pop(0))

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Instead of time.sleep: time goes on, and the machine says what is due."""
        self.now += seconds
        while self.waiting and self.began + self.waiting[0][0] <= self.now:
            after, text = self.waiting.pop(0)
            if text.startswith(HELLO):
                words = [word.partition("=") for word in text.split()[1:]]
                self.hellos.append({key: value for key, _, value in words})
            else:
                self.lines.append(Line(self.began + after, text, 0))

    def qmp(self, _command: str, **_arguments: object) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...

    def power_cut(self) -> None:
        self.log.append(f"power cut at {self.now - self.began:.1f}")
        self.running = False

    def quit(self) -> None:
        self.log.append(f"reset at {self.now - self.began:.1f}")
        self.running = False


@pytest.fixture
def seen() -> list[HandOver]:
    return []


def living(monkeypatch: pytest.MonkeyPatch, played: Played, seen: list[HandOver]) -> Life:
    monkeypatch.setattr("time.sleep", played.sleep)
    witness = Witness(seen.append, lambda: None)
    one = Life(cast("VM", played), witness, is_fresh_after_reset=True)
    one.power_on()
    return one


def test_a_proven_image_is_up_once_it_says_so(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    one = living(monkeypatch, Played(PROVEN), seen)
    assert one.live(None, is_patient=True) is Ending.UP
    assert seen == [HandOver("primary", 2, is_trial=False)]


def test_an_image_on_trial_is_told_to_confirm_and_is_up_when_it_has(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    played = Played(UPDATE)
    one = living(monkeypatch, played, seen)
    assert one.live(None, is_patient=True) is Ending.UP
    assert one.has_confirmed
    assert played.log[0].startswith("(bootsvc confirm ")
    assert played.now >= 8.0


@pytest.mark.parametrize(
    ("at", "begins_s"),
    [
        (At.UPDATER, TEMPO),
        (At.CHECK, 3.2),
        (At.COPY, 4.0),
        (At.TRIAL, 5.0),
        (At.HAND_OVER, 5.1),
        (At.CONFIRM, 7.0),
    ],
)
def test_a_cut_comes_a_share_of_the_tempo_after_its_stage(
    at: At, begins_s: float, monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    played = Played(UPDATE)
    one = living(monkeypatch, played, seen)
    assert one.live(Cut(at, 0.1, Means.POWER), is_patient=True) is Ending.CUT
    cut_s = float(played.log[-1].removeprefix("power cut at "))
    assert cut_s == pytest.approx(begins_s + 0.1 * TEMPO, abs=0.11)
    assert not played.running


def test_a_cut_in_the_boot_counts_from_power_on(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    played = Played(PROVEN)
    one = living(monkeypatch, played, seen)
    assert one.live(Cut(At.BOOT, 0.5, Means.POWER), is_patient=True) is Ending.CUT
    assert played.log == [f"power cut at {0.5 * life.FIRST_TEMPO_S:.1f}"]
    assert one.stage_at_cut is Stage.FIRMWARE


def test_a_moment_that_never_comes_leaves_the_machine_up(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    one = living(monkeypatch, Played(PROVEN), seen)
    assert one.live(Cut(At.RESTORE, 0.0, Means.POWER), is_patient=True) is Ending.UP


def test_reset_starts_the_machine_anew(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    played = Played(UPDATE, PROVEN)
    one = living(monkeypatch, played, seen)
    assert one.live(Cut(At.COPY, 0.0, Means.RESET), is_patient=True) is Ending.CUT
    assert played.log == ["reset at 4.0"]
    assert one.live(None, is_patient=True) is Ending.UP
    assert one.starts == 2


def test_an_image_that_hangs_is_switched_off_and_on(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    one = living(monkeypatch, Played(HANGS, PROVEN), seen)
    assert one.live(None, is_patient=False) is Ending.UP
    assert (one.starts, one.helped) == (2, 1)


def test_a_machine_that_does_not_come_up_is_stuck(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    one = living(monkeypatch, Played(START), seen)
    with pytest.raises(StuckError, match=r"settles: not up after 120 s; last stage: updater"):
        one.live(None, is_patient=True)


def test_an_image_that_hangs_again_and_again_is_stuck(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    one = living(monkeypatch, Played(*[HANGS] * 20), seen)
    with pytest.raises(StuckError, match=r"settles: not up after 10 starts"):
        one.live(None, is_patient=False)


def test_a_system_that_says_it_is_another_is_found(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    lying = [*PROVEN[:-1], (5.0, f"{HELLO} area=primary version=3 trial=0")]
    one = living(monkeypatch, Played(lying), seen)
    with pytest.raises(StuckError, match="boots_whole_image"):
        one.live(None, is_patient=True)


def test_a_confirm_that_is_refused_is_found(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    one = living(monkeypatch, Played([*UPDATE[:-1], (8.0, "lab: confirm ended 11")]), seen)
    with pytest.raises(StuckError, match="the_right_one_confirms"):
        one.live(None, is_patient=True)


def test_a_cut_that_is_due_comes_before_anybody_helps(
    monkeypatch: pytest.MonkeyPatch, seen: list[HandOver]
) -> None:
    played = Played(HANGS)
    one = living(monkeypatch, played, seen)
    assert one.live(Cut(At.HAND_OVER, 0.5, Means.POWER), is_patient=False) is Ending.CUT
    assert played.log == ["power cut at 5.0"]
    assert (one.stage_at_cut, one.helped) == (Stage.HAND_OVER, 0)
