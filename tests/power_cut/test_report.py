"""The page: nothing of the results is left out, added, or taken for markup."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.power_cut import report
from tests.power_cut.cuts import KINDS
from tests.power_cut.oracle import CLAUSES
from tests.power_cut.picture import GUTTER, CutMark, Picture, lanes, picture_of
from tests.power_cut.proof import SAMPLE, put_together, walk
from tests.power_cut.results import (
    OUTCOMES,
    FirstCutOutcome,
    Moment,
    MutantOutcome,
    Origin,
    ProofResult,
    ScenarioResult,
    Violation,
    to_json,
)
from tests.power_cut.scenarios import BY_NAME

MARKUP = "<script>alert('1')</script> & \"more\""
SVG = re.compile(r'<svg class="run".*?</svg>', re.DOTALL)

TIMELINE = (
    Moment(0, "boot", "boot", "primary", 0, 0),
    Moment(0, "write", "copy", "backup", 0, 4096),
    Moment(1, "write", "copy", "backup", 8192, 4096),
    Moment(2, "flush", "copy", "", 0, 0),
    Moment(3, "record", "verify", "status", 0, 512, "2 COPY"),
    Moment(4, "flush", "verify", "", 0, 0),
    Moment(5, "record", "verify", "status", 1 << 21, 512, "2 COPY"),
    Moment(6, "flush", "verify", "", 0, 0),
    Moment(7, "boot", "boot", "backup", 0, 0),
    Moment(7, "boot", "boot", "backup", 0, 0),
)
FIRST_CUTS = (
    FirstCutOutcome(0, "prefix", "went_on", "tale/0:prefix@0"),
    FirstCutOutcome(2, "subset", "went_on", "tale/0:subset@2+01"),
    FirstCutOutcome(2, "subset", "fell_back", "tale/0:subset@2+10"),
    FirstCutOutcome(2, "subset", "bricked", "tale/0:subset@2+11"),
    *(FirstCutOutcome(3, "torn_record", "went_on", f"tale/0:t@3+{at}") for at in range(120)),
    FirstCutOutcome(7, "nothing", "went_on", "tale/0:nothing@7"),
)
SCENARIO = ScenarioResult(
    name="tale",
    about="a short one",
    sector_size=512,
    writes=4,
    flushes=3,
    copying=(),
    cuts={kind: 1000 + number for number, kind in enumerate(KINDS)},
    distinct_disks=1234,
    depths={1: 1000, 2: 234},
    outcomes={"went_on": 1200, "fell_back": 34, "bricked": 0},
    violations=(),
    violations_in_all=0,
    shortfalls=(),
    steps=1,
    wall_s=2.0,
    cpu_s=2.0,
    timeline=TIMELINE,
    first_cuts=FIRST_CUTS,
)
RESULT = ProofResult(
    (SCENARIO,),
    jobs=2,
    seed=0,
    is_sample=False,
    wall_s=62.0,
    origin=Origin("2026-01-31T12:30:00+00:00", "abc123", "python -m tests.power_cut --jobs 2"),
)
LOST = Violation("update_goes_on", "tale", "tale/0:prefix@0", "prefix", "lost in COPY")
CAUGHT = MutantOutcome("no-flush", "no flush before the record", "same_end", "subset", 77, "tale")


def document(result: ProofResult = RESULT) -> dict[str, Any]:
    """The results as they come back from their file."""
    read: dict[str, Any] = json.loads(json.dumps(to_json(result)))
    return read


def page_of(scenario: ScenarioResult = SCENARIO, **changes: Any) -> str:
    return report.page(document(replace(RESULT, scenarios=(scenario,), **changes)))


def texts(markup: str, tag: str) -> list[str]:
    """What a reader sees in every element of one name."""
    return [found for name, found in _Reader.of(markup) if name == tag]


class _Reader(HTMLParser):
    """Collects the text of each element, its children's too."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, list[str]]] = []
        self.found: list[tuple[str, str]] = []

    @classmethod
    def of(cls, markup: str) -> list[tuple[str, str]]:
        reader = cls()
        reader.feed(markup)
        return reader.found

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        if tag != "meta":
            self.open.append((tag, []))

    def handle_data(self, data: str) -> None:
        for _, text in self.open:
            text.append(data)

    def handle_endtag(self, tag: str) -> None:
        name, text = self.open.pop()
        assert name == tag
        self.found.append((name, " ".join("".join(text).split())))
        self.handle_data(" ")


# --- the picture --------------------------------------------------------------------------------


def drawn() -> Picture:
    return picture_of(TIMELINE, FIRST_CUTS)


def test_every_write_has_a_mark_in_the_row_of_its_area_and_every_flush_a_line() -> None:
    picture = drawn()
    row_of = {row.name: row for row in picture.areas}
    written = [one for one in TIMELINE if one.kind in ("write", "record")]
    assert len(picture.writes) == len(written)
    assert len(picture.flushes) == sum(one.kind == "flush" for one in TIMELINE)
    for mark, moment in zip(picture.writes, written, strict=True):
        row = row_of[moment.area]
        assert row.y < mark.y < row.y + row.height
        assert mark.is_record is (moment.kind == "record")


def test_a_write_further_into_its_area_is_drawn_lower_in_the_row() -> None:
    first, second, *_ = drawn().writes
    assert first.y < second.y
    assert first.x < second.x


def test_marks_of_cuts_count_every_first_cut_once() -> None:
    wanted = Counter(one.outcome for one in FIRST_CUTS)
    counted: Counter[str] = Counter()
    for mark in drawn().cuts:
        counted[mark.outcome] += mark.count
    assert counted == wanted
    assert len(drawn().cuts) == len({(one.t, one.kind, one.outcome) for one in FIRST_CUTS})


def test_cuts_on_the_same_spot_share_a_larger_mark_that_says_how_many() -> None:
    (mark,) = [one for one in drawn().cuts if one.count > 1]
    assert mark.count == 120
    assert "120 cuts, the first: tale/0:t@3+0" in mark.title
    assert mark.scale > CutMark(0, 0, "went_on", 99, "").scale > 1


def test_different_outcomes_of_the_same_spot_stand_apart() -> None:
    at_once = [one for one in drawn().cuts if "subset" in one.title]
    assert {one.outcome for one in at_once} == set(OUTCOMES)
    assert len({one.x for one in at_once}) == 1
    assert all(upper.y + 8 < lower.y for upper, lower in pairwise(at_once))


def test_a_cut_in_an_operation_is_drawn_in_its_column_and_others_before_it() -> None:
    by_kind = {one.title.split(": ")[1].split(" cut")[0]: one for one in drawn().cuts}
    column = picture_of(TIMELINE, ()).writes[2]
    assert column.x < by_kind["torn record"].x < column.x + column.width
    assert by_kind["prefix"].x == GUTTER
    assert by_kind["nothing"].title.startswith("went on: nothing cut before the end of the run")


def test_both_copies_of_a_record_share_a_label_with_code_and_phase() -> None:
    (label,) = drawn().records
    assert label.text == "2 COPY"
    assert label.foot == drawn().areas[0].y


def test_phases_are_bands_one_behind_the_other() -> None:
    copying, checking = drawn().bands
    assert (copying.name, checking.name) == ("copy", "verify")
    assert copying.x + copying.width == checking.x
    assert copying.width == pytest.approx(checking.width * 3 / 4, abs=0.2)


def test_starts_that_follow_each_other_share_a_mark_in_the_row_of_their_area() -> None:
    picture = drawn()
    first, last = picture.hand_overs
    row_of = {row.name: row for row in picture.areas}
    assert first.y == row_of["primary"].middle
    assert last.y == row_of["backup"].middle
    assert last.title.endswith("2 times without a write between")


def test_a_run_without_a_write_is_drawn_all_the_same() -> None:
    picture = picture_of(TIMELINE[:1], ())
    assert not picture.bands
    assert not picture.records
    assert picture.width > GUTTER


def test_a_long_run_makes_a_wide_picture_whose_columns_can_be_told_apart() -> None:
    long = tuple(Moment(t, "write", "copy", "backup", t, 1) for t in range(1000))
    picture = picture_of(long, ())
    assert all(second.x - first.x > 8 for first, second in pairwise(picture.writes))
    assert picture.writes[-1].x < picture.width


SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=30)


@given(SPANS)
def test_no_two_texts_of_a_lane_touch(begins_and_widths: list[tuple[int, int]]) -> None:
    spans = [(float(begin), float(begin + width)) for begin, width in sorted(begins_and_widths)]
    chosen = lanes(spans)
    for lane in set(chosen):
        own = [span for span, its in zip(spans, chosen, strict=True) if its == lane]
        assert all(first[1] <= second[0] for first, second in pairwise(own))


# --- the page -----------------------------------------------------------------------------------


def test_the_pictures_on_the_page_are_well_formed_and_hold_what_the_data_hold() -> None:
    (svg,) = [ET.fromstring(one) for one in SVG.findall(page_of())]  # noqa: S314 - our own
    classes = Counter(str(one.get("class")) for one in svg.iter())
    shapes = Counter(str(one.get("href")) for one in svg.iter("use"))
    assert classes["write"] + classes["record"] == SCENARIO.writes
    assert classes["record"] == 2
    assert classes["flush"] == SCENARIO.flushes
    assert classes["band"] + classes["band odd"] == 2
    assert shapes == {"#went_on": 4, "#fell_back": 1, "#bricked": 1, "#hand-over": 2}
    marks = [one for name in ("use", "rect") for one in svg.iter(name)]
    titled = [one for one in marks if "band" not in str(one.get("class"))]
    assert all(one.findtext("title") for one in titled)


def test_the_numbers_on_top_are_those_of_the_results() -> None:
    figures = {one.name: one.value for one in report.figures(document())}
    assert figures == {
        "distinct disk states": "1,234",
        "bricked": "0",
        "wrong image": "0",
        "lost updates": "0",
        "seeded mistakes caught": "none tried",
        "run time": "1:02",
        "states per second": "20",
    }
    shown = texts(page_of(), "dd")
    assert set(figures.values()) <= set(shown)
    assert "31 January 2026, 12:30 UTC" in shown
    assert "abc123" in shown
    assert "python -m tests.power_cut --jobs 2" in shown


def test_the_table_has_a_line_for_each_scenario_and_one_for_all() -> None:
    other = replace(SCENARIO, name="other", writes=6)
    found = texts(report.page(document(replace(RESULT, scenarios=(SCENARIO, other)))), "tr")
    assert "tale 4 3 1,000 1,001 1,002 1,003 1,004 1,234 1,200 34 0 2.0" in found
    assert "all 10 6 2,000 2,002 2,004 2,006 2,008 2,468 2,400 68 0 4.0" in found


def test_a_run_that_holds_shows_no_alarm() -> None:
    page = page_of(mutants=(CAUGHT,))
    assert "Every promise was kept." in texts(page, "p")
    assert 'class="alarm' not in page
    assert "1 of 1" in texts(page, "dd")


def test_violations_come_before_the_table_with_the_line_that_repeats_each() -> None:
    page = page_of(replace(SCENARIO, violations=(LOST,), violations_in_all=1), seed=7)
    assert page.index('class="alarms"') < page.index("<table>")
    assert "1 broken promises" in texts(page, "h2")
    assert "python -m tests.power_cut --repeat tale/0:prefix@0 --seed 7" in texts(page, "code")
    assert any("lost in COPY" in one for one in texts(page, "li"))
    assert not any("Every promise" in one for one in texts(page, "p"))


def test_of_many_violations_the_first_are_shown_and_the_others_counted() -> None:
    page = page_of(replace(SCENARIO, violations=(LOST,) * 100, violations_in_all=150))
    assert page.count('class="violation"') == report.SHOWN_VIOLATIONS
    assert any(one.startswith("and 130 more") for one in texts(page, "li"))


def test_where_violations_were_left_out_their_number_is_a_least_one() -> None:
    cut_off = replace(SCENARIO, violations=(LOST,) * 3, violations_in_all=9)
    figures = {
        one.name: one for one in report.figures(document(replace(RESULT, scenarios=(cut_off,))))
    }
    assert figures["lost updates"].value == "≥ 3"
    assert figures["wrong image"].value == "≥ 0"
    assert figures["wrong image"].is_alarm


def test_a_run_that_tried_too_little_does_not_hold_and_says_why() -> None:
    page = page_of(replace(SCENARIO, shortfalls=("no cut of kind torn",)))
    assert any("no cut of kind torn" in one for one in texts(page, "li"))
    assert any(one.startswith("Not proved") for one in texts(page, "p"))


def test_a_mistake_that_was_not_caught_is_an_alarm() -> None:
    lived = replace(CAUGHT, clause="", kind="", mistake="the floor sinks")
    page = page_of(mutants=(CAUGHT, lived))
    assert "1 of 2" in texts(page, "dd")
    assert "no flush before the record same end subset 77" in texts(page, "tr")
    assert any(one.startswith("the floor sinks not caught") for one in texts(page, "tr"))
    assert any(one.startswith("Not proved") for one in texts(page, "p"))


def test_each_clause_that_caught_something_is_explained_on_the_page() -> None:
    page = page_of(mutants=tuple(replace(CAUGHT, clause=name) for name in CLAUSES))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))


def test_text_of_the_results_is_never_taken_for_markup() -> None:
    page = page_of(
        replace(
            SCENARIO,
            name=MARKUP,
            about=MARKUP,
            violations=(Violation("crashes", MARKUP, MARKUP, "torn", MARKUP),),
            violations_in_all=1,
            shortfalls=(MARKUP,),
            first_cuts=(FirstCutOutcome(0, "torn", "went_on", MARKUP),),
            timeline=(replace(TIMELINE[1], phase=MARKUP), replace(TIMELINE[4], says=MARKUP)),
        ),
        mutants=(replace(CAUGHT, mistake=MARKUP),),
        origin=Origin("", MARKUP, MARKUP),
    )
    assert "<script" not in page
    assert '"more"' not in page
    for tag in ("td", "li", "h3", "p", "dd", "text", "title"):
        assert any(MARKUP in one for one in texts(page, tag)), tag


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = page_of()
    assert all(href.startswith("#") for href in re.findall(r'href="([^"]*)"', page))
    for asked in ("http:", "https:", "src=", "<script", "<link", "@import", "url("):
        assert asked not in page


def test_a_page_of_many_long_runs_stays_below_two_megabytes() -> None:
    timeline = tuple(
        Moment(t, "write", f"phase {t // 8}", "backup", t * 4096, 32768) for t in range(110)
    )
    cuts = tuple(
        FirstCutOutcome(t, kind, "went_on", f"scenario/1:{kind}@{t}+{number}")
        for t in range(111)
        for kind in KINDS[:3]
        for number in range(20)
    )
    scenario = replace(SCENARIO, timeline=timeline, first_cuts=cuts)
    many = tuple(replace(scenario, name=f"scenario-{number}") for number in range(15))
    page = report.page(document(replace(RESULT, scenarios=many)))
    assert len(page.encode()) < 2_000_000, len(page.encode())


def test_without_a_kept_command_the_settings_of_the_run_give_one() -> None:
    results = document(replace(RESULT, origin=Origin(), is_sample=True, seed=5))
    assert report.command(results) == "python -m tests.power_cut --sample --jobs 2 --seed 5"
    assert "date not recorded" in report.page(results)


def test_results_of_another_schema_are_refused() -> None:
    with pytest.raises(ValueError, match="schema 99"):
        report.page(document() | {"schema": 99})


def test_the_command_makes_the_page_of_a_real_walk_from_its_file(tmp_path: Path) -> None:
    name = "repair-stale-copy"
    found = put_together(BY_NAME[name], [walk(name, SAMPLE)])
    results, made = tmp_path / "power-cut.json", tmp_path / "power-cut.html"
    results.write_text(json.dumps(to_json(replace(RESULT, scenarios=(found,)))), encoding="utf-8")
    assert report.main([str(results), str(made)]) == 0
    page = made.read_text(encoding="utf-8")
    assert page == report.page(json.loads(results.read_text(encoding="utf-8")))
    assert any("record 1 IDLE written to status" in one for one in texts(page, "title"))
