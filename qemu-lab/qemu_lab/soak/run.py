"""One run: a story is told to one machine, and the judge outside looks at it all the time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from random import Random

from qemu_lab.errors import ExpectationError, LabError
from qemu_lab.recorded.boots import DiskFile
from qemu_lab.recorded.oracle import Oracle
from qemu_lab.soak import disks, oracle
from qemu_lab.soak.images import CATALOGUE, STRANGER
from qemu_lab.soak.life import Ending, Life, StuckError, Witness
from qemu_lab.soak.oracle import BRICKS, Finding, HandOver
from qemu_lab.soak.plan import At, Chapter, Cut, Idle, Rollback, Spoil, Story, Update
from qemu_lab.soak.results import ChapterResult, CutResult, RunResult
from qemu_lab.soak.world import (
    ROLLBACK_REQUEST,
    UPDATE_REQUEST,
    Asked,
    Outcome,
    World,
    ends,
    observed,
)
from qemu_lab.subject import UPDATE_DEVICE, Record, Subject
from qemu_lab.vm import VM

_LOCATOR_BYTES = 4096


class Run:
    """One story in the making; ``play`` tells it."""

    def __init__(self, story: Story, folder: Path) -> None:
        """In ``folder``, where ``disks.prepare`` was.

        Raises:
            LabError: the disk cannot be made.
        """
        self.story = story
        self.disk = folder / f"run-{story.seed}-{story.run}.img"
        machine = disks.machine_of(story, folder, self.disk)
        self._vm = VM(machine, folder, name=f"run-{story.seed}-{story.run}")
        self._subject = Subject(self._vm, self.disk)
        witness = Witness(self._at_hand_over, self._look)
        self._life = Life(self._vm, witness, is_fresh_after_reset=not story.full_chain)
        self._oracle: Oracle = disks.oracle_for(self.disk)
        self._bytes = DiskFile(self.disk)
        self._world = World()
        self._asked = Asked()
        self._tried: int | None = None
        self._record: Record | None = None
        self._findings: list[Finding] = []
        self._chapters: list[ChapterResult] = []

    def play(self) -> RunResult:
        """Tell the story; the disk is kept where something was found."""
        begun = time.monotonic()
        is_bricked = False
        fault = ""
        try:
            for chapter in self.story.chapters:
                self._tell(chapter)
            self._settled_for_good()
        except StuckError as error:
            self._findings.append(error.finding)
            is_bricked = error.finding.clause in BRICKS
        except ExpectationError as error:
            self._findings.append(Finding("answers", str(error)))
        except LabError as error:
            fault = str(error)
        finally:
            self._vm.close()
        if not self._findings and not fault:
            self.disk.unlink()
        return RunResult(
            self.story,
            tuple(self._chapters),
            tuple(dict.fromkeys(self._findings)),
            is_bricked=is_bricked,
            fault=fault,
            starts=self._life.starts,
            helped=self._life.helped,
            seconds=time.monotonic() - begun,
        )

    # --- the chapters -----------------------------------------------------------------------

    def _tell(self, chapter: Chapter) -> None:
        """One chapter: the machine is off before and after it."""
        self._asked, self._life.has_confirmed = Asked(), False
        self._tried = None
        self._look()
        cuts: list[CutResult] = []
        planned = list(chapter.cuts)
        match chapter:
            case Update():
                self._stage(chapter, planned, cuts)
            case Rollback():
                self._command(
                    "rollback", self._world.rollback_refusal(), ROLLBACK_REQUEST, planned, cuts
                )
            case Idle():
                pass
        is_patient = isinstance(chapter, Update) and chapter.is_patient
        self._interrupted(planned, cuts, is_patient=is_patient)
        self._life.power_off()
        self._close(chapter, cuts)

    def _stage(self, chapter: Update, planned: list[Cut], cuts: list[CutResult]) -> None:
        image = CATALOGUE[chapter.image]
        self._tried = chapter.image
        if chapter.inside:
            self._subject.insert(image.path)
            refusal = self._world.refusal(chapter.image)
            self._command(f"stage {UPDATE_DEVICE}", refusal, UPDATE_REQUEST, planned, cuts)
        else:
            done = self._subject.stage_from_outside(image.path)
            self._judge_command(done.returncode, self._world.refusal(chapter.image), done.stderr)
            self._asked = replace(self._asked, is_requested=done.returncode == 0)
        if self._asked.is_requested and chapter.spoil is not Spoil.NONE:
            if self._vm.running:
                self._life.power_off()
            self._spoil(chapter.spoil)

    def _command(
        self, command: str, refusal: str, request: int, planned: list[Cut], cuts: list[CutResult]
    ) -> None:
        """The operator's command in the running system; then it is off, or a cut reset it."""
        cut = planned.pop(0) if planned and planned[0].at is At.COMMAND else None
        self._life.power_on()
        ending = self._life.live(cut, is_patient=True, command=f"bootsvc {command}")
        if ending is Ending.CUT and cut is not None:
            cuts.append(CutResult(cut, self._life.stage_at_cut.value))
        else:
            status = self._life.command_status
            self._judge_command(-1 if status is None else status, refusal, f"bootsvc {command}")
            self._life.power_off()
            self._look()
        is_requested = self._record is not None and self._record.request == request
        self._asked = replace(self._asked, is_requested=is_requested)

    def _judge_command(self, status: int, refusal: str, text: str) -> None:
        self._asked = replace(self._asked, is_refused=status != 0)
        if bool(refusal) != (status != 0):
            wanted = f"a refusal ({refusal})" if refusal else "success"
            found = f"wanted {wanted}, got status {status}: {text}"
            self._findings.append(Finding("commands_as_documented", found))

    def _spoil(self, spoil: Spoil) -> None:
        """What becomes of the image in staging while the machine is off."""
        drawn = Random(f"spoil {self.story.label}")  # noqa: S311 - repeatable
        _, size = self._subject.range_of("bootsvc-staging")
        match spoil:
            case Spoil.ALTERED:
                # The content fills more than half of the area.
                at = drawn.randrange(size // 2)
                self._subject.damage("bootsvc-staging", at, drawn.randbytes(100))
            case Spoil.INCOMPLETE:
                zeros = bytes(_LOCATOR_BYTES)
                self._subject.damage("bootsvc-staging", size - _LOCATOR_BYTES, zeros)
            case Spoil.STRANGER:
                self._subject.put("staging", CATALOGUE[STRANGER].path)
            case Spoil.NONE:
                pass

    def _interrupted(self, planned: list[Cut], cuts: list[CutResult], *, is_patient: bool) -> None:
        """Cut after cut, and then left alone until a proven image is up."""
        for cut in planned:
            if not self._vm.running:
                self._life.power_on()
            if self._life.live(cut, is_patient=is_patient) is Ending.UP:
                cuts.append(CutResult(cut, ""))
            else:
                cuts.append(CutResult(cut, self._life.stage_at_cut.value))
        if not self._vm.running:
            self._life.power_on()
        self._life.live(None, is_patient=is_patient)

    def _close(self, chapter: Chapter, cuts: list[CutResult]) -> None:
        """Judge the chapter's end."""
        self._look()
        right = ends(chapter, self._asked, self._world)
        self._findings += oracle.settled_findings(self._oracle, self._bytes, right)
        end = oracle.end_of(self._oracle, self._bytes, right)
        outcome, reason = Outcome.FAILED, ""
        if end is not None:
            outcome, self._world = end.outcome, end.world
        if self._asked.is_refused:
            reason = "by the command"
        elif outcome in {Outcome.FELL_BACK, Outcome.REFUSED} and self._record is not None:
            reason = oracle.reason_of(self._record)
        self._chapters.append(ChapterResult(str(chapter), outcome, reason, tuple(cuts)))

    def _settled_for_good(self) -> None:
        """One more ordinary start writes nothing to the record, and starts what it should."""
        before = self._subject.status_partition()
        self._life.power_on()
        self._life.live(None, is_patient=True)
        self._life.power_off()
        if self._subject.status_partition() != before:
            text = "an ordinary start of a settled machine changed the status partition"
            self._findings.append(Finding("healthy_start_writes_nothing", text))

    # --- the judge --------------------------------------------------------------------------

    def _look(self) -> None:
        """Judge the record, at a moment at which the machine stands still or is off."""
        try:
            record = self._oracle.record(self._bytes)
        except ExpectationError as error:
            raise StuckError(Finding("record_is_there", str(error))) from None
        self._findings += oracle.record_finding(self._oracle, self._bytes)
        if self._record is not None:
            self._findings += oracle.progress_findings(self._record, record)
        self._record = record
        self._asked = observed(self._asked, record)

    def _at_hand_over(self, start: HandOver) -> None:
        self._look()
        tried = self._tried
        self._findings += oracle.hand_over_findings(
            self._oracle, self._bytes, start, self._world, tried
        )
        is_proven = self._life.has_confirmed or tried in {self._world.runs, self._world.backup}
        self._findings += oracle.proof_findings(start, tried, is_proven=is_proven)


def play(story: Story, folder: Path) -> RunResult:
    """Tell one story to a machine of its own."""
    return Run(story, folder).play()
