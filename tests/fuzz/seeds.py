"""Sound inputs, from which the fuzzer begins: golden bytes and what the product itself writes."""

from __future__ import annotations

import json
import lzma
import struct
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from bootsvc.boot.cmdline import compose
from bootsvc.console.protocol import LONGEST_LINE
from bootsvc.formats import failed_list, grub_env
from bootsvc.formats.footer import Locator, Signature, build_locator
from bootsvc.formats.tree import build_tree, leaves_of
from bootsvc.formats.updater_slots import Sums
from bootsvc.settings import Settings
from bootsvc.units import BLOCK_SIZE, KIB, MIB, round_up
from tests.boot import facts
from tests.formats.tables import write_gpt
from tests.fuzz.paper_disk import SIZE, PaperDisk, resummed
from tests.fuzz.parsers import BETWEEN_FILES, MESSAGE
from tests.image.rootfs import bzimage, elf_with_build_id
from tests.image.rootfs import kernel as packed_kernel
from tests.images import KEY, OTHER_KEY, make_image, random_blocks
from tests.volumes import empty_esp

GOLDEN = Path(__file__).parents[1] / "golden"

HANDOVER = replace(facts.HANDOVER, alarm="io_error")


def records() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(GOLDEN.glob("*.bin")))


def record_copies() -> tuple[bytes, ...]:
    found = records()
    return tuple(first + second for first, second in pairwise(found))


def locators() -> tuple[bytes, ...]:
    two = (Signature(b"k" * 8, b"s" * 64), Signature(b"l" * 8, b"t" * 64))
    return (build_locator(Locator(10_000, BLOCK_SIZE, 700, two)),)


def manifests() -> tuple[bytes, ...]:
    compact = json.dumps(json.loads((GOLDEN / "manifest.json").read_bytes()))
    both = [(GOLDEN / name).read_bytes() for name in ("manifest.json", "manifest-2.json")]
    return (*both, compact.encode())


def disks() -> tuple[bytes, ...]:
    """A whole table, one of which only the spare is left, and one of 4096-byte sectors."""
    disk = _disk(512)
    no_first = disk.head[:512] + bytes(512) + disk.head[1024:]
    return tuple(one.as_bytes() for one in (disk, PaperDisk(no_first, disk.tail, 512), _disk(4096)))


def _disk(sector_size: int) -> PaperDisk:
    """All that bootsvc needs, in tables of eight entries as near to the disk's ends as they go."""
    disk = bytearray(SIZE)
    at, parts = MIB, {}
    for role in ("status", "primary", "backup", "staging", "data"):
        parts[role] = range(at, at + (3 * MIB if role == "status" else 64 * KIB))
        at = parts[role].stop
    write_gpt(disk, parts, sector_size)
    few = round_up(8 * 128, sector_size)
    head, entries = disk[: 2 * sector_size], disk[2 * sector_size : 2 * sector_size + few]
    last = disk[-sector_size:]
    struct.pack_into("<I", head, sector_size + 80, 8)
    struct.pack_into("<QI", last, 72, SIZE // sector_size - 1 - few // sector_size, 8)
    head[0] = sector_size == 4096
    tail = entries + last
    return resummed(
        PaperDisk(bytes(head + entries), bytes(tail.rjust(len(head + entries), b"\0")), sector_size)
    )


def esps() -> tuple[bytes, ...]:
    found = []
    for sector_size in (512, 4096):
        volume = empty_esp(sector_size)
        mark = grub_env.build({"try": "b", "tried": ""})
        at = volume.index(b"A          ") // 512 * 512
        sums = b"\0".join(Sums.of(b"kernel", b"initramfs").files())
        found.append(volume[:512] + mark + volume[at : at + 512] + sums)
    return tuple(found)


def trees() -> tuple[bytes, ...]:
    found = []
    for blocks in (1, 2, 130):
        leaves = leaves_of(bytes(blocks * BLOCK_SIZE))
        tree, root = build_tree(leaves)
        found.append(struct.pack("<I", blocks * BLOCK_SIZE) + root + tree)
    return tuple(found)


def leaves() -> tuple[bytes, ...]:
    return tuple(bytes(3) + leaves_of(random_blocks(blocks, seed=1)) for blocks in (1, 2, 130))


def public_keys() -> tuple[bytes, ...]:
    text = KEY.public().key.hex().encode()
    return (text + b"\n", text + b"\nretired\n")


def signing_keys() -> tuple[bytes, ...]:
    return (bytes([KEY.seed]).hex().encode() * 32 + b"\n",)


def signed() -> tuple[bytes, ...]:
    pieces = [one.sign(MESSAGE) for one in (KEY, OTHER_KEY)]
    both = b"".join(one.key_id + one.signature for one in pieces)
    return (b"\0" + both, b"\1" + both[:72], b"\7" + both)


def failed_images() -> tuple[bytes, ...]:
    return (failed_list.build(bytes([number]) * 32 for number in range(1, 4)),)


def boot_entries() -> tuple[bytes, ...]:
    entry = b"title Debian\nversion 6.1.0-56\nlinux /os/k\ninitrd\t/os/i\n"
    return (entry + b'options quiet root=UUID=1 x="a b"\noptions rw\n# done\n',)


def boot_trees() -> tuple[bytes, ...]:
    plain = (b"boot/vmlinuz-6.9\nk", b"boot/vmlinuz-6.10~rc1\nk", b"boot/initrd.img-6.9\ni")
    links = (
        *(b"boot -> usr/boot", b"usr/boot/vmlinuz-1 -> /usr/lib/x/../k", b"usr/lib/k\nk"),
        *(b"usr/boot/initrd.img-1 -> i", b"usr/boot/i\ni", b"usr/lib/x/y\n"),
    )
    entry = b"boot/loader/entries/a.conf\nversion 5\nlinux /os/k\ninitrd /os/i\noptions quiet"
    entries = (entry, b"boot/os/k\nk", b"os/i\ni", b"boot/loader/entries/b.conf\nlinux /gone")
    return tuple(BETWEEN_FILES.join(files) for files in (plain, links, entries))


def notes() -> tuple[bytes, ...]:
    return (elf_with_build_id()[120:],)


def elfs() -> tuple[bytes, ...]:
    return (elf_with_build_id(), elf_with_note_section())


def elf_with_note_section() -> bytes:
    """An ELF file (64 bit) without segments; its build-id stands in a section."""
    note = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(range(20))
    names = b"\0.note\0.names\0"
    sections = ((0, 0, 0, 0), (1, 7, 64, len(note)), (7, 3, 64 + len(note), len(names)))
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, at, size, 0, 0, 4, 0)
        for name, kind, at, size in sections
    )
    at = 64 + len(note) + len(names)
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, at, 0, 64, 56, 0, 64, 3, 2)
    return header + note + names + table


def packed_elfs() -> tuple[bytes, ...]:
    return tuple(bytes([kind]) + elf_with_build_id() for kind in range(4))


def kernels() -> tuple[bytes, ...]:
    elf = elf_with_build_id()
    by_program = [
        subprocess.run(command, input=elf, capture_output=True, check=True).stdout + b"size"
        for command in (["zstd", "-qc"], ["lz4", "-qlc"])
    ]
    alone = lzma.compress(elf, lzma.FORMAT_ALONE) + b"size"
    return (packed_kernel(), elf, *(bzimage(one) for one in (*by_program, alone)))


def command_lines() -> tuple[bytes, ...]:
    options = 'BOOT_IMAGE=/a quiet x="a b" -- bootsvc.tries=2 bootsvc.restore=off'
    line = compose(options, HANDOVER.root_guid, HANDOVER.init, HANDOVER.kernel_facts())
    return (options.encode(), line.encode())


def handovers() -> tuple[bytes, ...]:
    return (HANDOVER.env_text().encode(), *command_lines())


def toml_settings() -> tuple[bytes, ...]:
    values = (f"{key} = {json.dumps(value)}\n" for key, value in vars(Settings()).items())
    return ("".join(values).encode(), b"[table]\na.b = [1, 0x2, 3.0, {c = '''x'''}]\n")


def json_settings() -> tuple[bytes, ...]:
    return (json.dumps(vars(Settings())).encode(), b"[]", b'{"triez": 1e3}')


def kernel_options() -> tuple[bytes, ...]:
    return (b"bootsvc.tries=3 bootsvc.restore=on bootsvc.watchdog_s=60 bootsvc.disk_wait_s=1",)


def image_files() -> tuple[bytes, ...]:
    return (make_image(b"image").as_file(), b"hsqs".ljust(2 * BLOCK_SIZE, b"\0"))


def image_parts() -> tuple[bytes, ...]:
    manifest = make_image(b"image").manifest_bytes
    plans = (bytes(8), b"\1" + bytes(7), bytes(6) + b"\1\0", bytes(6) + b"\2\0", bytes(7) + b"\1")
    return tuple(plan + manifest + b"\0" + b"an image" for plan in plans)


def zstd_bomb() -> bytes:
    """A bzImage of a few kilobytes whose payload unpacks to 64 MiB."""
    packed = subprocess.run(
        ["zstd", "-qc19"], input=bytes(64 * MIB), capture_output=True, check=True
    ).stdout
    return bzimage(packed + b"size")


def requests() -> tuple[bytes, ...]:
    """Requests of programs: one of each, and one that is as long as it may be."""
    perform = {"do": "perform", "action": "verify", "arguments": {"area": "all"}, "word": "x"}
    asked = (perform, {"do": "unlock", "password": "open sesame", "id": "1"}, {"do": "hold"})
    each = b"".join(json.dumps(one).encode() + b"\r\n" for one in asked)
    return (each, b'{"do":' + b'"facts"}'.rjust(LONGEST_LINE - 6) + b"\n")
