"""The manual page: it names all there is, and the formatter has nothing to complain of."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootsvc.cli import build_parser
from bootsvc.cli.exit_codes import WORDS, ExitCode
from bootsvc.packaging import deb
from bootsvc.packaging.manpage import commands_of, manual_page

EPOCH_S = 1_763_769_600
COMMANDS = dict(commands_of(build_parser()))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page as man shows it, in lines that are never broken."""
    return shown_by_man(tmp_path_factory.mktemp("man"), width=4000)


def shown_by_man(folder: Path, width: int) -> str:
    page = folder / "bootsvc.1"
    page.write_text(manual_page(build_parser(), "1.2", EPOCH_S))
    done = subprocess.run(
        ["man", "--warnings", "--local-file", str(page)],
        env={**os.environ, "MANWIDTH": str(width), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def sections(shown: str) -> dict[str, str]:
    """Text by heading; a command is a heading of three blanks."""
    parts = re.split(r"^(?:   )?(\S.*)$", shown, flags=re.MULTILINE)
    return {heading.strip(): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_man_shows_the_page_without_a_warning_on_any_terminal(tmp_path: Path) -> None:
    for width in (72, 80, 200):
        assert "BOOTSVC(1)" in shown_by_man(tmp_path, width)


def test_the_page_has_the_sections_of_every_manual_page(shown: str) -> None:
    found = [one for one in sections(shown) if one.isupper()]
    expected = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS"]
    assert found[: len(expected)] == expected
    assert re.search(r"^ +bootsvc - keep a machine bootable", shown, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_section_with_each_argument_and_its_help(
    name: str, shown: str
) -> None:
    section = sections(shown)[name]
    assert (COMMANDS[name].description or "no description") in section.replace("\n", " ")
    for words, help_text in arguments(name):
        assert re.search(rf"^ +{re.escape(words)}\s+{re.escape(help_text)}$", section, re.MULTILINE)


def arguments(name: str) -> Iterator[tuple[str, str]]:
    for action in COMMANDS[name]._actions:
        if action.dest != "help":
            assert action.help
            choices = "|".join(map(str, action.choices or ()))
            value = "" if action.nargs == 0 else str(action.metavar or choices)
            options = ", ".join(action.option_strings)
            yield f"{options} {value}".strip(), action.help


@pytest.mark.parametrize("name", COMMANDS)
def test_the_synopsis_tells_what_each_command_needs(name: str, shown: str) -> None:
    line = next(
        line
        for line in sections(shown)["SYNOPSIS"].splitlines()
        if line.split()[: len(name.split())] == name.split()
    )
    for action in COMMANDS[name]._actions:
        word = action.option_strings[-1] if action.option_strings else str(action.metavar)
        if action.dest != "help":
            assert word in line
            assert (f"[{word}" in line) == (not action.required or action.nargs == "?")


def test_examples_stand_as_they_are_typed(shown: str) -> None:
    assert "bootsvc stage v2.bimg && reboot\n" in sections(shown)["bootsvc stage"]
    epilogs = "\n".join(one.epilog or "" for one in COMMANDS.values())
    typed = re.findall(r"^  (bootsvc .*)$", epilogs, re.MULTILINE)
    assert len(typed) > len(COMMANDS)
    assert all(line in shown for line in typed)


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_explained(code: ExitCode, shown: str) -> None:
    assert re.search(rf"^ +{code:d} +{re.escape(WORDS[code])}$", shown, re.MULTILINE)


def test_the_package_brings_the_page_of_its_version() -> None:
    page = next(one for one in deb.members() if one.path == "usr/share/man/man1/bootsvc.1.gz")
    text = gzip.decompress(page.content).decode()
    assert text == manual_page(build_parser(), deb.version(), deb.changelog_epoch())
    assert f'"bootsvc {deb.version()}"' in text
