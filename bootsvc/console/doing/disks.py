"""Disks: read through, their partition table given back, one of several chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from bootsvc.boot.disk_choice import choose, describe_disk, found_disks
from bootsvc.boot.disk_scan import describe_ranges, scan
from bootsvc.console.actions import LOOK, Outcome, Then
from bootsvc.errors import SequenceError
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.gpt_repair import repair_first_table
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.console.perform import Session

_MOST_RANGES = 50


def scan_disk(session: Session, _: Mapping[str, str]) -> Outcome:
    """Read every sector of the disk; nothing is written."""
    disk, reporter = session.used_runner.disk, session.reporter
    with session.breakable():
        reporter.begin(f"read {disk.device.name}", disk.device.size)
        unreadable = scan(disk.device, reporter.tick)
    size = describe_size(disk.device.size)
    facts = (
        ("size", disk.device.size),
        ("unreadable", [[one.start, one.stop] for one in unreadable]),
    )
    if not unreadable:
        line = f"{disk.device.name}: every sector of its {size} can be read."
        return Outcome(is_done=True, lines=(line,), facts=facts)
    bad = describe_size(sum(map(len, unreadable)))
    lines = [f"{disk.device.name}: {bad} of {size} cannot be read. Replace the disk. Bytes:"]
    lines += describe_ranges(unreadable[:_MOST_RANGES], disk.gpt)
    if len(unreadable) > _MOST_RANGES:
        lines.append(f"... and {len(unreadable) - _MOST_RANGES} more ranges")
    return Outcome(is_done=True, lines=tuple(lines), facts=facts)


def repair_gpt(session: Session, _: Mapping[str, str]) -> Outcome:
    """Write the partition table at the disk's beginning again, from the spare at its end."""
    runner = session.used_runner
    table = repair_first_table(runner.disk.device)
    runner.disk = replace(runner.disk, gpt=table)
    line = "The partition table at the disk's beginning was written and read back."
    return Outcome(is_done=True, lines=(line,))


def choose_disk(session: Session, answers: Mapping[str, str]) -> Outcome:
    """List the disks with bootsvc's partitions, or use one of them in this start."""
    answer = answers["disk"]
    if answer == LOOK:
        found = found_disks()
        session.listed["choose-disk"] = tuple(one.node for one in found)
        listed = [f"{number}: {describe_disk(one)}" for number, one in enumerate(found, 1)]
        return Outcome(
            is_done=True,
            lines=tuple(listed) or ("No disk has bootsvc's partitions.",),
            facts=(("disks", [one.node for one in found]),),
        )
    disk = choose(named_or_numbered(session, "choose-disk", answer))
    if session.runner is not None:
        close_disk(session)
    session.runner = session.start_on(disk)
    session.problem = ""
    lines = (f"{disk.device.name} is used in this start; the next one asks again.",)
    return Outcome(is_done=True, lines=lines, then=Then.GO_ON)


def named_or_numbered(session: Session, action: str, answer: str) -> str:
    """What a person means who typed a number of the list that ``action`` showed last."""
    if not answer.isdecimal():
        return answer
    listed = session.listed.get(action, ())
    if not 1 <= int(answer[:4]) <= len(listed):
        raise SequenceError(
            f"there is no number {answer[:4]} in the list", hint=f"type {LOOK} to see what there is"
        )
    return listed[int(answer[:4]) - 1]


def close_disk(session: Session) -> None:
    """Give the disk of this session back: another takes its place."""
    device = session.used_runner.disk.device
    if isinstance(device, DirectDevice):
        device.close()
