"""Kernel modules: chosen names, their dependencies, and the tables that modprobe reads.

Everything is read from the modules' own ``.modinfo`` sections (name, depends, softdep,
alias), which is also where depmod has it from. So an extracted kernel package, which brings
no modules.dep, serves as well as an installed kernel, and nothing is written into its tree.

busybox's modprobe knows no soft dependencies. A ``softdep ... pre:`` (libcrc32c wants
crc32c_generic, LAB.md section 3) is therefore written as a dependency into the generated
modules.dep. Compressed modules (.ko.xz, .ko.zst of newer Debian kernels) are unpacked:
busybox cannot load them, and the whole archive compresses better so.
"""

from __future__ import annotations

import io
import lzma
import subprocess
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from initramfs.errors import ModuleError

SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


def canonical(name: str) -> str:
    """A module's name with underscores, as the kernel reports it (file names vary)."""
    return name.replace("-", "_")


@dataclass(frozen=True)
class KernelTree:
    """One kernel's files: ``modules`` is .../lib/modules/RELEASE, ``boot`` holds vmlinuz."""

    release: str
    modules: Path
    boot: Path

    @classmethod
    def installed(cls, release: str) -> KernelTree:
        """The kernel of that release on this machine.

        Raises ModuleError, with the releases that are there.
        """
        modules = Path("/lib/modules") / release
        if not (modules / "kernel").is_dir():
            there = ", ".join(_releases(Path("/lib/modules"))) or "none"
            raise ModuleError(f"no kernel {release} under /lib/modules (installed: {there})")
        return cls(release, modules, Path("/boot"))

    @classmethod
    def extracted(cls, root: Path, release: str | None = None) -> KernelTree:
        """The kernel in an extracted package tree; its release is found when not given.

        Raises ModuleError: no kernel, or several and no release was named.
        """
        for place in (root / "usr/lib/modules", root / "lib/modules"):
            releases = [name for name in _releases(place) if release in (None, name)]
            if len(releases) == 1:
                return cls(releases[0], place / releases[0], root / "boot")
            if releases:
                raise ModuleError(f"{place} holds several kernels: name one of {releases}")
        raise ModuleError(f"no kernel {release or ''} in {root}: extract a linux-image package")

    @property
    def vmlinuz(self) -> Path:
        """The kernel image."""
        return self.boot / f"vmlinuz-{self.release}"

    @cached_property
    def config(self) -> Mapping[str, str]:
        """The kernel's configuration, ``CONFIG_X`` -> value; empty where no file is there."""
        path = self.boot / f"config-{self.release}"
        if not path.is_file():
            return {}
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs = (line.partition("=") for line in lines if line.startswith("CONFIG_"))
        return {key: value for key, _, value in pairs}

    @cached_property
    def builtin(self) -> frozenset[str]:
        """Names of the modules that are part of the kernel image."""
        path = self.modules / "modules.builtin"
        if not path.is_file():
            return frozenset()
        lines = path.read_text(encoding="utf-8").split()
        return frozenset(canonical(_stem(Path(line))) for line in lines)

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """Every loadable module, canonical name -> file."""
        found: dict[str, Path] = {}
        for path in sorted(self.modules.rglob("*.ko*")):
            if path.name.endswith(SUFFIXES):
                found.setdefault(canonical(_stem(path)), path)
        return found


@dataclass(frozen=True)
class Module:
    """One loadable module, unpacked: ``path`` is relative to lib/modules/RELEASE."""

    name: str
    path: str
    data: bytes = field(repr=False)
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """What ``select`` chose.

    ``wanted`` are the loadable modules asked for, ``modules`` these and all that they depend
    on; ``builtin`` need no file; ``missing`` are not in this kernel at all.
    """

    release: str
    modules: tuple[Module, ...]
    wanted: tuple[str, ...]
    builtin: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def modules_dep(self) -> str:
        """Text of modules.dep: each module with all that must be loaded first.

        Modprobe loads from the right end of a line to its left, as with depmod's own.
        """
        by_name = {module.name: module for module in self.modules}
        lines = []
        for module in self.modules:
            needs = [by_name[name].path for name in reversed(_load_order(module.name, by_name))]
            lines.append(f"{module.path}: {' '.join(needs[1:])}".rstrip())
        return "\n".join(lines) + "\n" if lines else ""

    @property
    def modules_alias(self) -> str:
        """Text of modules.alias for the chosen modules only."""
        return self.aliases()

    def aliases(self, but: Container[str] = ()) -> str:
        """The same without the modules named in ``but``: no device is a reason to load them."""
        lines = [
            f"alias {alias} {module.name}"
            for module in self.modules
            if module.name not in but
            for alias in module.aliases
        ]
        return "\n".join(lines) + "\n" if lines else ""


def select(tree: KernelTree, names: Iterable[str]) -> Selection:
    """Resolve module names to files with their hard and soft dependencies.

    A name that the kernel has neither as a module nor built in comes back in ``missing``; the
    caller knows which may be. Raises ModuleError: a dependency of a module is not there, or
    a module file cannot be read.
    """
    loaded: dict[str, Module] = {}
    wanted: list[str] = []
    builtin: list[str] = []
    missing: list[str] = []
    for name in dict.fromkeys(canonical(name) for name in names):
        if name in tree.files:
            wanted.append(name)
            _add(tree, name, loaded)
        elif name in tree.builtin:
            builtin.append(name)
        else:
            missing.append(name)
    return Selection(
        release=tree.release,
        modules=tuple(loaded[name] for name in sorted(loaded)),
        wanted=tuple(wanted),
        builtin=tuple(builtin),
        missing=tuple(missing),
    )


def _add(tree: KernelTree, name: str, loaded: dict[str, Module]) -> None:
    if name in loaded:
        return
    path = tree.files[name]
    data = _unpacked(path)
    info = modinfo(data, path)
    depends: list[str] = []
    for wish in info.get("depends", []):
        for needed in filter(None, map(canonical, wish.split(","))):
            if needed in tree.files:
                depends.append(needed)
            elif needed not in tree.builtin:
                raise ModuleError(f"{path} depends on {needed}, which kernel {tree.release} lacks")
    # A soft dependency may be absent: it is a wish for whoever has it.
    depends += [soft for soft in _soft_before(info) if soft in tree.files and soft != name]
    relative = path.relative_to(tree.modules)
    plain = relative.with_name(_stem(relative, with_dashes=True) + ".ko")
    loaded[name] = Module(
        name=name,
        path=str(plain),
        data=data,
        depends=tuple(dict.fromkeys(depends)),
        aliases=tuple(dict.fromkeys(info.get("alias", []))),
    )
    for needed in loaded[name].depends:
        _add(tree, needed, loaded)


def modinfo(data: bytes, path: Path) -> dict[str, list[str]]:
    """Read the ``.modinfo`` section of a module: key -> values in their order.

    Raises ModuleError: ``data`` (the content of ``path``) is no kernel module.
    """
    try:
        section = ELFFile(io.BytesIO(data)).get_section_by_name(".modinfo")
    except ELFError as exc:
        raise ModuleError(f"{path} is no kernel module ({exc}): is it damaged?") from exc
    if section is None:
        raise ModuleError(f"{path} has no .modinfo section: is it a kernel module?")
    values: dict[str, list[str]] = {}
    for item in section.data().split(b"\0"):
        key, _, value = item.decode("utf-8", errors="replace").partition("=")
        if key:
            values.setdefault(key, []).append(value)
    return values


def _soft_before(info: Mapping[str, list[str]]) -> list[str]:
    """Names behind ``pre:`` in softdep values ("pre: a b post: c")."""
    names: list[str] = []
    for value in info.get("softdep", []):
        before = False
        for word in value.split():
            if word.endswith(":"):
                before = word == "pre:"
            elif before:
                names.append(canonical(word))
    return names


def _load_order(name: str, by_name: Mapping[str, Module]) -> list[str]:
    """Names in an order in which they can be loaded, ``name`` last."""
    order: list[str] = []
    begun: set[str] = set()

    def visit(current: str) -> None:
        if current in begun:
            return
        begun.add(current)
        for needed in by_name[current].depends:
            visit(needed)
        order.append(current)

    visit(name)
    return order


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name.endswith(".ko"):
        return data
    try:
        if path.name.endswith(".xz"):
            return lzma.decompress(data)
        tool = "zstd" if path.name.endswith(".zst") else "gzip"
        done = subprocess.run([tool, "-dc"], input=data, capture_output=True, check=True)
    except (lzma.LZMAError, OSError, subprocess.CalledProcessError) as exc:
        raise ModuleError(f"{path} cannot be unpacked: {exc}") from exc
    return done.stdout


def _stem(path: Path, with_dashes: bool = False) -> str:
    stem = path.name.partition(".ko")[0]
    return stem if with_dashes else canonical(stem)


def _releases(place: Path) -> list[str]:
    if not place.is_dir():
        return []
    return sorted(child.name for child in place.iterdir() if (child / "kernel").is_dir())
