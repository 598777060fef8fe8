"""Bytes to clean text, text to lines with times."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_lab.transcript import TextCleaner, Transcript

MESSY = b"\x1b[2J\x1b[1;1HSeaBIOS\x00 ready\r\r\nbar  10%\rbar  20%\r\n\xc3\xa9nd\x1b[0m\r\n"
CLEAN = "SeaBIOS ready\nbar  10%\nbar  20%\nénd\n"


def test_escapes_carriage_returns_and_controls_are_cleaned_away() -> None:
    assert TextCleaner().feed(MESSY) == CLEAN


@pytest.mark.parametrize("step", range(1, 12))
def test_the_text_is_the_same_however_the_bytes_are_cut(step: int) -> None:
    cleaner = TextCleaner()
    pieces = [MESSY[i : i + step] for i in range(0, len(MESSY), step)]
    assert "".join(cleaner.feed(piece) for piece in pieces) == CLEAN


def test_a_complete_line_is_handed_on_at_once() -> None:
    assert TextCleaner().feed(b"ready\r\n") == "ready\n"


def test_each_line_has_the_time_of_its_first_character(tmp_path: Path) -> None:
    now = [1.0]
    transcript = Transcript(tmp_path / "t.txt", lambda: now[0], "test")
    assert transcript.feed("one\ntw") != []
    now[0] = 2.0
    (line,) = transcript.feed("o\nlogin: ")
    assert (line.seconds, line.text, line.end) == (1.0, "two", 8)
    transcript.note("power cut")
    assert transcript.tail(2) == ["[    1.000] two", "[    2.000] login: "]
    transcript.close()
    assert (tmp_path / "t.txt").read_text().splitlines() == [
        "# test; seconds since the first power-on",
        "[    1.000] one",
        "[    1.000] two",
        "[    2.000] === power cut",
        "[    2.000] login: ",
    ]


def test_every_line_is_in_the_file_before_the_transcript_is_closed(tmp_path: Path) -> None:
    transcript = Transcript(tmp_path / "t.txt", lambda: 0.0, "test")
    transcript.feed("kept\n")
    assert "kept" in (tmp_path / "t.txt").read_text()
    transcript.close()


def test_a_line_is_found_by_its_place_in_the_stream(tmp_path: Path) -> None:
    transcript = Transcript(tmp_path / "t.txt", lambda: 0.0, "test")
    transcript.feed("one\ntwo\nthr")
    found = [transcript.line_at(offset)[12:] for offset in (0, 3, 4, 8)]
    assert found == ["one", "one", "two", "thr"]
    transcript.close()
