"""Completion, asked of a real bash."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pexpect
import pytest

from bootsvc.cli import build_parser
from bootsvc.packaging import completion, deb
from bootsvc.packaging.manpage import commands_of

COMMANDS = dict(commands_of(build_parser()))

ASK = """
source "$1"
cd "$2"
shift 2
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function_name=$(complete -p bootsvc | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
"$function_name" bootsvc "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the package brings."""
    path = tmp_path_factory.mktemp("completion") / "bootsvc"
    path.write_bytes(next(one.content for one in deb.members() if one.path == completion.AT))
    return path


def offers(script: Path, typed: str, folder: Path | None = None) -> set[str]:
    """What bash offers for the last word of ``typed``, a blank at its end beginning a new one."""
    words = [*shlex.split(typed), *([""] if typed.endswith(" ") else [])]
    command = ["bash", "--norc", "-c", ASK, "bash", str(script), str(folder or script.parent)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_the_first_word_is_completed_to_a_command(script: Path) -> None:
    assert offers(script, "bootsvc ") == {name.split()[1] for name in COMMANDS}
    assert offers(script, "bootsvc sta") == {"stage", "status"}


@pytest.mark.parametrize("name", [name for name in COMMANDS if len(name.split()) == 3])
def test_the_second_word_of_a_group_is_completed(name: str, script: Path) -> None:
    group, command = name.rsplit(" ", 1)
    assert command in offers(script, f"{group} ")
    assert command in offers(script, f"{group} {command[0]}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_is_completed(name: str, script: Path) -> None:
    options = {word for one in COMMANDS[name]._actions for word in one.option_strings}
    assert offers(script, f"{name} -") == options


def test_choices_are_completed_after_their_option_and_in_their_place(script: Path) -> None:
    assert offers(script, "bootsvc reject --reason ") == {"not-confirmed", "health-check"}
    assert offers(script, "bootsvc verify b") == {"backup"}


def test_files_are_completed_where_a_file_is_wanted(script: Path, tmp_path: Path) -> None:
    (tmp_path / "version-2.bimg").touch()
    assert offers(script, "bootsvc stage ver", tmp_path) == {"version-2.bimg"}
    assert offers(script, "bootsvc stage --keys ver", tmp_path) == {"version-2.bimg"}
    assert offers(script, "bootsvc image make root.img --number ver", tmp_path) == set()


def test_tab_on_a_terminal_completes_a_command(script: Path) -> None:
    # No history: what is typed here is none of the person's own commands.
    words = ["--norc", "--noprofile", "+o", "history", "-i"]
    with pexpect.spawn("bash", words, timeout=10) as shell:
        shell.sendline(f"source {shlex.quote(str(script))}; PS1='ready> '")
        shell.expect("\r\n.*ready> ")
        shell.send("bootsvc roll\t")
        shell.expect_exact("bootsvc rollback ")
        shell.send("--no-r\t")
        shell.expect_exact("--no-restore-point ")
