"""What the runs came to: as a table for a person, as JSON for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from qemu_lab.soak.oracle import Finding
from qemu_lab.soak.plan import Cut, Story
from qemu_lab.soak.world import Outcome

SCHEMA = 1


@dataclass(frozen=True)
class CutResult:
    """One cut.

    Attributes:
        planned: as the story has it.
        hit: the stage that the console had shown last; empty where the moment never came.
    """

    planned: Cut
    hit: str


@dataclass(frozen=True)
class ChapterResult:
    """What one chapter came to; ``reason`` of a fall-back or a refusal, as the record tells it."""

    text: str
    outcome: Outcome
    reason: str
    cuts: tuple[CutResult, ...]


@dataclass(frozen=True)
class RunResult:
    """What one run came to.

    Attributes:
        is_bricked: the machine does not come up any more, or shows what must never be seen.
        fault: what went wrong in the lab itself, which says nothing of the machine.
        helped: how often it was switched off and on because an image did nothing any more.
        seconds: elapsed, of all the run.
    """

    story: Story
    chapters: tuple[ChapterResult, ...]
    findings: tuple[Finding, ...]
    is_bricked: bool
    fault: str
    starts: int
    helped: int
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether nothing was found, and the lab did its part."""
        return not self.findings and not self.is_bricked and not self.fault

    @property
    def cuts(self) -> list[CutResult]:
        """All cuts of all chapters."""
        return [cut for chapter in self.chapters for cut in chapter.cuts]

    def line(self) -> str:
        """One line of progress."""
        ends = ", ".join(_outcome(chapter) for chapter in self.chapters)
        hits = ", ".join(f"{cut.planned.means} at {cut.hit or 'no time'}" for cut in self.cuts)
        wrong = "".join(f"\n    {one}" for one in self.findings)
        fault = f"\n    lab: {self.fault}" if self.fault else ""
        return (
            f"run {self.story.label}: {ends or 'no chapter ended'}; {hits or 'no cut'}; "
            f"{self.starts} starts, {self.seconds:.0f} s{wrong}{fault}"
        )

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "run": self.story.label,
            "tries": self.story.tries,
            "full_chain": self.story.full_chain,
            "is_right": self.is_right,
            "is_bricked": self.is_bricked,
            "chapters": [
                {
                    "text": chapter.text,
                    "outcome": chapter.outcome,
                    "reason": chapter.reason,
                    "cuts": [{"planned": str(cut.planned), "hit": cut.hit} for cut in chapter.cuts],
                }
                for chapter in self.chapters
            ],
            "findings": [{"clause": one.clause, "text": one.text} for one in self.findings],
            "fault": self.fault,
            "starts": self.starts,
            "helped": self.helped,
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True)
class Results:
    """All runs of one soak."""

    seed: int
    runs: Sequence[RunResult]

    @property
    def failed(self) -> list[RunResult]:
        """The runs of which something is wrong."""
        return [run for run in self.runs if not run.is_right]

    @property
    def is_right(self) -> bool:
        """Whether there were runs, and nothing was found in any."""
        return bool(self.runs) and not self.failed

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "schema": SCHEMA,
            "seed": self.seed,
            "is_right": self.is_right,
            "totals": dict(self.totals()),
            "runs": [run.document() for run in self.runs],
        }

    def totals(self) -> list[tuple[str, str]]:
        """Name and text of each row of the table."""
        runs, chapters = self.runs, [one for run in self.runs for one in run.chapters]
        cuts = [cut for run in runs for cut in run.cuts]
        hit = [cut for cut in cuts if cut.hit]
        bricked = sum(run.is_bricked for run in runs)
        faults = sum(bool(run.fault) for run in runs)
        seconds = [run.seconds for run in runs] or [0.0]
        clauses = Counter(one.clause for run in runs for one in run.findings)
        starts = sum(run.starts for run in runs)
        return [
            ("runs", f"{len(runs)}; {sum(run.story.full_chain for run in runs)} by boot loader"),
            ("survivors", str(len(runs) - bricked - faults)),
            ("bricked", str(bricked)),
            ("lab failed", str(faults)),
            ("findings", _counts(clauses.elements()) or "none"),
            ("outcomes", _counts(chapter.outcome for chapter in chapters)),
            ("fell back", _reasons(chapters, Outcome.FELL_BACK)),
            ("refused", _reasons(chapters, Outcome.REFUSED)),
            ("starts", f"{starts}; {sum(run.helped for run in runs)} ended an image that hung"),
            ("cuts", f"{len(hit)}; {len(cuts) - len(hit)} more had no time to come"),
            ("cuts by means", _counts(cut.planned.means for cut in hit)),
            ("cuts by stage", _counts(cut.hit for cut in hit)),
            (
                "seconds a run",
                f"{min(seconds):.0f} to {max(seconds):.0f}, median {median(seconds):.0f}",
            ),
        ]

    def table(self) -> str:
        """The same for a person."""
        rows = self.totals()
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {text}" for name, text in rows]
        for run in self.failed:
            what = [str(one).partition("\n")[0] for one in run.findings]
            what += [f"lab: {run.fault.partition(chr(10))[0]}"] if run.fault else []
            lines.append(f"FAILED  {run.story.label}: {'; '.join(what)}")
        return "\n".join(lines)


def _outcome(chapter: ChapterResult) -> str:
    return f"{chapter.outcome} ({chapter.reason})" if chapter.reason else str(chapter.outcome)


def _counts(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in Counter(names).most_common())


def _reasons(chapters: Iterable[ChapterResult], outcome: Outcome) -> str:
    found = [one.reason for one in chapters if one.outcome is outcome]
    return f"{len(found)}: {_counts(found)}" if found else "0"
