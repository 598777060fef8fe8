"""The proof as one page for people: ``python -m tests.power_cut.report RESULTS.json PAGE.html``.

The page is made from the JSON of ``results.to_json`` alone. It needs no network and no script, and
works from a file. What is drawn where is said by ``picture``, how it looks by ``report.html.j2``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from bootsvc.cli.output import duration, show
from tests.power_cut import oracle
from tests.power_cut.cuts import KINDS
from tests.power_cut.picture import GUTTER, MARGIN, Picture, in_words, picture_of
from tests.power_cut.results import OUTCOMES, SCHEMA, FirstCutOutcome, Moment

TEMPLATE = Path(__file__).with_name("report.html.j2")
COMMAND = "python -m tests.power_cut"
SHOWN_VIOLATIONS = 20
"""Of one scenario; the others are in the JSON."""

WRONG_IMAGE = (
    "boots_whole_image",
    "unproven_only_on_trial",
    "failed_does_not_run",
    "does_not_return",
)
"""Clauses whose violation means that an image ran that should not have run."""

LOST_UPDATE = ("update_goes_on",)

KINDS_IN_WORDS = {
    "prefix": "before an operation: all that was written before it has arrived",
    "nothing": "before an operation: of what was written since the last flush, nothing has arrived",
    "subset": "before an operation: of what was written since the last flush, some writes have"
    " arrived, in any mixture",
    "torn": "in the middle of a write: its first sectors have arrived, the others have not",
    "torn_record": "in the middle of the boot-status record's sector: old and new bytes mixed,"
    " or garbage",
}
OUTCOMES_IN_WORDS = {
    "went_on": "the machine ends as it does without a cut",
    "fell_back": "it ends in a documented fall-back, with an image that is known to be good",
    "bricked": "neither: the promise is broken",
}

Document = Mapping[str, Any]
"""What ``results.to_json`` gives, or what was read back from its file."""


@dataclass(frozen=True)
class Figure:
    """A big number of the first line, and what it counts."""

    value: str
    name: str
    is_alarm: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the page anew from a file of results."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.power_cut.report", description="Makes the page from the results."
    )
    parser.add_argument("results", type=Path, help="JSON that python -m tests.power_cut wrote")
    parser.add_argument("page", type=Path, help="HTML file to write")
    args = parser.parse_args(arguments)
    write_html(json.loads(args.results.read_text(encoding="utf-8")), args.page)
    show(f"written: {args.page}")
    return 0


def write_html(results: Document, path: Path) -> None:
    """Write the page to ``path``.

    Raises:
        ValueError: the results have another schema.
    """
    path.write_text(page(results), encoding="utf-8")


def page(results: Document) -> str:
    """The page as HTML.

    Raises:
        ValueError: the results have another schema.
    """
    if results["schema"] != SCHEMA:
        raise ValueError(f"results of schema {results['schema']}, not {SCHEMA}: make them anew")
    return template().render(
        results=results,
        figures=tuple(figures(results)),
        date=date_text(results["origin"]["begun"]),
        command=command(results),
        repeat_line=lambda label: repeat_line(label, results["seed"]),
        holds=holds(results),
        pictures={one["name"]: picture(one) for one in results["scenarios"]},
        sums=sums(results),
        clauses=clauses(),
        kinds=KINDS,
        kinds_in_words=KINDS_IN_WORDS,
        outcomes=OUTCOMES,
        outcomes_in_words=OUTCOMES_IN_WORDS,
        shown_violations=SHOWN_VIOLATIONS,
        gutter=GUTTER,
        margin=MARGIN,
    )


@cache
def template() -> Template:
    """The page without its data; a name that the data lack is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "words": in_words, "px": px}
    return environment.get_template(TEMPLATE.name)


# --- numbers ------------------------------------------------------------------------------------


def figures(results: Document) -> Iterator[Figure]:
    """The first line, in its order."""
    totals = results["totals"]
    yield Figure(count(totals["distinct_disks"]), "distinct disk states")
    yield Figure(count(totals["bricked"]), "bricked", is_alarm=totals["bricked"] > 0)
    for names, what in ((WRONG_IMAGE, "wrong image"), (LOST_UPDATE, "lost updates")):
        value, is_alarm = broken(results, names)
        yield Figure(value, what, is_alarm)
    mutants = results["mutants"]
    caught = sum(bool(one["clause"]) for one in mutants)
    value = f"{caught} of {len(mutants)}" if mutants else "none tried"
    yield Figure(value, "seeded mistakes caught", is_alarm=caught < len(mutants))
    yield Figure(duration(results["wall_s"]), "run time")
    yield Figure(count(round(totals["states_per_s"])), "states per second")


def broken(results: Document, clauses: Sequence[str]) -> tuple[str, bool]:
    """How many violations of ``clauses``, as text, and whether there may be any.

    The results keep the first violations of each scenario only; where some were left out, the
    number is a least one.
    """
    scenarios = results["scenarios"]
    kept = Counter(one["clause"] for scenario in scenarios for one in scenario["violations"])
    number = sum(kept[clause] for clause in clauses)
    is_least = kept.total() < results["totals"]["violations"]
    return f"{'≥ ' if is_least else ''}{count(number)}", is_least or number > 0


def holds(results: Document) -> bool:
    """Whether every promise was kept, enough was tried, and every seeded mistake was caught."""
    return (
        not results["totals"]["violations"]
        and not any(one["shortfalls"] for one in results["scenarios"])
        and all(one["clause"] for one in results["mutants"])
    )


def sums(results: Document) -> dict[str, int]:
    """The last line of the scenarios' table, by column."""
    scenarios = results["scenarios"]
    columns = {
        name: sum(one[name] for one in scenarios)
        for name in ("writes", "flushes", "distinct_disks", "wall_s")
    }
    columns |= {kind: sum(one["cuts"][kind] for one in scenarios) for kind in KINDS}
    return columns | {name: sum(one["outcomes"][name] for one in scenarios) for name in OUTCOMES}


def picture(scenario: Document) -> Picture:
    """The picture of one scenario."""
    return picture_of(
        [Moment(**one) for one in scenario["timeline"]],
        [FirstCutOutcome(**one) for one in scenario["first_cuts"]],
    )


# --- words --------------------------------------------------------------------------------------


def command(results: Document) -> str:
    """The line that repeats the run; where none was kept, the one that its settings give."""
    kept = results["origin"]["command"]
    if kept:
        return str(kept)
    sample = " --sample" if results["is_sample"] else ""
    return f"{COMMAND}{sample} --jobs {results['jobs']} --seed {results['seed']}"


def repeat_line(label: str, seed: int) -> str:
    """The line that makes one state again and shows it."""
    chosen = f" --seed {seed}" if seed else ""
    return f"{COMMAND} --repeat {shlex.quote(label)}{chosen}"


def date_text(begun: str) -> str:
    """``2026-01-31T12:30:00+00:00`` as ``31 January 2026, 12:30 UTC``."""
    if not begun:
        return "date not recorded"
    moment = datetime.fromisoformat(begun)
    zone = moment.tzname() or ""
    return f"{moment.day} {moment:%B %Y, %H:%M} {zone}".strip()


def clauses() -> dict[str, str]:
    """What the judge asks of each disk: name of the clause -> one sentence."""
    return {name: " ".join(getattr(oracle, name).__doc__.split()) for name in oracle.CLAUSES}


def count(number: int) -> str:
    """``1,234,567``."""
    return f"{number:,}"


def px(number: float) -> str:
    """A length without needless digits: ``12`` or ``12.5``."""
    return f"{number:.1f}".removesuffix(".0")


if __name__ == "__main__":
    sys.exit(main())
