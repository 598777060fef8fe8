"""What a store holds: ``bootsvc image publish``, ``bootsvc store`` list, mode, remove, gc, fsck."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.image_make import add_making_options, make_from
from bootsvc.cli.output import progress, show, show_json, show_note
from bootsvc.cli.parsing import Groups, natural
from bootsvc.cli.store_access import new_store_command, opened
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.formats.catalogue import Catalogue, CatalogueEntry
    from bootsvc.store.documents import SignedDocuments
    from bootsvc.store.objects import ObjectStore
    from bootsvc.store.publish import DocumentSet

BIMG = ".bimg"
MODES = ("draft", "test", "released")

PUBLISH_TEXT = """\
SOURCE is an image file (.bimg), or whatever bootsvc image make takes, with its options: then the
image is made first. It is verified in full. Only blocks that the store has not are stored; for
machines with one of the last versions a delta is made, which packs the new blocks against similar
old ones. Nobody sees the version before all of it is there. Cut off, the command is simply given
again.

modes: draft is offered to nobody, test to machines that take test versions, released to all

examples:
  bootsvc image publish /srv/images v2.bimg --keys keys --trust keys/release.pub --mode test
  bootsvc image publish /srv/images desk.qcow2 --keys keys --trust keys/release.pub \\
      --key keys/release.key --number 3 --label 1.2 --compatible lab
  bootsvc store mode /srv/images 2 released --keys keys
"""

LIST_TEXT = """\
A version is meant by its number, its label or the beginning of its identity.

examples:
  bootsvc store list /srv/images --keys keys
  bootsvc store list /srv/images --keys keys --json | jq '.versions[].number'
"""

GC_TEXT = """\
Without --yes nothing is removed. Files of the last 24 hours stay in any case: somebody may be
publishing, or reading the state before.

examples:
  bootsvc store remove /srv/images 1 --keys keys
  bootsvc store gc /srv/images --keys keys              what would go
  bootsvc store gc /srv/images --keys keys --yes
"""


def add_commands(commands: Groups) -> None:
    """Add to the group ``store``."""
    listed = new_store_command(commands, "list", "list the versions of a store", LIST_TEXT)
    _add_json(listed)
    listed.set_defaults(run=run_list)

    mode = new_store_command(commands, "mode", "say who is offered a version, and from when on")
    _add_version(mode)
    mode.add_argument("mode", metavar="MODE", choices=MODES, help="draft, test or released")
    _add_from(mode)
    mode.set_defaults(run=run_mode)

    remove = new_store_command(
        commands, "remove", "take a version out of the catalogue; see also: gc", GC_TEXT
    )
    _add_version(remove)
    remove.set_defaults(run=run_remove)

    gc = new_store_command(commands, "gc", "remove the files that no version needs", GC_TEXT)
    gc.add_argument("--yes", action="store_true", help="do it; otherwise it is only shown")
    gc.add_argument(
        "--older-than",
        metavar="HOURS",
        type=natural,
        default=24,
        help="leave younger files alone (default: 24)",
    )
    _add_json(gc)
    gc.set_defaults(run=run_gc)

    fsck = new_store_command(
        commands, "fsck", "read a store in full and say which versions are hurt by what"
    )
    _add_json(fsck)
    fsck.set_defaults(run=run_fsck)


def add_publish(commands: Groups) -> None:
    """Add ``publish`` to the group ``image``."""
    parser = new_store_command(commands, "publish", "publish a version of an image", PUBLISH_TEXT)
    parser.add_argument(
        "source", metavar="SOURCE", type=Path, help="image file (.bimg), or what one is made from"
    )
    parser.add_argument(
        "--trust",
        metavar="PATH",
        type=Path,
        required=True,
        help="public key that must have signed the image, or a folder of them",
    )
    parser.add_argument(
        "--mode", choices=MODES, default=MODES[0], help="who is offered it (default: draft)"
    )
    _add_from(parser)
    parser.add_argument(
        "--deltas",
        metavar="N",
        type=natural,
        default=2,
        help="make deltas to so many earlier versions (default: 2)",
    )
    parser.add_argument(
        "--level", metavar="N", type=natural, default=19, help="of zstd, 1 to 22 (default: 19)"
    )
    _add_json(parser)
    add_making_options(parser, is_required=False)
    parser.set_defaults(run=run_publish)


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version", metavar="VERSION", help="number, label, or identity's beginning")


def _add_from(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="released_s",
        metavar="TIME",
        type=_time,
        default=0,
        help="not before this time, such as 2026-12-01T06:00 (UTC unless it says otherwise)",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _time(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write for example 2026-12-01T06:00"
        ) from exc
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


# --- what they do -------------------------------------------------------------------------------


def run_publish(args: argparse.Namespace) -> ExitCode:
    """Verify the image in full, store what is new, and name it."""
    store, documents = _opened(args)
    from bootsvc.formats.catalogue import Mode
    from bootsvc.os_side.site import load_public_keys
    from bootsvc.sequence.checks import Site, verify_whole
    from bootsvc.storage.image_file import open_bimg
    from bootsvc.store.publish import PublishOptions, publish

    site = Site(load_public_keys(args.trust), compatible="")
    options = PublishOptions(
        Mode(args.mode), args.released_s, args.deltas, args.level, int(time.time())
    )
    with _image_file(args) as path, open_bimg(path) as (image, footer):
        with progress(f"verify {path.name}", footer.manifest.size) as bar:
            _, leaves = verify_whole(image, site, bar.tick, footer)
        published = publish(store, documents, image, footer, leaves, options, progress)
    if args.json:
        show_json({"schema": 1, "is_new": published.is_new, **_entry_document(published.entry)})
        return ExitCode.OK
    entry = published.entry
    if not published.is_new:
        show(f"{_name(entry)} is published already, as {entry.mode}; nothing was written")
        return ExitCode.OK
    show(
        f"published: {_name(entry)}, as {entry.mode}; new blocks {published.new_blocks}, the store"
        f" grew by {describe_size(entry.stored_size)}"
    )
    for delta in published.deltas:
        show(f"delta from {delta.base.hex()[:12]}: {describe_size(delta.pack.size)}")
    return ExitCode.OK


@contextmanager
def _image_file(args: argparse.Namespace) -> Iterator[Path]:
    """The image file that is published, made first where the source is none.

    Raises:
        PublishError: something that an image is made with was not given.
    """
    from bootsvc.errors import PublishError
    from bootsvc.image.keys import load_signing_key

    source: Path = args.source
    if source.suffix == BIMG:
        yield source
        return
    needed = ("key", "number", "label", "compatible")
    missing = [f"--{name}" for name in needed if getattr(args, name) is None]
    if missing:
        raise PublishError(
            f"{source}: no image file ({BIMG}); to make one of it, {', '.join(missing)} must be"
            " given",
            hint="see: bootsvc image make --help",
        )
    with tempfile.TemporaryDirectory(prefix="bootsvc-publish-") as folder:
        made = Path(folder) / f"{source.stem}{BIMG}"
        make_from(source, made, load_signing_key(args.key), args)
        yield made


def run_list(args: argparse.Namespace) -> ExitCode:
    """List all versions of all lineages."""
    _, documents = _opened(args)
    from bootsvc.store.publish import read_catalogues

    catalogues = read_catalogues(documents.state())
    if args.json:
        versions = [
            {"lineage": catalogue.lineage, **_entry_document(entry)}
            for catalogue in catalogues
            for entry in catalogue.versions
        ]
        show_json({"schema": 1, "versions": versions})
        return ExitCode.OK
    if not catalogues:
        show("no version is published")
    for catalogue in catalogues:
        show(_catalogue_text(catalogue))
    return ExitCode.OK


def run_mode(args: argparse.Namespace) -> ExitCode:
    """Change a version's mode."""
    _, documents = _opened(args)
    from bootsvc.formats.catalogue import Mode
    from bootsvc.store.publish import set_mode

    entry = _find(documents.state(), args.version)
    changed = set_mode(documents, entry.identity, Mode(args.mode), args.released_s)
    show(f"{_name(changed)} is {_mode_text(changed)} now")
    return ExitCode.OK


def run_remove(args: argparse.Namespace) -> ExitCode:
    """Take a version out of its catalogue."""
    _, documents = _opened(args)
    from bootsvc.store.publish import remove_version

    entry = remove_version(documents, _find(documents.state(), args.version).identity)
    show(f"{_name(entry)} is no longer published; its blocks stay until: bootsvc store gc")
    return ExitCode.OK


def run_gc(args: argparse.Namespace) -> ExitCode:
    """Show what no version needs; remove it where that is asked for."""
    store, documents = _opened(args)
    from bootsvc.store.upkeep import collect, unnamed

    # Up to this very second: times of files are whole seconds.
    files = unnamed(store, documents, int(time.time()) + 1 - args.older_than * 3600)
    size = sum(one.size for one in files)
    if args.yes:
        collect(store, files)
    if args.json:
        found = [{"name": one.key, "size": one.size} for one in files]
        show_json({"schema": 1, "is_removed": args.yes, "size": size, "files": found})
        return ExitCode.OK
    for one in files:
        show(f"{one.key}  {describe_size(one.size)}")
    what = f"{len(files)} files, {describe_size(size)}"
    if not files:
        show(f"nothing to remove that is older than {args.older_than} hours")
    elif args.yes:
        show(f"removed: {what}")
    else:
        show(f"{what} would be removed; nothing was: say --yes")
    return ExitCode.OK


def run_fsck(args: argparse.Namespace) -> ExitCode:
    """Read the store in full."""
    store, documents = _opened(args)
    from bootsvc.store.upkeep import find_damage

    damage = find_damage(store, documents, progress)
    if args.json:
        found = [
            {"what": one.what, "problem": one.problem, "versions": [v.hex() for v in one.versions]}
            for one in damage
        ]
        show_json({"schema": 1, "damage": found})
    else:
        for one in damage:
            hurt = ", ".join(version.hex()[:12] for version in one.versions) or "none"
            show(f"{one.what}: {one.problem}; versions hurt: {hurt}")
        if not damage:
            show(f"{store.name}: every file of every version is whole")
        else:
            show_note("publish the hurt versions' image files again, or put the files back")
    return ExitCode.FAILED if damage else ExitCode.OK


# --- shared -------------------------------------------------------------------------------------


def _opened(args: argparse.Namespace) -> tuple[ObjectStore, SignedDocuments]:
    store = opened(args)
    from bootsvc.store.documents import SignedDocuments

    return store, SignedDocuments(store, args.keys)


def _find(state: DocumentSet, text: str) -> CatalogueEntry:
    """The one version that ``text`` means. Raises PublishError: none, or several."""
    from bootsvc.store.publish import read_catalogues

    return match(
        [entry for catalogue in read_catalogues(state) for entry in catalogue.versions], text
    )


def match(entries: Sequence[CatalogueEntry], text: str) -> CatalogueEntry:
    """The one version that ``text`` means: a number, a label, or an identity's beginning.

    Raises:
        PublishError: none, or several.
    """
    from bootsvc.errors import PublishError

    found = [
        one
        for one in entries
        if text in (str(one.number), one.label)
        or (len(text) >= 6 and one.identity.hex().startswith(text.lower()))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(one.identity.hex()[:12] for one in found)
        raise PublishError(f"{text} means several versions: {names}", hint="write the identity")
    raise PublishError(f"there is no version {text}", hint="see: bootsvc store list")


def _name(entry: CatalogueEntry) -> str:
    return f"number {entry.number}, label {entry.label} ({entry.identity.hex()[:12]})"


def _catalogue_text(catalogue: Catalogue) -> str:
    lines = [f"lineage {catalogue.lineage}"]
    for one in catalogue.versions:
        lines.append(
            f"  {one.number:>6}  {one.label:<16} {one.identity.hex()[:12]}  {_mode_text(one):<9}"
            f" {one.compatible}, {describe_size(one.size)}, stored {describe_size(one.stored_size)}"
        )
        lines += [f"          {line}" for line in one.notes.splitlines()]
    return "\n".join(lines)


def _mode_text(entry: CatalogueEntry) -> str:
    if not entry.released_s:
        return str(entry.mode)
    when = datetime.fromtimestamp(entry.released_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{entry.mode} from {when}"


def _entry_document(entry: CatalogueEntry) -> dict[str, object]:
    return {
        "identity": entry.identity.hex(),
        "parent": entry.parent.hex() if entry.parent else None,
        "number": entry.number,
        "label": entry.label,
        "compatible": entry.compatible,
        "mode": str(entry.mode),
        "published_s": entry.published_s,
        "released_s": entry.released_s,
        "size": entry.size,
        "stored_size": entry.stored_size,
        "notes": entry.notes,
    }
