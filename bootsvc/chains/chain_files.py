"""Reads a folder's qcow2 files as chains: a base, and increments that name their parents.

Beside a file NAME may lie NAME.manifest, the manifest of its version as it was signed: its bytes
give the identity. Names of parents stay within the folder. Whatever is found, reading ends, and
faults come as values: a file is read once, a chain has at most ``MAX_FILES`` files.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bootsvc.chains.check_chain import Fault, HeldFile, Version, check_pairs
from bootsvc.chains.qcow2_file import read_file, write_information
from bootsvc.chains.qemu_img import MAX_FILES, Disk
from bootsvc.errors import BrokenChainError, FormatError, StorageError
from bootsvc.formats import qcow2
from bootsvc.formats.check_information import (
    DIGEST_SIZE,
    CheckInformation,
    information_of,
    last_of_chain,
)
from bootsvc.formats.footer import MAX_MANIFEST_SIZE
from bootsvc.formats.manifest import Manifest, identity_of, parse_manifest
from bootsvc.formats.qcow2 import Header

MANIFEST_SUFFIX = ".manifest"
MAX_FOLDER_FILES = 4096


@dataclass(frozen=True)
class ChainFile:
    """One file of a chain.

    Attributes:
        path, header: the file, and what its header says.
        information: its check information; None where it has none, or a damaged one.
        place: where that stood: ``extension``, ``byte 3072``, or empty.
        problem: why check information that is there cannot be read, or empty.
        manifest_bytes: the manifest beside it; None where there is none.
    """

    path: Path
    header: Header
    information: CheckInformation | None
    place: str
    problem: str
    manifest_bytes: bytes | None

    @property
    def manifest(self) -> Manifest | None:
        """The manifest beside it, or None."""
        return None if self.manifest_bytes is None else parse_manifest(self.manifest_bytes)

    @property
    def identity(self) -> bytes | None:
        """The identity of its version, or None."""
        return None if self.manifest_bytes is None else identity_of(self.manifest_bytes)

    @property
    def name(self) -> str:
        """The file's name within its folder."""
        return self.path.name

    def held(self) -> HeldFile:
        """The file as the strategy takes it."""
        manifest = self.manifest
        return HeldFile(self.identity, self.information, manifest.parent if manifest else None)

    @property
    def expected(self) -> bytes | None:
        """The information that its manifest and name give; None without a manifest."""
        manifest = self.manifest
        if manifest is None:
            return None
        return information_of(manifest.number, manifest.lineage, self.name)


@dataclass(frozen=True)
class Trouble:
    """A fault, the file where it shows, and the details in words."""

    fault: Fault
    name: str
    text: str


@dataclass(frozen=True)
class Chain:
    """Files from the base up to the top one; where there is a hole, those above it."""

    folder: Path
    files: tuple[ChainFile, ...]
    troubles: tuple[Trouble, ...]

    @property
    def top(self) -> str:
        """The name of the newest file."""
        return self.files[-1].name if self.files else self.troubles[0].name

    @property
    def disk(self) -> Disk:
        """What a guest sees of the whole chain."""
        return Disk(self.folder, tuple(file.name for file in self.files))

    def below(self, index: int) -> Disk:
        """What a guest sees of the file at ``index``."""
        return Disk(self.folder, self.disk.files[: index + 1])

    def held_files(self) -> tuple[HeldFile, ...]:
        """The files as the strategy takes them."""
        return tuple(file.held() for file in self.files)

    def versions(self) -> tuple[Version, ...]:
        """The files' versions, of those that have a manifest, as the strategy takes them."""
        found = []
        for file in self.files:
            manifest, identity = file.manifest, file.identity
            if manifest is not None and identity is not None:
                found.append(Version(identity, manifest.parent, manifest.number, file.expected))
        return tuple(found)

    def demand_whole(self) -> None:
        """Raise BrokenChainError, with the first trouble, unless there is none."""
        if self.troubles:
            first = self.troubles[0]
            raise BrokenChainError(
                f"{self.folder / first.name}: {first.fault.value}: {first.text}",
                hint=f"bootsvc chain show {self.folder} shows the whole chain",
            )


def read_chains(path: Path) -> tuple[Chain, ...]:
    """The chains of a folder, one for each top file; or, of a file, the one that ends in it.

    Raises:
        StorageError: it cannot be read.
        FormatError: a file that is named is not qcow2.
    """
    if not path.is_dir():
        read_file(path)
        return (read_chain(path),)
    names = _qcow2_names(path)
    chains = []
    reached: set[str] = set()
    parents = {name: _parent_name(path / name) for name in names}
    tops = [name for name in names if name not in set(parents.values())]
    # Files that only a cycle reaches are below no top file.
    for name in (*tops, *names):
        if name not in reached:
            chain = read_chain(path / name)
            chains.append(chain)
            reached |= {name, *(file.name for file in chain.files)}
    return tuple(chains)


def read_chain(top: Path) -> Chain:
    """The chain that ends in the file ``top``. Its faults are values.

    Raises:
        StorageError: a file that is there cannot be read.
    """
    folder = top.parent
    files: list[ChainFile] = []
    troubles: list[Trouble] = []
    seen: set[str] = set()
    name, above = top.name, ""
    while True:
        trouble = _step_trouble(folder, name, above, seen, len(files))
        if trouble is None:
            try:
                files.append(_read_chain_file(folder / name))
            except FormatError as exc:
                trouble = Trouble(Fault.UNREADABLE, name, str(exc))
        if trouble is not None:
            troubles.append(trouble)
            break
        seen.add(name)
        header = files[-1].header
        troubles += _header_troubles(files[-1])
        if header.backing_name is None:
            break
        name, above = header.backing_name, name
    files.reverse()
    if not troubles:
        troubles += _information_troubles(files)
    return Chain(folder, tuple(files), tuple(troubles))


def repair_information(chain: Chain) -> tuple[tuple[str, CheckInformation, bool], ...]:
    """Have every file say what the manifests beside the chain give: its name, the information, and
    whether it was written. The last file keeps its end mark. What is missing or damaged is put
    back; what contradicts the manifests is not, for the file may be another than they say.

    Raises:
        BrokenChainError: a file has no manifest, or the chain is not whole.
        StorageError, FormatError, UnsupportedDiskError, DiskFileInUseError: as
            ``write_information``.
    """
    chain.demand_whole()
    return tuple(
        (file.name, information, write_information(file.path, information).is_changed)
        for file, information in list(_wanted(chain.files))
    )


def _wanted(files: tuple[ChainFile, ...]) -> Iterable[tuple[ChainFile, CheckInformation]]:
    """Each file with the check information that it should have."""
    expected: list[bytes] = []
    for file in files:
        own = file.expected
        if own is None:
            raise BrokenChainError(
                f"{file.path}: there is no manifest beside it",
                hint=f"put the version's manifest there as {file.name}{MANIFEST_SUFFIX}",
            )
        expected.append(own)
    for index, file in enumerate(files):
        parent = expected[index - 1] if index else None
        mark = _end_mark(file)
        below = files[index - 1].identity if index else None
        information = last_of_chain(expected[index], parent, file.identity, mark, below)
        if index + 1 < len(files):
            information = information.followed_by(expected[index + 1])
        yield file, information


def _end_mark(file: ChainFile) -> bytes:
    """The one that it has, or a new one."""
    if file.information is not None and file.information.is_last:
        return file.information.next
    return secrets.token_bytes(DIGEST_SIZE)


def _qcow2_names(folder: Path) -> list[str]:
    try:
        paths = sorted(one for one in folder.iterdir() if not one.name.startswith("."))
        if len(paths) > MAX_FOLDER_FILES:
            raise StorageError(f"{folder}: {len(paths)} files, at most {MAX_FOLDER_FILES}")
        return [one.name for one in paths if _is_plain(one) and _begins_as_qcow2(one)]
    except OSError as exc:
        raise StorageError(f"{exc.filename or folder}: {exc.strerror}") from exc


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _begins_as_qcow2(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(qcow2.MAGIC)) == qcow2.MAGIC


def _parent_name(path: Path) -> str | None:
    try:
        return read_file(path).header.backing_name
    except FormatError:
        return None


def _step_trouble(
    folder: Path, name: str, above: str, seen: set[str], count: int
) -> Trouble | None:
    """Why the file ``name``, the parent of ``above``, is not read after ``count`` others."""
    if not is_name(name):
        text = f"{name!r} is no plain file name"
        return Trouble(Fault.OUTSIDE, above or name, f"its parent {text}" if above else text)
    if name in seen:
        return Trouble(Fault.CYCLE, above, f"its parent {name} stands above it already")
    if count >= MAX_FILES:
        return Trouble(Fault.TOO_LONG, above, f"more than {MAX_FILES} files")
    path = folder / name
    if not path.exists():
        return Trouble(Fault.HOLE, above or name, f"{name} is missing")
    if not _is_plain(path):
        return Trouble(Fault.OUTSIDE, above or name, f"{name} is a link or no plain file")
    return None


def is_name(text: str) -> bool:
    """Whether ``text`` names a file within a folder, and nothing else to qemu-img: no path, no
    protocol such as ``nbd:``, no option."""
    return bool(text) and text.isprintable() and text[0] not in ".-" and not set("/:") & set(text)


def _read_chain_file(path: Path) -> ChainFile:
    found = read_file(path)
    manifest = read_manifest(path.with_name(path.name + MANIFEST_SUFFIX))
    return ChainFile(path, found.header, found.information, found.place, found.problem, manifest)


def read_manifest(path: Path) -> bytes | None:
    """The bytes of the manifest in ``path``, or None where there is no such file.

    Raises:
        FormatError: it is no manifest.
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_SIZE + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        parse_manifest(data)
    except FormatError as exc:
        raise type(exc)(f"{path}: {exc}") from exc
    return data


def _header_troubles(file: ChainFile) -> Iterable[Trouble]:
    why = qcow2.unsupported(file.header)
    if why:
        yield Trouble(Fault.UNREADABLE, file.name, why)
    form = file.header.backing_format
    if file.header.backing_name is not None and form not in ("", "qcow2"):
        yield Trouble(Fault.UNREADABLE, file.name, f"its parent is of format {form}, not qcow2")


def _information_troubles(files: list[ChainFile]) -> Iterable[Trouble]:
    """Where check information contradicts the files' order or the manifests beside them."""
    lineages = {file.manifest.lineage for file in files if file.manifest}
    for file in files:
        own = file.information.own if file.information else None
        if own is not None and file.expected not in (None, own):
            text = "its check information is not the one of its manifest and name"
            yield Trouble(Fault.OTHER_INFORMATION, file.name, text)
            return
    if len(lineages) > 1:
        yield Trouble(Fault.FOREIGN, files[-1].name, "its files belong to several lineages")
        return
    broken = check_pairs([file.held() for file in files])
    if broken is not None:
        index, fault = broken
        text = "its check information does not fit the file below it"
        yield Trouble(fault, files[index].name, text)
