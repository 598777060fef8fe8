"""The table of all targets: every parser of bytes that bootsvc has not come to trust yet.

The memory bounds are stated from the parser's own limits: a few copies of the longest input that
it accepts, and what construct, json or the standard library make of it.
"""

from __future__ import annotations

from bootsvc.errors import (
    AlteredImageError,
    BootError,
    FormatError,
    ImageError,
    ImageTooLargeError,
    LayoutError,
    NetworkError,
    NoImageError,
    SettingsError,
    SignatureError,
    SizeMismatchError,
    StatusLostError,
    StorageError,
    ToolError,
)
from bootsvc.formats import qcow2
from bootsvc.formats.check_information import SIZE
from bootsvc.formats.footer import MAX_MANIFEST_SIZE
from bootsvc.units import KIB, MIB
from tests.fuzz import chains, image_store, network, parsers, seeds, vhd_disks
from tests.fuzz.parsers import UNPACKED, UNPACKER_MEMORY
from tests.fuzz.target import Target

SMALL = 256 * KIB
"""For formats of fixed size: a sector or a block, and the objects made of its fields."""

TEXT = 2 * MIB
"""For texts of at most 4 KiB."""

KERNEL = 3 * UNPACKED + UNPACKER_MEMORY
"""The unpacker's own, its output, and the copies that joining and reading it make."""

_RECORD = (FormatError,)
_LOCATOR = (FormatError, NoImageError, SizeMismatchError)
_BOOT_FILES = (BootError, FormatError, ToolError)
_KERNEL = (FormatError, ToolError)
_IMAGE = (FormatError, ImageError, StorageError)

_MANIFEST_WORDS = (
    *(b'"%s": ' % key for key in (b"size", b"root", b"boot", b"initrd", b"parent", b"options")),
    *(
        b"null",
        b"true",
        b"1e999",
        b"NaN",
        b"-1",
        b'"\\ud800"',
        b"[[[[",
        b'{"":',
        b"18446744073709551616",
    ),
)
_SETTING_WORDS = (
    *(b"tries", b"restore", b"crash_limit", b"watchdog_s", b"compatible", b"disk_wait_s"),
    *(b" = ", b"true", b"0x", b"'''", b'"""', b"[[[[", b"{a=", b"1979-05-27T07:32:00Z", b"inf"),
)
_OPTION_WORDS = (
    *(b"root=", b"init=", b"panic=", b"BOOT_IMAGE=", b"--", b'"', b"bootsvc.tries=", b"rw"),
    *(b"bootsvc.area=", b"bootsvc.restore=on", b"bootsvc.identity=", b"bootsvc.transaction="),
)
_ENTRY_WORDS = (
    *(b"linux ", b"initrd ", b"options ", b"version ", b"boot/loader/entries/a.conf\n", b" -> "),
    *(b"boot/vmlinuz-", b"boot/initrd.img-", b"boot/vmlinuz", b"..", b"~", b"\x1e"),
)
_REQUEST_WORDS = (
    *(b'{"do":"%s"' % name for name in (b"facts", b"perform", b"cancel", b"hold", b"unlock")),
    *(b',"%s":' % name for name in (b"action", b"arguments", b"word", b"password", b"id")),
    *(b'"\\ud800"', b'"\\u0000"', b"[[[[", b'{"":', b"1e999", b"null", b"}\n", b"\r\n"),
)
_ANSWER_WORDS = (
    *(b"HTTP/1.1 ", b"206", b"200", b"302", b"503", b" OK\r\n", b"\r\n\r\n", b"\n ", b": "),
    *(b"Content-Range: bytes ", b"Content-Length: ", b"Content-Encoding: gzip", b"Location: "),
    *(b"Transfer-Encoding: chunked", b"Connection: close", b"0-8/9", b"-1", b"http://", b"/*"),
)
_ENV_WORDS = (
    *(b"BOOTSVC_AREA=", b"BOOTSVC_IDENTITY=", b"BOOTSVC_TRANSACTION=", b"BOOTSVC_TRIAL=1"),
    *(b"'primary'", b"'backup'", b"\\", b"'"),
)

TARGETS = {
    one.name: one
    for one in (
        Target("record", parsers.record, _RECORD, SMALL, seeds.records, "record", 600),
        Target(
            "record-repaired", parsers.record_repaired, _RECORD, SMALL, seeds.records, "record", 512
        ),
        Target(
            "record-copies",
            parsers.record_copies_repaired,
            (StatusLostError,),
            SMALL,
            seeds.record_copies,
            "record",
            1024,
        ),
        Target("locator", parsers.locator, _LOCATOR, SMALL, seeds.locators, "locator", 4200),
        Target(
            "locator-repaired",
            parsers.locator_repaired,
            _LOCATOR,
            SMALL,
            seeds.locators,
            "locator",
            400,
        ),
        Target(
            "manifest",
            parsers.manifest,
            (FormatError,),
            64 * MAX_MANIFEST_SIZE,
            seeds.manifests,
            "manifest",
            words=_MANIFEST_WORDS,
        ),
        Target(
            "gpt", parsers.gpt, (FormatError, StorageError), 4 * MIB, seeds.disks, "gpt", 24 * KIB
        ),
        Target(
            "gpt-repaired",
            parsers.gpt_repaired,
            (FormatError, StorageError),
            4 * MIB,
            seeds.disks,
            "gpt",
            24 * KIB,
        ),
        Target("esp", parsers.esp, (FormatError, LayoutError), SMALL, seeds.esps, "esp"),
        Target(
            "tree", parsers.tree, (AlteredImageError, SizeMismatchError), SMALL, seeds.trees, "tree"
        ),
        Target(
            "tree-repaired",
            parsers.tree_repaired,
            (SizeMismatchError,),
            SMALL,
            seeds.leaves,
            "tree",
            8 * KIB,
        ),
        Target(
            "public-key", parsers.public_key, (FormatError,), SMALL, seeds.public_keys, "key", 256
        ),
        Target(
            "signing-key",
            parsers.signing_key,
            (FormatError,),
            SMALL,
            seeds.signing_keys,
            "key",
            256,
        ),
        Target(
            "signatures",
            parsers.signatures,
            (SignatureError,),
            SMALL,
            seeds.signed,
            "signatures",
            300,
        ),
        Target(
            "signatures-repaired",
            parsers.signatures_repaired,
            (SignatureError,),
            SMALL,
            seeds.signed,
            "signatures",
            300,
        ),
        Target(
            "failed-list",
            parsers.failed_images,
            (),
            SMALL,
            seeds.failed_images,
            "failed-list",
            5 * KIB,
        ),
        Target(
            "boot-entry",
            parsers.boot_entry,
            (BootError,),
            TEXT,
            seeds.boot_entries,
            "boot-entry",
            8 * KIB,
            words=_ENTRY_WORDS,
        ),
        Target(
            "boot-tree",
            parsers.boot_tree,
            _BOOT_FILES,
            TEXT,
            seeds.boot_trees,
            "boot-tree",
            words=_ENTRY_WORDS,
        ),
        Target(
            "qcow2-header",
            chains.qcow2_header,
            (FormatError,),
            SMALL,
            chains.heads,
            "qcow2",
            words=(qcow2.MAGIC, qcow2.OUR_MAGIC, b"\xb0\x07\x5c\x01", b"\xe2\x79\x2a\xca"),
        ),
        Target(
            "vhd",
            vhd_disks.vhd,
            (FormatError,),
            SMALL,
            vhd_disks.disks,
            "vhd",
            1536,
        ),
        Target(
            "check-information",
            chains.check_information,
            (FormatError,),
            SMALL,
            chains.informations,
            "check-information",
            200,
        ),
        Target(
            "check-information-repaired",
            chains.check_information_repaired,
            (FormatError,),
            SMALL,
            chains.informations,
            "check-information",
            SIZE,
        ),
        Target(
            "pack-header",
            image_store.pack_header_repaired,
            (FormatError,),
            SMALL,
            image_store.pack_headers,
            "image-store",
        ),
        Target(
            "pack-frame",
            image_store.frame,
            (FormatError,),
            4 * MIB,
            image_store.frames,
            "image-store",
            20 * KIB,
        ),
        Target(
            "recipe",
            image_store.recipe_repaired,
            (FormatError, SizeMismatchError),
            8 * MIB,
            image_store.recipes,
            "image-store",
        ),
        Target(
            "catalogue",
            image_store.catalogue,
            (FormatError,),
            SMALL,
            image_store.catalogues,
            "image-store",
            words=_MANIFEST_WORDS,
        ),
        Target(
            "version-document",
            image_store.version,
            (FormatError, SizeMismatchError),
            SMALL,
            image_store.versions,
            "image-store",
            words=_MANIFEST_WORDS,
        ),
        Target("notes", parsers.notes, (), SMALL, seeds.notes, "elf", 256),
        Target(
            "elf",
            parsers.elf,
            (FormatError,),
            8 * MIB,
            seeds.elfs,
            "elf",
        ),
        Target("kernel", parsers.kernel, _KERNEL, KERNEL, seeds.kernels, "kernel"),
        Target(
            "kernel-repaired",
            parsers.kernel_repaired,
            _KERNEL,
            KERNEL,
            seeds.packed_elfs,
            "elf",
        ),
        Target(
            "cmdline",
            parsers.cmdline,
            (ValueError,),
            TEXT,
            seeds.command_lines,
            "cmdline",
            words=_OPTION_WORDS,
        ),
        Target(
            "handover",
            parsers.handover,
            (),
            TEXT,
            seeds.handovers,
            "handover",
            words=(*_ENV_WORDS, *_OPTION_WORDS),
        ),
        Target(
            "requests",
            parsers.requests,
            (),
            TEXT,
            seeds.requests,
            "requests",
            8 * KIB,
            words=_REQUEST_WORDS,
        ),
        Target(
            "server-answer",
            network.server_answer,
            (NetworkError, ImageTooLargeError),
            4 * MIB,
            network.answers,
            "server-answer",
            words=_ANSWER_WORDS,
        ),
        Target(
            "address",
            network.address,
            (),
            TEXT,
            network.addresses,
            "address",
            words=(b"http://", b"://", b"[", b"gateway=", b"dns=", b"interface=", b"ip=", b"mask="),
        ),
        Target(
            "settings-toml",
            parsers.settings_toml,
            (SettingsError,),
            4 * MIB,
            seeds.toml_settings,
            "settings",
            8 * KIB,
            words=_SETTING_WORDS,
        ),
        Target(
            "settings-json",
            parsers.settings_json,
            (SettingsError,),
            4 * MIB,
            seeds.json_settings,
            "settings",
            8 * KIB,
            words=_SETTING_WORDS,
        ),
        Target(
            "kernel-options",
            parsers.kernel_options,
            (SettingsError,),
            TEXT,
            seeds.kernel_options,
            "cmdline",
            8 * KIB,
            words=_OPTION_WORDS,
        ),
        Target(
            "image-file",
            parsers.image_file,
            _IMAGE,
            4 * MIB,
            seeds.image_files,
            "image-file",
            16 * KIB,
        ),
        Target(
            "image-file-repaired",
            parsers.image_file_repaired,
            _IMAGE,
            4 * MIB,
            seeds.image_parts,
            "image-file",
            words=_MANIFEST_WORDS,
        ),
    )
}
"""Every target by its name."""
