"""What the benchmark makes of console lines and samples."""

import pytest

from qemu_lab.bench.figures import Figure, table
from qemu_lab.bench.guest import bisect_memory, start_figures, work_figures
from qemu_lab.bench.start import Sample, parse, ratio_figures
from qemu_lab.errors import ExpectationError

START = [
    "bootsvc: init started (1.90 s)",
    "bootsvc: modules loaded (2.50 s)",
    "bootsvc: seconds since the kernel began: python 2.7, imported 3.4, decided 3.6, loaded 6.1",
]


def test_a_start_is_divided_without_a_gap() -> None:
    total, *parts = start_figures("s", START)
    assert total.value == pytest.approx(6.1)
    assert sum(part.value or 0 for part in parts) == pytest.approx(6.1)
    named = {part.name.strip(): part.value for part in parts}
    assert named["Python start"] == pytest.approx(0.2)
    assert named["imports"] == pytest.approx(0.7)


def test_a_start_by_switch_root_ends_with_it() -> None:
    line = "bootsvc: switch_root to primary (/dev/vda4), /sbin/init (6.40 s)"
    total, *parts = start_figures("s", [*START, line])
    assert total.value == pytest.approx(6.4)
    assert parts[-1].value == pytest.approx(0.3)


def test_a_start_without_its_times_is_an_error_and_not_a_figure() -> None:
    with pytest.raises(ExpectationError):
        start_figures("s", START[:2])


def test_each_piece_of_work_is_a_figure_with_its_amounts() -> None:
    lines = [
        "bootsvc: copy 1.0 / 2.0 MiB  50%  1.0 MiB/s  1 s left",
        "bootsvc: verify primary done in 1.5 s: read 30.4, written 0.0, skipped 0.0 MiB",
        "bootsvc: copy done in 2.0 s: read 36.7, written 6.3, skipped 24.4 MiB",
    ]
    verify, copy = work_figures("u", lines)
    assert (verify.name, verify.value) == ("verify primary", 1.5)
    assert copy.note == "read 36.7, written 6.3, skipped 24.4 MiB"


@pytest.mark.parametrize(
    ("least", "goal_is_met"),
    [
        *((least, True) for least in (96, 104, 112, 120, 128)),
        *((least, False) for least in (96, 104, 112, 120, 128, 136, 152, 160)),
    ],
)
def test_the_least_memory_is_found(least: int, goal_is_met: bool) -> None:
    tried: list[int] = []

    def starts(mib: int) -> bool:
        tried.append(mib)
        return mib >= least

    assert bisect_memory(starts, goal_is_met=goal_is_met) == least
    assert len(tried) <= 5


def test_where_nothing_starts_no_memory_is_named() -> None:
    assert bisect_memory(lambda _: False, goal_is_met=False) is None


def test_ratios_are_made_of_the_least_times() -> None:
    samples = parse(
        [
            "bench: bare cpu 0.010 wall 0.020",
            "bench: bare cpu 0.008 wall 0.030",
            "bench: imports cpu 0.020 wall 0.040",
            "noise",
            "bench: decision cpu 0.024 wall 0.060",
        ]
    )
    assert samples[0] == Sample("bare", 0.010, 0.020)
    assert ratio_figures("s", samples, "cpu")[-1].value == pytest.approx(3.0)
    assert ratio_figures("s", samples, "wall")[-1].value == pytest.approx(3.0)


def test_the_table_says_whether_a_goal_is_met_or_was_not_measured() -> None:
    text = table(
        [
            Figure("Sizes", "small", 5, "bytes", goal=6),
            Figure("Sizes", "large", 7, "bytes", goal=6),
            Figure("Memory", "least", None, "MiB of memory", 128, "it did not start"),
        ]
    )
    small, large, least = (line for line in text.splitlines() if "goal" in line)
    assert small.endswith("met")
    assert large.endswith("MISSED")
    assert "not measured; it did not start" in least
