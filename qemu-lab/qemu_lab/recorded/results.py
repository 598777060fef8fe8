"""What a run came to: as a table for a person, as JSON for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qemu_lab.recorded.boots import Booted
from qemu_lab.recorded.cuts import Cut, touches
from qemu_lab.recorded.judge import Outcome
from qemu_lab.recorded.oracle import AREAS, Oracle
from qemu_lab.recorded.order import Order
from qemu_lab.recorded.replaying import Judged
from qemu_lab.write_log import WriteLog

SCHEMA = 1


@dataclass(frozen=True)
class Results:
    """Everything that was found.

    Attributes:
        entries, writes, flushes: of the log.
        writes_by_area: how many of the writes went to which area.
        same_end: the log replayed to its end gives the disk that the machine left.
        order: of the writes.
        rebuilt: how many disks were rebuilt, by kind of cut.
        judged: those that differ from each other.
        booted: those that were booted in a virtual machine.
        seconds: of each part of the work.
    """

    entries: int
    writes: int
    flushes: int
    writes_by_area: dict[str, int]
    same_end: bool
    order: Order
    rebuilt: dict[str, int]
    judged: Sequence[Judged]
    booted: Sequence[Booted]
    seconds: dict[str, float]
    seed: int

    @classmethod
    def of_log(cls, log: WriteLog, oracle: Oracle, cuts: Sequence[Cut], **others: Any) -> Results:
        """With what the log and the cuts tell by themselves."""
        return cls(
            entries=len(log.entries),
            writes=sum(entry.is_write for entry in log.entries),
            flushes=sum(entry.is_flush for entry in log.entries),
            writes_by_area={
                AREAS[area]: sum(touches(entry, [where]) for entry in log.entries)
                for area, where in oracle.areas.items()
            },
            rebuilt=dict(Counter(cut.kind for cut in cuts)),
            **others,
        )

    @property
    def outcomes(self) -> dict[str, int]:
        """How many of the distinct disks came to what."""
        found = Counter(one.verdict.outcome for one in self.judged)
        return {outcome.value: found[outcome] for outcome in Outcome}

    @property
    def failed(self) -> list[Judged]:
        """The disks of which something is wrong."""
        return [one for one in self.judged if one.verdict.violations]

    @property
    def is_right(self) -> bool:
        """Whether nothing at all was found."""
        return (
            self.same_end
            and not self.order.violations
            and not self.failed
            and all(one.is_right for one in self.booted)
        )

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "schema": SCHEMA,
            "is_right": self.is_right,
            "seed": self.seed,
            "log": {"entries": self.entries, "writes": self.writes, "flushes": self.flushes},
            "writes_by_area": self.writes_by_area,
            "same_end": self.same_end,
            "order": {
                "records": len(self.order.steps),
                "read_back": [
                    {
                        "sequence": one.record.sequence,
                        "phase": one.record.phase,
                        "area": AREAS[one.record.boot_area],
                        "proof": one.proof,
                        "read": one.read,
                    }
                    for one in self.order.read_backs
                ],
                "violations": self.order.violations,
            },
            "rebuilt": self.rebuilt,
            "distinct": len(self.judged),
            "outcomes": self.outcomes,
            "violations": [
                {"cut": one.cut.label, "violations": one.verdict.violations} for one in self.failed
            ],
            "booted": [{**asdict(one), "is_right": one.is_right} for one in self.booted],
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }

    def table(self) -> str:
        """The same for a person."""
        rebuilt = ", ".join(f"{kind} {count:,}" for kind, count in self.rebuilt.items())
        outcomes = ", ".join(f"{name} {count:,}" for name, count in self.outcomes.items())
        writes = ", ".join(f"{area} {count}" for area, count in self.writes_by_area.items())
        rows = [
            ("log", f"{self.entries:,} entries: {self.writes:,} writes, {self.flushes:,} flushes"),
            ("writes to areas", writes),
            ("replayed to its end", "the machine's own disk" if self.same_end else "ANOTHER DISK"),
            ("copies of records", f"{len(self.order.steps):,}"),
        ]
        for one in self.order.read_backs:
            area, read = AREAS[one.record.boot_area], f"{one.read:,} of {one.proof:,} bytes"
            text = f"{one.record.phase}: names {area}, of which {read} were read before"
            rows.append((f"record {one.record.sequence}", text))
        rows += [
            ("violations of the order", str(len(self.order.violations))),
            ("rebuilt disks", f"{sum(self.rebuilt.values()):,}: {rebuilt}"),
            ("distinct", f"{len(self.judged):,}"),
            ("outcomes", outcomes),
            ("booted in QEMU", f"{len(self.booted)}, {sum(x.is_right for x in self.booted)} right"),
            ("seconds", ", ".join(f"{name} {value:.0f}" for name, value in self.seconds.items())),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {text}" for name, text in rows]
        lines += [f"ORDER   {one}" for one in self.order.violations]
        for judged in self.failed:
            lines.append(f"FAILED  {judged.cut.label}: {'; '.join(judged.verdict.violations)}")
        for boot in self.booted:
            if not boot.is_right:
                found = f"wanted {boot.wanted}, found {boot.found} {boot.fault}"
                lines.append(f"BOOT    {boot.label}: {found}")
        return "\n".join(lines)
