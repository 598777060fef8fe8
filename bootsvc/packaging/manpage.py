"""The manual page ``bootsvc(1)``, made from the command's own parser, so that neither forgets
what the other says.

Written here because the known generator (argparse-manpage) leaves out what stands below a
command's options, the examples among it, and makes a section of each command's options.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from textwrap import wrap

from bootsvc.cli.exit_codes import WORDS, ExitCode

SUMMARY = "keep a machine bootable through every update of its disk image"

DESCRIPTION = """\
A machine that uses bootsvc has an image in its primary area, the last good one in its backup area
and room for a new one in staging. The updater, which runs at every start before the operating
system, copies a staged image, starts it on trial, and returns to the backup where it does not prove
itself. The command asks the updater for that and shows what it did; it also makes signed images,
keys and bootable disks."""

OUTPUT = """\
Results go to standard output; errors (what, where, next step), notes and progress go to standard
error."""

FILES = (
    ("/etc/bootsvc/bootsvc.toml", "settings of this machine"),
    ("/etc/bootsvc/keys/*.pub", "public keys whose images are trusted"),
    ("/run/bootsvc/", "what the updater left of this start; data/ in it is the data partition"),
)

SEE_ALSO = "/usr/lib/python3/dist-packages/bootsvc/cli/README.md: every command and JSON field."

SOURCE_WIDTH = 70
"""Characters of a line in the page's source, before what is special to the formatter is escaped."""

_EXAMPLES = re.compile(r"^examples?:$", re.MULTILINE)
_SPECIAL = str.maketrans(
    {"\\": r"\(rs", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "~": r"\(ti", "^": r"\(ha"}
)


def manual_page(parser: argparse.ArgumentParser, version: str, epoch_s: int) -> str:
    """The page in the language of man(7).

    Args:
        parser: the whole command line.
        version: of the package.
        epoch_s: the page's date, in seconds since 1970.
    """
    date = datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d")
    lines = [
        f'.TH BOOTSVC 1 "{date}" "bootsvc {_text(version)}" "User Commands"',
        *(".ad l", ".nh"),  # ragged and unbroken: options and paths must be copied as they are
        *(".SH NAME", f"bootsvc \\- {_text(SUMMARY)}"),
        ".SH SYNOPSIS",
    ]
    for words, below in (("bootsvc", parser), *commands_of(parser)):
        lines += [".HP 8", *_synopsis(words, below)]
    lines += [".SH DESCRIPTION", *_filled(DESCRIPTION), ".PP", *_filled(OUTPUT)]
    lines += [".SH OPTIONS"]
    for action in _arguments(parser):
        lines += _argument(action)
    lines += [".SH COMMANDS"]
    for words, below in commands_of(parser):
        lines += _command(words, below)
    lines += [".SH EXIT STATUS"]
    for code in ExitCode:
        lines += [".TP", f".B {code:d}", *_filled(WORDS[code])]
    lines += [".SH FILES"]
    for path, meaning in FILES:
        lines += [".TP", f".I {_text(path)}", *_filled(meaning)]
    lines += [".SH SEE ALSO", *_filled(SEE_ALSO)]
    return "\n".join(lines) + "\n"


def commands_of(
    parser: argparse.ArgumentParser, words: str = "bootsvc"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that has none below it, as it is typed, in the order of ``--help``."""
    groups = [one for one in _actions(parser) if isinstance(one, argparse._SubParsersAction)]  # noqa: SLF001
    if not groups:
        yield words, parser
    for group in groups:
        for word, below in group.choices.items():
            yield from commands_of(below, f"{words} {word}")


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001  # argparse has no public way to list them


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in _actions(parser):
        if not isinstance(action, argparse._SubParsersAction) and action.help != argparse.SUPPRESS:  # noqa: SLF001
            yield action


def _command(words: str, parser: argparse.ArgumentParser) -> list[str]:
    before, examples = _split_examples(parser.epilog or "")
    lines = [f".SS {_text(words)}", *_filled(parser.description or "")]
    if before.strip():
        lines += [".PP", *_filled(before)]
    for action in _arguments(parser):
        if action.dest != "help":
            lines += _argument(action)
    if examples.strip():
        lines += [".PP", "Examples:", ".PP", ".EX", *map(_line, examples.strip("\n").splitlines())]
        lines += [".EE"]
    return lines


def _split_examples(text: str) -> tuple[str, str]:
    """What stands below a command's options: prose, and lines to be typed."""
    before, *after = _EXAMPLES.split(text, maxsplit=1)
    return before, "".join(after)


def _argument(action: argparse.Action) -> list[str]:
    value = _value(action)
    names = ", ".join(f"\\fB{_text(name)}\\fR" for name in action.option_strings)
    tag = " ".join(word for word in (names, value) if word)
    return [".TP", tag, *_filled(action.help or "")]


def _synopsis(words: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """A call: the command, then each of its arguments, none of which is broken."""
    yield f"\\fB{_text(words)}\\fR"
    for action in _arguments(parser):
        if action.dest == "help":
            continue
        name = f"\\fB{_text(action.option_strings[-1])}\\fR" if action.option_strings else ""
        # \~ is a blank at which no line ends.
        call = "\\~".join(word for word in (name, _value(action)) if word)
        is_needed = action.required and action.nargs != "?"
        yield call if is_needed else f"[{call}]"


def _value(action: argparse.Action) -> str:
    """What stands for the argument's value; empty for a switch."""
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, str):
        return f"\\fI{_text(action.metavar)}\\fR"
    if action.choices is not None:
        return "|".join(f"\\fI{_text(str(one))}\\fR" for one in action.choices)
    return f"\\fI{_text(action.dest.upper())}\\fR"


def _filled(text: str) -> list[str]:
    """Paragraphs whose lines man(1) breaks anew."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines += [".PP"] if lines else []
        words = " ".join(paragraph.split())
        lines += map(_line, wrap(words, SOURCE_WIDTH, break_on_hyphens=False))
    return lines


def _line(text: str) -> str:
    """One line of text, none of which is a request to the formatter."""
    shown = _text(text)
    return f"\\&{shown}" if shown.startswith(".") else shown


def _text(text: str) -> str:
    return text.translate(_SPECIAL)
