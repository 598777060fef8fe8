"""Completion of the command line for bash, made from the command's own parser by shtab.

shtab rather than argcomplete: what it makes is a plain file, so Tab starts no Python on a machine
that may be short of everything, and the package needs nothing at run time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import shtab

AT = "usr/share/bash-completion/completions/bootsvc"
"""Where bash-completion looks for it, relative to /; it is read at the first Tab."""


def bash_completion(parser: argparse.ArgumentParser) -> str:
    """The file for bash. Arguments that are paths are completed as files."""
    for action in _actions_of(parser):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
    return shtab.complete(parser, "bash").rstrip("\n") + "\n"


def _actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001  # argparse has no public way to list them
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for below in action.choices.values():
                yield from _actions_of(below)
