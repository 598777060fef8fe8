"""Kernel command lines: reading ours, composing the image's (DESIGN 5). Pure.

The image's signed options come first, ours last, and the kernel lets the last one win. The image
may not override ``root=``, ``ro``, ``init=``, ``panic=`` or any ``bootsvc.*``: where its options
name one of these, it is left out. So is ``--``, behind which the kernel reads no option.
"""

from __future__ import annotations

from collections.abc import Mapping

MAX_LENGTH = 2047
"""Bytes that the x86 kernel accepts, without the final NUL."""

OURS = ("init", "root", "ro", "rw", "panic", "gpt", "rdinit", "initrd", "BOOT_IMAGE")
"""Options that bootsvc or the boot loader sets, so the image cannot."""


def parse_options(cmdline: str) -> dict[str, str]:
    """``name=value`` -> value and ``name`` -> empty text; the last one wins.

    Quoted values with spaces are kept whole, as the kernel does.
    """
    return dict(_split_option(word) for word in split_words(cmdline))


def split_words(cmdline: str) -> list[str]:
    """The words of a command line; double quotes hold one together, as for the kernel."""
    words, word, quoted = [], "", False
    for char in cmdline.strip("\n\0 "):
        if char == '"':
            quoted = not quoted
        if char.isspace() and not quoted:
            words.append(word)
            word = ""
        else:
            word += char
    words.append(word)
    return [one for one in words if one]


def image_words(options: str) -> list[str]:
    """The words of the image's signed options that it may decide itself.

    A quote that is never closed would take in what follows; it is closed.
    """
    words = [word for word in split_words(options) if not _is_ours(word)]
    return [word + '"' if word.count('"') % 2 else word for word in words]


def compose(options: str, root_guid: str, init: str, facts: Mapping[str, str]) -> str:
    """The command line for an image.

    Args:
        options: the signed options of its manifest.
        root_guid: GPT partition GUID of the area.
        init: path of the image's first program, from its signed boot section.
        facts: what is handed over, as ``bootsvc.NAME=VALUE``.

    Raises:
        ValueError: longer than the kernel accepts.
    """
    words = image_words(options)
    words += [f"root=PARTUUID={root_guid}", "ro", f"init={init}", "panic=10"]
    words += [f"bootsvc.{name}={value}" for name, value in facts.items()]
    line = " ".join(words)
    if len(line.encode()) > MAX_LENGTH:
        raise ValueError(f"the kernel command line has {len(line)} bytes, at most {MAX_LENGTH}")
    return line


def same_options(signed: str, running: str) -> bool:
    """Whether a kernel started with ``running`` serves an image that asks for ``signed``: equal
    apart from the options that bootsvc or the boot loader sets."""
    return sorted(image_words(signed)) == sorted(image_words(running))


def updater_slot(cmdline: str) -> str:
    """The updater's slot that GRUB started: a, b, or empty where it came from elsewhere."""
    slot = parse_options(cmdline).get("bootsvc.slot", "")
    return slot if slot in ("a", "b") and not is_repair(cmdline) else ""


def is_repair(cmdline: str) -> bool:
    """Whether this updater came from a stick or over the network to repair a machine: its console
    opens at once, and it is none of the machine's own slots."""
    return "bootsvc.repair" in parse_options(cmdline)


def _split_option(word: str) -> tuple[str, str]:
    # The kernel takes "name=a b" in quotes as a whole for name="a b".
    name, _, value = word.removeprefix('"').partition("=")
    return name.removesuffix('"'), value.strip('"')


def _is_ours(word: str) -> bool:
    name, _ = _split_option(word)
    # Shell scripts read the line without regard to quotes: name="a bootsvc.x=y" is two words there.
    parts = (name, *word.split())
    return name in OURS or name == "--" or any(one.startswith("bootsvc.") for one in parts)
