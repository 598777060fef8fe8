"""``bootsvc chain``: shows, checks, merges and repairs chains of qcow2 files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import Progress, show, show_json, show_note
from bootsvc.cli.parsing import Groups, natural, new_command, new_group
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.chains.chain_files import Chain, ChainFile

SCHEMA = 1
DEFAULT_LIMIT = 5

EXAMPLES = """\
A chain is a folder of qcow2 files: a base, and increments that name their parents. Beside each NAME
lies NAME.manifest, the manifest of its version; it decides, not what the file says of itself.

examples:
  bootsvc chain show images/
  bootsvc chain check images/v5.qcow2
  bootsvc chain merge images/ v5-merged.qcow2 --to increment
  bootsvc chain repair images/
"""

MERGE_TEXT = """\
The new file holds what the chain's newest file shows; qemu-img compares both. No other file is
changed: keep the old ones until no client needs them any more. Nothing is done, and that is said,
where the chain has no more files than --limit.

examples:
  bootsvc chain merge images/ v6.qcow2 --manifest v6.manifest
  bootsvc chain merge images/v5.qcow2 v5-base.qcow2 --limit 1
"""

REPAIR_TEXT = """\
qemu-img convert loses check information; amend, rebase, commit and bitmap lose the copy at byte
3072; a new increment has none yet, and the file below it does not know of it. Only headers are
written.

example:
  bootsvc chain repair images/
"""


class Stages:
    """Shows one piece of work after another, each with a bar of its own."""

    def __init__(self) -> None:
        self.bar: Progress | None = None

    def update(self, work: str, done: int, total: int) -> None:
        """``done`` of ``total`` bytes of ``work``; other work than before begins a new bar."""
        if self.bar is None or self.bar.work != work:
            self.end()
            self.bar = Progress(work, total, sys.stderr)
        self.bar.tick(done - self.bar.done)

    def end(self) -> None:
        """No more work follows."""
        if self.bar is not None:
            self.bar.end()
            self.bar = None


def add_commands(groups: Groups) -> None:
    """Add ``chain`` and its commands."""
    commands = new_group(groups, "chain", "work on chains of qcow2 files", EXAMPLES)
    _add(commands, "show", "show a chain's files and what they say of themselves", "", run_show)
    check = _add(commands, "check", "check a chain's order, structure and content", "", run_check)
    check.add_argument(
        "--no-content",
        action="store_true",
        help="do not compare what a guest sees with the manifests' digests",
    )
    merge = _add(commands, "merge", "merge a chain into one new file", MERGE_TEXT, run_merge)
    merge.add_argument("name", metavar="NAME", help="new file, in the chain's folder")
    merge.add_argument(
        "--to",
        choices=("base", "increment"),
        default="base",
        help="a new base, or one increment on the old base (default: base)",
    )
    merge.add_argument(
        "--limit",
        metavar="N",
        type=natural,
        default=DEFAULT_LIMIT,
        help="merge a chain of more files than this (default: 5)",
    )
    merge.add_argument(
        "--manifest",
        metavar="FILE",
        type=Path,
        help="manifest of the new version, of the same content (default: the newest file's)",
    )
    _add(
        commands,
        "repair",
        "write the check information that the manifests give",
        REPAIR_TEXT,
        run_repair,
    )


def _add(
    commands: Groups, name: str, summary: str, text: str, run: object
) -> argparse.ArgumentParser:
    parser = new_command(commands, name, summary, text)
    parser.add_argument(
        "path", metavar="PATH", type=Path, help="folder, or the newest file of one chain in it"
    )
    parser.add_argument("--json", action="store_true", help="for programs (see README.md)")
    parser.set_defaults(run=run)
    return parser


def run_show(args: argparse.Namespace) -> ExitCode:
    """Show all chains at a path."""
    from bootsvc.chains.chain_files import read_chains

    chains = read_chains(args.path)
    if args.json:
        show_json({"schema": SCHEMA, "chains": [_document_of(chain) for chain in chains]})
        return ExitCode.OK
    show("\n\n".join(_text_of(chain) for chain in chains) or f"{args.path}: no qcow2 files")
    return ExitCode.OK


def run_check(args: argparse.Namespace) -> ExitCode:
    """Check all chains at a path; FAILED where anything is wrong."""
    from bootsvc.chains.chain_files import read_chains
    from bootsvc.chains.verify import find_damage

    found: list[tuple[str, str]] = []
    chains = read_chains(args.path)
    for chain in chains:
        shown = Stages()
        try:
            found += find_damage(chain, shown.update, with_content=not args.no_content)
        finally:
            shown.end()
    # Chains may share files.
    found = list(dict.fromkeys(found))
    if args.json:
        damage = [{"file": name, "problem": words} for name, words in found]
        show_json({"schema": SCHEMA, "chains": len(chains), "damage": damage})
    else:
        show("\n".join(f"{name}: {words}" for name, words in found) or _sound(chains, args))
    return ExitCode.FAILED if found else ExitCode.OK


def run_merge(args: argparse.Namespace) -> ExitCode:
    """Merge the one chain at a path."""
    from bootsvc.chains.chain_files import read_manifest
    from bootsvc.chains.merge import MergeTo, is_due, merge
    from bootsvc.errors import StorageError

    chain = _only_chain(args.path)
    to = MergeTo(args.to)
    if not is_due(len(chain.files), args.limit, to):
        if args.json:
            show_json({"schema": SCHEMA, "merged": None, "files": len(chain.files)})
        else:
            show(f"{chain.top}: a chain of {len(chain.files)} files needs no merge yet")
        return ExitCode.OK
    manifest = None
    if args.manifest is not None:
        manifest = read_manifest(args.manifest)
        if manifest is None:
            raise StorageError(f"{args.manifest}: no such file")
    shown = Stages()
    try:
        merged = merge(chain, args.name, to=to, manifest=manifest, on_progress=shown.update)
    finally:
        shown.end()
    if args.json:
        shorter = {"path": str(merged.path), "size": merged.size, "to": to.value}
        show_json({"schema": SCHEMA, "merged": shorter, "files": len(chain.files)})
        return ExitCode.OK
    size = describe_size(merged.size)
    show(f"{merged.path}: a new {to.value} of {len(chain.files)} files, {size}")
    show(f"it holds what {chain.top} shows: compared byte for byte")
    if merged.information is None:
        show_note("it has no check information: there is no manifest that would give it")
    return ExitCode.OK


def run_repair(args: argparse.Namespace) -> ExitCode:
    """Write check information into all files of the one chain at a path."""
    from bootsvc.chains.chain_files import repair_information

    chain = _only_chain(args.path)
    done = repair_information(chain)
    if args.json:
        files = [{"file": name, "written": is_changed} for name, _, is_changed in done]
        show_json({"schema": SCHEMA, "files": files})
        return ExitCode.OK
    words = {True: "written", False: "stood there already"}
    show("\n".join(f"{name}: check information {words[changed]}" for name, _, changed in done))
    return ExitCode.OK


def _only_chain(path: Path) -> Chain:
    from bootsvc.chains.chain_files import read_chains
    from bootsvc.errors import BrokenChainError

    chains = read_chains(path)
    if len(chains) != 1:
        tops = ", ".join(chain.top for chain in chains) or "no qcow2 file"
        raise BrokenChainError(
            f"{path}: not clear which chain is meant: {tops}",
            hint="name the newest file of one chain",
        )
    return chains[0]


def _sound(chains: tuple[Chain, ...], args: argparse.Namespace) -> str:
    lines = [f"{args.path}: sound; chains: {len(chains)}"]
    files = {file.path: file for chain in chains for file in chain.files}.values()
    without = [file.name for file in files if file.manifest is None]
    if without and not args.no_content:
        lines.append(f"content not compared, for there is no manifest: {', '.join(without)}")
    return "\n".join(lines)


def _state_of(file: ChainFile) -> str:
    """What a file's check information is worth, in words."""
    if file.problem and file.information is None:
        return f"damaged ({file.problem})"
    if file.information is None:
        return "none"
    if file.expected is None:
        return f"no manifest to compare with (in {file.place})"
    is_right = file.information.own == file.expected and file.information.identity in (
        None,
        file.identity,
    )
    return f"{'right' if is_right else 'WRONG'} (in {file.place})"


def _text_of(chain: Chain) -> str:
    lines = [f"{chain.top}: a chain of {len(chain.files)} files, base first"]
    width = max((len(file.name) for file in chain.files), default=0)
    for file in chain.files:
        manifest = file.manifest
        version = f"number {manifest.number}, {manifest.label}" if manifest else "no manifest"
        size = describe_size(file.path.stat().st_blocks * 512)
        information = f"check information: {_state_of(file)}"
        lines.append(f"  {file.name:<{width}}  {size:>10}  {version}; {information}")
    lines += [f"  {one.name}: {one.fault.value.upper()}: {one.text}" for one in chain.troubles]
    return "\n".join(lines)


def _document_of(chain: Chain) -> dict[str, object]:
    return {
        "newest": chain.top,
        "files": [_file_document(file) for file in chain.files],
        "troubles": [
            {"file": one.name, "fault": one.fault.value, "text": one.text} for one in chain.troubles
        ],
    }


def _file_document(file: ChainFile) -> dict[str, object]:
    manifest, identity, information = file.manifest, file.identity, file.information
    following = None if information is None else information.pair[1]
    parent = None if information is None else information.parent
    return {
        "file": file.name,
        "parent_file": file.header.backing_name,
        "size": file.header.size,
        "stored": file.path.stat().st_blocks * 512,
        "number": manifest.number if manifest else None,
        "label": manifest.label if manifest else None,
        "identity": identity.hex() if identity else None,
        "check_information": _state_of(file),
        "own": information.own.hex() if information else None,
        "parent": parent.hex() if parent else None,
        "next": following.hex() if following else None,
    }
