"""What each target does with its bytes: the call that the product makes, and what must hold after.

Functions ending in ``_repaired`` first make checksums, digests or signatures right.
"""

from __future__ import annotations

import atexit
import bz2
import gzip
import lzma
import shutil
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest.mock import patch

from bootsvc.boot.cmdline import compose, image_words, parse_options, same_options
from bootsvc.console.protocol import LONGEST_LINE, LONGEST_TEXT, AskPerform, Lines
from bootsvc.errors import AlteredImageError, FormatError
from bootsvc.formats import boot_status, failed_list, fat32, grub_env, updater_slots
from bootsvc.formats.describe import describe_failure, next_start, why_next_start
from bootsvc.formats.elf_notes import build_id_among
from bootsvc.formats.fat32 import FIRST_CLUSTER
from bootsvc.formats.footer import Signature, build_locator, parse_locator
from bootsvc.formats.manifest import build_manifest, parse_manifest
from bootsvc.formats.tree import DIGEST_SIZE, build_tree, checked_leaves
from bootsvc.image import kernel_notes
from bootsvc.image.boot_files import combine_options, find_boot_files, parse_entry
from bootsvc.image.keys import load_signing_key
from bootsvc.image.versions import version_key
from bootsvc.os_side.started import parse_cmdline, parse_env
from bootsvc.sequence.checks import Site, verify_whole
from bootsvc.settings import RANGES, Settings, load, load_built_in, with_kernel_options
from bootsvc.storage.disk import disk_on
from bootsvc.storage.image_file import open_bimg
from bootsvc.storage.status_store import CopyState, newest
from bootsvc.trust.keys import parse_public_key, signing_key_of
from bootsvc.units import BLOCK_SIZE, MIB
from tests.fuzz import repairs
from tests.fuzz.paper_disk import PaperDisk, disk_of, resummed
from tests.image.rootfs import TreeOnPaper, bzimage
from tests.images import COMPATIBLE, KEY, OTHER_KEY

UNPACKED = 8 * MIB
"""What a kernel may unpack to here, in place of the product's ``MAX_UNPACKED_SIZE``."""

UNPACKER_MEMORY = 16 * MIB
"""What an unpacker may take here, in place of the product's ``MAX_UNPACKER_MEMORY``."""

ROOT_GUID = "11112222-0000-4000-8000-123456789abc"
MESSAGE = b"a manifest"
BETWEEN_FILES = b"\x1e"
"""Separates the files of a tree on paper."""


def record(data: bytes) -> None:
    status = boot_status.parse(data)
    assert boot_status.parse(boot_status.build(status)) == status
    assert next_start(status)
    assert why_next_start(status)
    assert describe_failure(status.last_failure)


def record_repaired(data: bytes) -> None:
    record(repairs.resummed_record(data))


def record_copies_repaired(data: bytes) -> None:
    """Two copies, one behind the other, of which the newer counts."""
    size = boot_status.RECORD_SIZE
    copies = tuple(_copy(repairs.resummed_record(one)) for one in (data[:size], data[size:]))
    status = newest(copies)
    assert status.sequence == max(one.status.sequence for one in copies if one.status)


def _copy(sector: bytes) -> CopyState:
    try:
        return CopyState(boot_status.parse(sector))
    except FormatError as exc:
        return CopyState(None, str(exc))


def locator(data: bytes) -> None:
    found = parse_locator(data)
    assert parse_locator(build_locator(found)) == found
    assert found.total_size > found.footer_size > BLOCK_SIZE


def locator_repaired(data: bytes) -> None:
    locator(repairs.resummed_locator(data))


def manifest(data: bytes) -> None:
    found = parse_manifest(data)
    assert parse_manifest(build_manifest(found)) == found


def gpt(data: bytes) -> None:
    _check_disk(disk_of(data))


def gpt_repaired(data: bytes) -> None:
    _check_disk(resummed(disk_of(data)))


def _check_disk(device: PaperDisk) -> None:
    disk = disk_on(device)
    assert len(disk.gpt.layout_hash()) == 32
    for part in disk.gpt.partitions:
        assert 0 <= part.offset < part.offset + part.size <= device.size
    assert not any(copy.is_unreadable for copy in disk.status.copies())


def esp(data: bytes) -> None:
    """The volume's first sector, then a mark (1024 bytes), a folder (512 bytes), both sums."""
    grub_env.parse(data[512:1536])
    for entry in fat32.parse_folder(data[1536:2048]):
        assert entry.cluster < 2**32
    sums = data[2048:].partition(b"\0")
    found = updater_slots.parse_sums(sums[0], sums[2])
    assert found.files() == (sums[0], sums[2])
    geometry = fat32.parse_geometry(data[:512])
    regions = updater_slots.regions_of(geometry)
    assert all(
        FIRST_CLUSTER <= run.first < run.end <= geometry.clusters + FIRST_CLUSTER
        for run in (regions.control, *regions.slots.values())
    )


def tree(data: bytes) -> None:
    """Image size (4 bytes), root (32 bytes), and the tree."""
    image_size = int.from_bytes(data[:4], "little")
    root, found = data[4:36].ljust(DIGEST_SIZE, b"\0"), data[36:]
    leaves = checked_leaves(found, root, image_size)
    assert build_tree(leaves) == (found, root)


def tree_repaired(data: bytes) -> None:
    """A place and what is flipped there (3 bytes), then leaves, above which the tree is right."""
    place, flip = struct.unpack("<HB", data[:3].ljust(3, b"\0"))
    leaves = data[3 : 3 + (len(data) - 3) // DIGEST_SIZE * DIGEST_SIZE]
    whole, root = build_tree(leaves)
    image_size = len(leaves) // DIGEST_SIZE * BLOCK_SIZE
    assert checked_leaves(whole, root, image_size) == leaves
    if flip and whole:
        hurt = bytearray(whole)
        hurt[place % len(whole)] ^= flip
        _must_be_altered(bytes(hurt), root, image_size)


def _must_be_altered(whole: bytes, root: bytes, image_size: int) -> None:
    try:
        checked_leaves(whole, root, image_size)
    except AlteredImageError:
        return
    raise AssertionError("a flipped bit of the tree went unnoticed")


def public_key(data: bytes) -> None:
    found = parse_public_key("key", data.decode("utf-8", "replace"))
    assert len(found.key) == 32
    assert len(found.key_id) == 8


def signing_key(data: bytes) -> None:
    assert len(load_signing_key(_as_file(data)).seed) == 32


def signatures(data: bytes) -> None:
    _check_signatures(tuple((data[at : at + 8], data[at + 8 : at + 72]) for at in (1, 73)), data)


def signatures_repaired(data: bytes) -> None:
    _check_signatures(repairs.with_signatures(data[1:], MESSAGE), data)


def _check_signatures(found: tuple[tuple[bytes, bytes], ...], data: bytes) -> None:
    """The first byte says which keys are retired (bits 0, 1), and that these count too (bit 2)."""
    bits = data[0] if data else 0
    keys = [KEY.public(is_retired=bool(bits & 1)), OTHER_KEY.public(is_retired=bool(bits & 2))]
    key = signing_key_of(
        MESSAGE,
        [Signature(key_id, signature) for key_id, signature in found],
        keys,
        allow_retired=bool(bits & 4),
    )
    signer = KEY if key.name == KEY.public().name else OTHER_KEY
    assert vars(signer.sign(MESSAGE)) in [
        {"key_id": key_id, "signature": signature} for key_id, signature in found
    ]
    assert bits & 4 or not key.is_retired


def failed_images(data: bytes) -> None:
    found = failed_list.parse(data)
    assert failed_list.parse(failed_list.build(found)) == found


def boot_entry(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    fields = parse_entry(text)
    for versions in fields.values():
        assert sorted(versions, key=version_key)
    combine_options(" ".join(fields.get("options", [])), [])
    combine_options("", text.splitlines()[:1])


def boot_tree(data: bytes) -> None:
    """A tree on paper: files separated by RS; the first line is ``path`` or ``path -> target``."""
    files: dict[str, bytes | str] = {}
    for piece in data.split(BETWEEN_FILES):
        head, _, content = piece.partition(b"\n")
        path, arrow, target = head.decode("utf-8", "replace").partition(" -> ")
        files["/" + path.strip("/")] = target if arrow else content
    found = find_boot_files(TreeOnPaper(files))
    assert isinstance(files[found.kernel], bytes)
    assert found.initrd is None or isinstance(files[found.initrd], bytes)


def notes(data: bytes) -> None:
    found = build_id_among(data)
    assert bytes.fromhex(found) in data


def elf(data: bytes) -> None:
    kernel_notes.elf_build_id(data)


def kernel(data: bytes) -> None:
    path = _as_file(data)
    with patch.multiple(
        kernel_notes, MAX_UNPACKED_SIZE=UNPACKED, MAX_UNPACKER_MEMORY=UNPACKER_MEMORY
    ):
        kernel_notes.kernel_build_id(path)


PACKERS: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: gzip.compress(data, 1, mtime=0),
    lambda data: lzma.compress(data, preset=0) + b"size",
    lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0) + b"size",
    lambda data: bz2.compress(data, 1) + b"size",
)


def kernel_repaired(data: bytes) -> None:
    """An ELF file, packed in the way that the first byte says, in a bzImage."""
    packer = PACKERS[(data[0] if data else 0) % len(PACKERS)]
    kernel(bzimage(packer(data[1:])))


def cmdline(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    assert same_options(text, text)
    assert all(word.count('"') % 2 == 0 for word in image_words(text))
    parse_options(text)
    line = compose(text, ROOT_GUID, "/sbin/init", {"area": "primary"})
    options = parse_options(line)
    assert options["root"] == f"PARTUUID={ROOT_GUID}"
    assert options["init"] == "/sbin/init"
    assert options["bootsvc.area"] == "primary"


def handover(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for found in (parse_env(text), parse_cmdline(text)):
        if found is not None:
            assert len(found.started.identity) == 32
            assert len(found.started.transaction) == 16


def requests(data: bytes) -> None:
    """However the bytes are cut up, the same requests come of them, and only a line is kept."""
    lines, found = Lines(), []
    for at in range(0, len(data), 7):
        found += lines.feed(data[at : at + 7])
        assert len(lines._held) <= LONGEST_LINE + 1
    assert found == Lines().feed(data)
    for one in found:
        assert repr(one)
        assert one.id.isprintable()
        if isinstance(one, AskPerform):
            texts = (one.action, one.word, *one.arguments, *one.arguments.values())
            assert all(len(text) <= LONGEST_TEXT and text.isprintable() for text in texts)


def settings_toml(data: bytes) -> None:
    _check_settings(load(_as_file(data)))


def settings_json(data: bytes) -> None:
    _check_settings(load_built_in(_as_file(data)))


def kernel_options(data: bytes) -> None:
    options = parse_options(data.decode("utf-8", "replace"))
    _check_settings(with_kernel_options(Settings(), options))


def _check_settings(found: Settings) -> None:
    for name, (low, high) in RANGES.items():
        assert low <= getattr(found, name) <= high
    assert found.policy.tries == found.tries


def image_file(data: bytes) -> None:
    site = Site((KEY.public(),), COMPATIBLE)
    with open_bimg(_as_file(data)) as (device, footer):
        verify_whole(device, site, footer=footer)


def image_file_repaired(data: bytes) -> None:
    image_file(repairs.sealed_image_file(data))
    assert not repairs.is_spoilt(data)


@cache
def _folder() -> Path:
    """A folder in memory where there is one: a disk would be waited for at every input."""
    memory = Path("/dev/shm")  # noqa: S108
    folder = tempfile.mkdtemp(prefix="bootsvc-fuzz-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _as_file(data: bytes) -> Path:
    path = _folder() / "input"
    path.write_bytes(data)
    return path
