"""The table of a build: what takes how much and why it is there; as text or as JSON."""

from __future__ import annotations

import json

from initramfs.build import BuildReport
from initramfs.compress import compressed_size


def group_sizes(report: BuildReport) -> list[tuple[str, int, int]]:
    """(group, entries, bytes), the largest first."""
    totals: dict[str, tuple[int, int]] = {}
    for item in report.items:
        count, size = totals.get(item.group, (0, 0))
        totals[item.group] = (count + 1, size + item.size)
    rows = [(group, count, size) for group, (count, size) in totals.items()]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def as_text(report: BuildReport, measure: bool = False, width: int = 100) -> str:
    """Render the report as lines of at most ``width`` columns.

    ``measure`` compresses every group alone: the shares add up to a little more than the
    whole, which shares its tables between them.
    """
    sizes = f"{report.size:,} bytes ({report.compression}), {report.raw_size:,} unpacked"
    lines = [f"{report.output}: {sizes}"]
    heading = f"{'group':<18}{'entries':>8}{'bytes':>13}"
    lines += ["", heading + (f"{'zstd alone':>13}" if measure else "")]
    for group, count, size in group_sizes(report):
        row = f"{group:<18}{count:>8}{size:>13,}"
        if measure:
            row += f"{compressed_size(report.group_data.get(group, b'')):>13,}"
        lines.append(row)
    lines += ["", f"{'bytes':>10}  {'path':<58} why"]
    for item in sorted(report.items, key=lambda item: (-item.size, item.path)):
        lines.append(f"{item.size:>10,}  {item.path:<58} {item.reason}"[:width].rstrip())
    if report.kernel:
        lines += ["", f"kernel {report.kernel}"]
        lines.append("built into it: " + (", ".join(report.builtin_modules) or "none"))
        lines.append("not in it:     " + (", ".join(report.missing_modules) or "none"))
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines)


def as_json(report: BuildReport, measure: bool = False) -> str:
    """Render the report as JSON with sorted keys."""
    groups: dict[str, dict[str, int]] = {}
    for group, count, size in group_sizes(report):
        groups[group] = {"entries": count, "size": size}
        if measure:
            groups[group]["zstd_alone"] = compressed_size(report.group_data.get(group, b""))
    value = {
        "output": str(report.output),
        "compression": report.compression,
        "size": report.size,
        "raw_size": report.raw_size,
        "groups": groups,
        "items": [
            {"path": item.path, "size": item.size, "group": item.group, "reason": item.reason}
            for item in report.items
        ],
        "kernel": report.kernel,
        "builtin_modules": list(report.builtin_modules),
        "missing_modules": list(report.missing_modules),
        "notes": list(report.notes),
    }
    return json.dumps(value, indent=2, sort_keys=True)
