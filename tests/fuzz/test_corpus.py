"""Every input in the tree through every target: documented errors, in time, within memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootsvc.errors import BootsvcError
from tests.fuzz import corpus
from tests.fuzz.__main__ import main
from tests.fuzz.target import HangError, MemoryBoundError, Target
from tests.fuzz.targets import TARGETS


@pytest.fixture(scope="module")
def stored() -> list[bytes]:
    return [path.read_bytes() for path in corpus.files()]


@pytest.mark.parametrize("name", TARGETS)
def test_no_stored_input_makes_a_parser_raise_hang_or_swell(name: str, stored: list[bytes]) -> None:
    for data in stored:
        TARGETS[name].try_within_bounds(data)


@pytest.mark.parametrize("name", TARGETS)
def test_a_sound_input_is_accepted_and_its_first_half_breaks_nothing(name: str) -> None:
    target = TARGETS[name]
    outcomes = {target.try_within_bounds(data) for data in target.seeds()}
    assert "" in outcomes
    for data in target.seeds():
        target.try_within_bounds(data[: len(data) // 2])


def test_every_folder_belongs_to_a_target_and_the_corpus_stays_small() -> None:
    files = corpus.files()
    assert {path.parent.name for path in files} <= {one.corpus for one in TARGETS.values()}
    assert len(files) <= corpus.MOST_FILES
    assert sum(path.stat().st_size for path in files) <= corpus.MOST_BYTES


def target_that(run: object, **changes: object) -> Target:
    values = {"memory": 1 << 20, "allowed": (BootsvcError,), "seeds": tuple, "corpus": "x"}
    return Target(name="x", run=run, **{**values, **changes})  # type: ignore[arg-type]


def test_an_error_that_is_not_documented_is_a_finding() -> None:
    def run(data: bytes) -> None:
        raise {b"ours": BootsvcError, b"another": KeyError}[data]("x")

    assert target_that(run).try_within_bounds(b"ours") == "BootsvcError"
    with pytest.raises(KeyError):
        target_that(run).try_within_bounds(b"another")


def test_an_endless_parser_is_a_finding() -> None:
    def run(_data: bytes) -> None:
        while True:
            pass

    with pytest.raises(HangError):
        target_that(run, seconds=0.05).try_within_bounds(b"")


def test_a_parser_that_takes_more_memory_than_stated_is_a_finding() -> None:
    def run(data: bytes) -> None:
        assert len(bytes(len(data) << 20)) == len(data) << 20

    assert not target_that(run, memory=3 << 20).try_within_bounds(b"12")
    with pytest.raises(MemoryBoundError, match="at most 3145728"):
        target_that(run, memory=3 << 20).try_within_bounds(b"1234")


def test_only_inputs_that_reach_something_new_are_chosen_for_the_tree() -> None:
    seeds = TARGETS["public-key"].seeds()
    assert corpus.chosen("key", [*seeds, b"g" * 64, b"h" * 64]) == [b"h" * 64]


def test_findings_stay_and_a_better_input_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    (tmp_path / "key").mkdir()
    for name in ("found-long-ago", "worse"):
        (tmp_path / "key" / name).write_bytes(name.encode())
    assert corpus.keep(TARGETS["public-key"], [b"g" * 64]) == 1
    kept = {path.read_bytes() for path in (tmp_path / "key").iterdir()}
    assert kept == {b"found-long-ago", b"g" * 64}


def test_the_bounds_of_every_target_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == list(TARGETS)
    assert "256.0 KiB" in shown[0]
    assert "errors: FormatError" in shown[0]


def test_one_input_can_be_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "input").write_bytes(TARGETS["record"].seeds()[0])
    assert main(["record", "--repeat", str(tmp_path / "input")]) == 0
    assert capsys.readouterr().out == "record: accepted\n"


@pytest.mark.parametrize("words", [["recrod"], ["--repeat", "x"]])
def test_a_target_that_is_not_named_rightly_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert "target" in capsys.readouterr().err
