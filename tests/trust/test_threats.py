"""The threat model names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
TEXT = (TREE / "bootsvc/trust/THREATS.md").read_text()
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and "| cannot |" not in line]
NAMED = sorted(set(re.findall(r"`([\w/.-]+)::(\w+)`", TEXT)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_what_shows_that_a_promise_holds_exists(file: str, name: str) -> None:
    assert f"def {name}(" in (TREE / file).read_text()


def test_every_promise_names_what_shows_it() -> None:
    assert len(ROWS) > 10
    assert all("::" in row.split("|")[3] for row in ROWS)
