"""The command line's documentation names every command, argument, exit code and JSON field."""

import argparse
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import bootsvc.cli
from bootsvc import errors
from bootsvc.cli import build_parser
from bootsvc.cli.exit_codes import WORDS, ExitCode, exit_code_of, table
from bootsvc.cli.status_report import document, gather
from bootsvc.errors import BootsvcError
from bootsvc.formats.boot_status import Area, Failure, Phase, Reason
from bootsvc.os_side.machine import open_machine
from bootsvc.os_side.restore_points import RestorePoint
from bootsvc.os_side.started import ThisStart
from bootsvc.sequence.requests import Started
from tests.bench import V2, V3, Bench
from tests.images import KEY

README = Path(bootsvc.cli.__file__).with_name("README.md").read_text()
SECTIONS = {
    part[1:].partition("`")[0]: part
    for part in re.split(r"^##+ ", README, flags=re.MULTILINE)
    if part.startswith("`")
}


def leaves(
    parser: argparse.ArgumentParser, name: str = "bootsvc"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command without commands below it."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, below in group.choices.items():
            yield from leaves(below, f"{name} {word}")


COMMANDS = dict(leaves(build_parser()))


def test_documented_commands_are_those_that_exist() -> None:
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_is_documented_with_the_words_of_its_help(name: str) -> None:
    rows = [line for line in SECTIONS[name].splitlines() if line.startswith("| `")]
    actions = [one for one in COMMANDS[name]._actions if one.dest != "help"]
    for action, row in zip(actions, rows, strict=True):
        names = action.option_strings or [str(action.metavar)]
        assert all(f"`{one}`" in row for one in names)
        assert action.help
        assert row.endswith(f"| {action.help} |")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    text = COMMANDS[name].format_help()
    assert COMMANDS[name].description
    assert "usage: bootsvc" in text


@pytest.mark.parametrize("code", ExitCode)
def test_exit_code_is_documented(code: ExitCode) -> None:
    row = f"| {code:d} | `{code.name}` | {WORDS[code]} |"
    assert row in README
    assert f"{code:>3d}  {WORDS[code]}" in build_parser().format_help()


def test_no_exit_code_is_documented_that_does_not_exist() -> None:
    rows = re.findall(r"^\| \d+ \| `(\w+)`", README, flags=re.MULTILINE)
    assert rows == [code.name for code in ExitCode]
    assert len(table().splitlines()) == len(ExitCode)


ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BootsvcError) and kind is not BootsvcError
]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_an_exit_code_and_a_line_in_its_tree(kind: type[BootsvcError]) -> None:
    error = kind.__new__(kind)
    assert exit_code_of(error) not in (ExitCode.OK, ExitCode.USAGE, ExitCode.FAILED)
    assert f"-- {kind.__name__}" in (errors.__doc__ or "")


def paths(value: object, at: str = "") -> Iterator[str]:
    """Every field of a JSON document, areas as ``*`` and list items as ``[]``."""
    if isinstance(value, dict):
        for key, below in value.items():
            name = "*" if at == "areas" else key
            path = f"{at}.{name}" if at else key
            if name != "*":
                yield path
            yield from paths(below, path)
    elif isinstance(value, list):
        for below in value:
            yield from paths(below, f"{at}[]")


def test_documented_status_fields_are_those_that_are_shown(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "disk.img")
    failure = Failure(Phase.TRIAL, Reason.PANIC, Area.PRIMARY, 5, 1, 3, V3.identity)
    bench.change(lambda status: replace(status, last_failure=failure))
    this_start = ThisStart(Started(Area.PRIMARY, V2.identity, bytes(16)))
    with open_machine(bench.path, writable=False) as machine:
        point = RestorePoint(1, 1, 1, V2.identity, 2, "2.0", path=tmp_path)
        shown = document(gather(machine, (KEY.public(),), this_start, ["an alarm"], (point,)))
    section = README.partition("## JSON of")[2]
    documented = re.findall(r"^\| `([\w.*\[\]]+)` \| \S", section, flags=re.MULTILINE)
    assert documented == [*dict.fromkeys(paths(shown))]
