"""Which shared libraries (and which interpreter) a set of ELF files needs.

``libraries_of`` follows DT_NEEDED from file to file with pyelftools, without running
anything: ``ldd`` executes what it inspects, and cannot look into another system's tree. The
search order is glibc's (ld.so(8)): DT_RPATH or DT_RUNPATH of the file, then the directories
of /etc/ld.so.conf, then Debian's multiarch directories and the usual ones.

A library is named by the path under which the loader opens it (``libsodium.so.23``); where
that is a symbolic link, ``with_links`` gives the link and the file that it leads to.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from initramfs.errors import ClosureError

ELF_MAGIC = b"\x7fELF"
MULTIARCH = {"EM_X86_64": "x86_64-linux-gnu", "EM_AARCH64": "aarch64-linux-gnu"}
# Debian's loader looks here with no ld.so.cache, as in an initramfs.
USUAL_DIRS = ("/lib/{triplet}", "/usr/lib/{triplet}", "/lib", "/usr/lib", "/lib64", "/usr/lib64")


@dataclass(frozen=True)
class ElfFacts:
    """What one ELF file says about its own needs."""

    machine: str
    bits: int
    needed: tuple[str, ...]
    interpreter: str | None
    search: tuple[str, ...]


def is_elf(path: Path) -> bool:
    """Whether the file begins with the ELF magic (scripts and data do not)."""
    with path.open("rb") as stream:
        return stream.read(4) == ELF_MAGIC


def facts_of(path: Path) -> ElfFacts:
    """Read the dynamic section and the interpreter of one ELF file.

    Raises ClosureError: the file cannot be parsed as ELF.
    """
    needed: list[str] = []
    search: list[str] = []
    interpreter: str | None = None
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            dynamic = elf.get_section_by_name(".dynamic")
            if isinstance(dynamic, DynamicSection):
                for tag in dynamic.iter_tags():
                    if tag.entry.d_tag == "DT_NEEDED":
                        needed.append(str(tag.needed))
                    elif tag.entry.d_tag == "DT_RUNPATH":
                        search.extend(str(tag.runpath).split(":"))
                    elif tag.entry.d_tag == "DT_RPATH":
                        search.extend(str(tag.rpath).split(":"))
            for segment in elf.iter_segments():
                if segment["p_type"] == "PT_INTERP":
                    interpreter = str(segment.get_interp_name())
            machine, bits = str(elf["e_machine"]), int(elf.elfclass)
    except (ELFError, struct.error, UnicodeDecodeError) as exc:
        raise ClosureError(f"{path} cannot be read as an ELF file ({exc}): is it damaged?") from exc
    expanded = tuple(
        part.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", str(path.parent))
        for part in search
        if part
    )
    return ElfFacts(machine, bits, tuple(needed), interpreter, expanded)


def libraries_of(paths: Iterable[Path], root: Path = Path("/")) -> frozenset[Path]:
    """Every library and interpreter that the ELF files at ``paths`` need, directly or not.

    ``root`` is the system in which libraries are looked for ("/" is this machine); the paths
    returned lie inside it, are the names that the loader opens and may be symbolic links.
    Files that are not ELF need nothing. Raises ClosureError: a library is in none of the
    directories, with the name of the file that wants it.
    """
    found: dict[str, Path] = {}
    queue = [path for path in paths if is_elf(path)]
    seen = {path.resolve() for path in queue}
    configured = _configured_dirs(root)
    while queue:
        path = queue.pop()
        facts = facts_of(path)
        wanted = [_find(name, path, facts, configured, root) for name in facts.needed]
        if facts.interpreter is not None:
            interpreter = _inside(root, facts.interpreter)
            if not interpreter.exists():
                raise ClosureError(f"{path} needs the loader {facts.interpreter}: not in {root}")
            wanted.append(interpreter)
        for library in wanted:
            real = library.resolve()
            found.setdefault(_merged(library), library)
            if real not in seen:
                seen.add(real)
                queue.append(library)
    return frozenset(found.values())


def with_links(paths: Iterable[Path]) -> frozenset[Path]:
    """``paths`` and, for each that is a symbolic link, the file or link that it leads to."""
    result: set[Path] = set()
    for path in paths:
        step = path
        result.add(step)
        while step.is_symlink():
            step = Path(os.path.normpath(step.parent / step.readlink()))
            result.add(step)
    return frozenset(result)


def _merged(path: Path) -> str:
    """One spelling for /lib/x and /usr/lib/x where /lib is a link to /usr/lib."""
    return str(path.parent.resolve() / path.name)


def _find(
    name: str, wanted_by: Path, facts: ElfFacts, configured: tuple[str, ...], root: Path
) -> Path:
    if "/" in name:
        candidates = [_inside(root, name)]
    else:
        triplet = MULTIARCH.get(facts.machine, "")
        usual = tuple(place.format(triplet=triplet) for place in USUAL_DIRS)
        places = [Path(place) for place in facts.search]
        places += [_inside(root, place) for place in configured + usual]
        candidates = [place / name for place in places]
    for candidate in candidates:
        if candidate.is_file() and _fits(candidate, facts):
            return candidate
    where = ", ".join(sorted({str(candidate.parent) for candidate in candidates}))
    raise ClosureError(
        f"{wanted_by} needs the library {name}, which is not in {where}: install its package"
    )


def _fits(candidate: Path, facts: ElfFacts) -> bool:
    """Whether the library is of the same machine (a 32-bit one of the same name may exist)."""
    with candidate.open("rb") as stream:
        if stream.read(4) != ELF_MAGIC:
            return False
        stream.seek(0)
        elf = ELFFile(stream)
        return str(elf["e_machine"]) == facts.machine and int(elf.elfclass) == facts.bits


def _configured_dirs(root: Path) -> tuple[str, ...]:
    return tuple(_read_configuration(root, "/etc/ld.so.conf", depth=0))


def _read_configuration(root: Path, name: str, depth: int) -> list[str]:
    """Directories of one ld.so.conf file, with its includes (depth guards against a cycle)."""
    path = _inside(root, name)
    if depth > 4 or not path.is_file():
        return []
    directories: list[str] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) == 2 and words[0] == "include":
            pattern = str(Path(name).parent / words[1]).lstrip("/")
            for match in sorted(root.glob(pattern)):
                inner = "/" + str(match.relative_to(root))
                directories += _read_configuration(root, inner, depth + 1)
        elif len(words) == 1:
            directories.append(words[0])
    return directories


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")
