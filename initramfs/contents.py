"""Reads files.toml and modules.toml into frozen records; every entry must have a reason."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initramfs.errors import ContentsError

HERE = Path(__file__).parent
FILES_TOML = HERE / "files.toml"
MODULES_TOML = HERE / "modules.toml"


@dataclass(frozen=True)
class Directory:
    """An empty directory of the initramfs."""

    path: str
    reason: str


@dataclass(frozen=True)
class Device:
    """A device node; ``kind`` is "c" or "b"."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int
    reason: str


@dataclass(frozen=True)
class Symlink:
    """A symbolic link."""

    path: str
    target: str
    reason: str


@dataclass(frozen=True)
class Script:
    """A file of this project; ``source`` is relative to the initramfs package."""

    path: str
    source: str
    mode: int
    reason: str


@dataclass(frozen=True)
class Applets:
    """Busybox applets with one purpose, linked in ``folder``."""

    names: tuple[str, ...]
    reason: str
    folder: str = "/usr/bin"


@dataclass(frozen=True)
class Program:
    """A program of this machine that an installer carries; ``name``: as it is called."""

    name: str
    reason: str


@dataclass(frozen=True)
class PythonExtra:
    """A Python module shipped although the updater's imports do not show it.

    ``when``: "" is always; "installer" is where the updater is to make disks.
    """

    module: str
    reason: str
    when: str = ""


@dataclass(frozen=True)
class StandIn:
    """A small source file that replaces a Python module in the initramfs."""

    module: str
    source: str
    reason: str


@dataclass(frozen=True)
class Contents:
    """All of files.toml."""

    directories: tuple[Directory, ...]
    devices: tuple[Device, ...]
    symlinks: tuple[Symlink, ...]
    scripts: tuple[Script, ...]
    applets: tuple[Applets, ...]
    programs: tuple[Program, ...]
    python: tuple[PythonExtra, ...]
    standins: tuple[StandIn, ...]


@dataclass(frozen=True)
class ModuleChoice:
    """One kernel module of a profile.

    ``optional``: a kernel may lack it. ``options``: its parameters. ``when``: "" is whenever the
    kernel shows a device for it; "network" is when the updater brings the network up.
    """

    name: str
    reason: str
    optional: bool = False
    options: str = ""
    when: str = ""


@dataclass(frozen=True)
class Profile:
    """A named set of kernel modules; those of included profiles come first."""

    name: str
    title: str
    modules: tuple[ModuleChoice, ...]


def read_contents(path: Path = FILES_TOML) -> Contents:
    """Read files.toml. Raises ContentsError: the entry and key that are wrong."""
    text = _load(path)
    known = {"directory", "device", "symlink", "script", "applets", "program", "python", "standin"}
    _refuse_unknown(path, text, known)

    def entries(key: str, kind: type[Any]) -> tuple[Any, ...]:
        return tuple(_record(path, key, kind, item) for item in text.get(key, []))

    applets = tuple(
        _record(path, "applets", Applets, {**item, "names": tuple(item.get("names", []))})
        for item in text.get("applets", [])
    )
    return Contents(
        directories=entries("directory", Directory),
        devices=entries("device", Device),
        symlinks=entries("symlink", Symlink),
        scripts=entries("script", Script),
        applets=applets,
        programs=entries("program", Program),
        python=entries("python", PythonExtra),
        standins=entries("standin", StandIn),
    )


def read_profiles(path: Path = MODULES_TOML) -> dict[str, Profile]:
    """Read modules.toml: name -> profile with everything that it includes.

    Raises ContentsError: an entry is wrong, or a profile includes one that is not there.
    """
    text = _load(path)
    _refuse_unknown(path, text, {"profiles"})
    tables: Mapping[str, Any] = text.get("profiles", {})
    return {name: Profile(name, _title(path, name, tables), _modules(path, name, tables, ()))
            for name in tables}  # fmt: skip


def _title(path: Path, name: str, tables: Mapping[str, Any]) -> str:
    title = tables[name].get("title", "")
    if not isinstance(title, str) or not title:
        raise ContentsError(f"{path}: profile {name} has no title")
    return title


def _modules(
    path: Path, name: str, tables: Mapping[str, Any], inside: tuple[str, ...]
) -> tuple[ModuleChoice, ...]:
    if name not in tables:
        raise ContentsError(f"{path}: profile {name} is not there, but {inside[-1]} includes it")
    if name in inside:
        raise ContentsError(f"{path}: profile {name} includes itself")
    found: dict[str, ModuleChoice] = {}
    for included in tables[name].get("includes", []):
        found |= {
            choice.name: choice for choice in _modules(path, included, tables, (*inside, name))
        }
    for item in tables[name].get("module", []):
        choice: ModuleChoice = _record(path, f"profile {name}", ModuleChoice, item)
        if choice.when not in ("", "network"):
            raise ContentsError(f"{path}: profile {name}: {choice.name}: when = {choice.when!r}?")
        if choice.name in found:
            raise ContentsError(f"{path}: profile {name} lists {choice.name} twice")
        found[choice.name] = choice
    return tuple(found.values())


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as exc:
        raise ContentsError(f"{path} cannot be read: {exc}") from exc


def _record(path: Path, key: str, kind: type[Any], item: Mapping[str, Any]) -> Any:
    name = item.get("path") or item.get("name") or item.get("module") or item.get("names")
    reason = item.get("reason", "")
    if not isinstance(reason, str) or not reason.strip():
        raise ContentsError(f"{path}: {key} {name} has no reason: say why it is needed")
    try:
        return kind(**item)
    except TypeError as exc:
        raise ContentsError(f"{path}: {key} {name}: {exc}") from exc


def _refuse_unknown(path: Path, text: Mapping[str, Any], known: set[str]) -> None:
    for key in text:
        if key not in known:
            raise ContentsError(f"{path}: unknown table {key!r}; known: {', '.join(sorted(known))}")
