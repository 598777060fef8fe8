"""Stages as a table."""

from __future__ import annotations

from qemu_lab.stages import Stage, StageSeen
from qemu_lab.timeline import rows, table

SEEN = [
    StageSeen(Stage.FIRMWARE, 0.25),
    StageSeen(Stage.UPDATER_STARTED, 4.0),
    StageSeen(Stage.COPY, 5.5, {"area": "primary"}),
    StageSeen(Stage.HAND_OVER, 25.5, {"area": "primary", "method": "kexec"}),
]


def test_each_stage_lasts_until_the_next() -> None:
    assert [row.took for row in rows(SEEN)] == [3.75, 1.5, 20.0, None]
    assert rows(SEEN, until=30.0)[-1].took == 4.5


def test_earlier_stages_can_be_left_out() -> None:
    assert [row.stage for row in rows(SEEN, since=5.0)] == [Stage.COPY, Stage.HAND_OVER]


def test_the_table_is_plain_text_in_columns() -> None:
    assert table(SEEN) == [
        "stage              at (s)  took (s)  details",
        "firmware              0.2       3.8",
        "updater started       4.0       1.5",
        "copy                  5.5      20.0  area=primary",
        "hand-over            25.5            area=primary method=kexec",
    ]


def test_no_stages_make_an_empty_table() -> None:
    assert len(table([])) == 1
