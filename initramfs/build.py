"""Puts the updater's initramfs together (``python -m initramfs``)."""

from __future__ import annotations

import json
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from initramfs import closure, compress, installer, modules, python_runtime
from initramfs.contents import HERE, Contents, ModuleChoice, read_contents, read_profiles
from initramfs.cpio import Archive
from initramfs.errors import ContentsError, ModuleError
from initramfs.launcher import LAUNCHER_PATH, launcher_source

PROJECT = HERE.parent
HashBackend = Literal["openssl", "builtin"]
NO_SHELL = "/etc/bootsvc/no-shell"
MODPROBE_CONF = "/etc/modprobe.d/bootsvc.conf"
NETWORK_MODULES = "/usr/lib/bootsvc/network-modules"
CA_FILE = "/etc/bootsvc/ca.pem"


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    ``kernel`` None: no kernel modules. ``profiles``: names in modules.toml. ``entry``: module
    with ``main() -> int`` and, as an option, ``LAZY_IMPORTS``; found below ``project``.
    ``hash_backend``: "openssl" ships _hashlib with libcrypto, "builtin" CPython's own code.
    ``config``: settings file (TOML),
    becomes /etc/bootsvc/bootsvc.json. ``keys``: public keys, ``*.pub``.
    ``https``: the updater fetches from https addresses as well, with TLS by OpenSSL; ``ca``:
    certificates of the authorities that it believes (PEM).
    ``installer``: the initramfs of a machine's own updater; the one that is built then makes disks,
    and puts this initramfs and ``kernel`` on them.
    ``overlay`` and ``busybox`` replace the project's overlay.sh and this machine's busybox.
    ``source_date_epoch``: mtime of every entry, seconds since 1970.
    """

    output: Path
    kernel: modules.KernelTree | None = None
    profiles: tuple[str, ...] = ("virtio-nvme",)
    entry: str = "bootsvc.updater"
    project: Path = PROJECT
    python: Path = Path("/usr/bin/python3")
    hash_backend: HashBackend = "openssl"
    compression: str = "zstd"
    config: Path | None = None
    keys: tuple[Path, ...] = ()
    https: bool = False
    ca: Path | None = None
    installer: Path | None = None
    overlay: Path | None = None
    busybox: Path | None = None
    source_date_epoch: int = 0


@dataclass(frozen=True)
class Item:
    """One entry of the archive, for the table: ``group`` sums up, ``reason`` says why."""

    path: str
    size: int
    group: str
    reason: str


@dataclass(frozen=True)
class BuildReport:
    """What was built: sizes in bytes, entries with their reasons, what the kernel lacks."""

    output: Path
    compression: str
    size: int
    raw_size: int
    items: tuple[Item, ...]
    kernel: str | None
    builtin_modules: tuple[str, ...]
    missing_modules: tuple[str, ...]
    notes: tuple[str, ...]
    group_data: dict[str, bytes]


class _Tree:
    """The archive being filled, with the reason for every entry."""

    def __init__(self, mtime: int) -> None:
        self.archive = Archive(mtime)
        self.items: list[Item] = []
        self.group_data: dict[str, bytearray] = {}

    def file(self, path: str, data: bytes, mode: int, group: str, reason: str) -> None:
        if path in self.archive:
            return
        self.archive.add_file(path, data, mode)
        self._note(path, data, group, reason)

    def link(self, path: str, target: str, group: str, reason: str) -> None:
        if path in self.archive:
            return
        self.archive.add_symlink(path, target)
        self._note(path, target.encode(), group, reason)

    def _note(self, path: str, data: bytes, group: str, reason: str) -> None:
        self.items.append(Item(path, len(data), group, reason))
        self.group_data.setdefault(group, bytearray()).extend(data)


def build(request: BuildRequest) -> BuildReport:
    """Build the initramfs into ``request.output``, replacing it in one step.

    Raises InitramfsError (see errors.py): what is missing, where, and what to install.
    """
    contents = read_contents()
    tree = _Tree(request.source_date_epoch)
    notes: list[str] = []
    _add_skeleton(tree, contents, request)
    programs = [_add_busybox(tree, contents, request)]
    programs += _add_python(tree, contents, request)
    programs += _add_installer(tree, contents, request)
    _add_libraries(tree, programs)
    _add_settings(tree, request, notes)
    selection = _add_modules(tree, request, notes)
    with tempfile.TemporaryDirectory(prefix="initramfs-") as scratch:
        raw = Path(scratch) / "raw.cpio"
        with raw.open("wb") as stream:
            raw_size = tree.archive.write(stream)
        size = _compress_into(raw, request)
    return BuildReport(
        output=request.output,
        compression=request.compression,
        size=size,
        raw_size=raw_size,
        items=tuple(sorted(tree.items, key=lambda item: item.path)),
        kernel=selection.release if selection else None,
        builtin_modules=selection.builtin if selection else (),
        missing_modules=selection.missing if selection else (),
        notes=tuple(notes),
        group_data={group: bytes(data) for group, data in sorted(tree.group_data.items())},
    )


def _compress_into(raw: Path, request: BuildRequest) -> int:
    request.output.parent.mkdir(parents=True, exist_ok=True)
    partial = request.output.with_name(request.output.name + ".partial")
    try:
        size = compress.compress(raw, partial, request.compression)
        partial.replace(request.output)
    finally:
        partial.unlink(missing_ok=True)
    return size


def _add_skeleton(tree: _Tree, contents: Contents, request: BuildRequest) -> None:
    for directory in contents.directories:
        tree.archive.add_dir(directory.path)
        tree.items.append(Item(directory.path, 0, "layout", directory.reason))
    for device in contents.devices:
        tree.archive.add_device(device.path, device.kind, device.major, device.minor, device.mode)
        tree.items.append(Item(device.path, 0, "layout", device.reason))
    for link in contents.symlinks:
        tree.link(link.path, link.target, "layout", link.reason)
    for script in contents.scripts:
        source = HERE / script.source
        if script.source == "overlay.sh" and request.overlay is not None:
            source = request.overlay
        tree.file(script.path, _read(source), script.mode, "scripts", script.reason)


def _add_busybox(tree: _Tree, contents: Contents, request: BuildRequest) -> Path:
    busybox = request.busybox or _first_present("/usr/bin/busybox", "/bin/busybox")
    done = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=False)
    offered = set(done.stdout.split())
    target = "/usr/bin/busybox"
    tree.file(target, _read(busybox), 0o755, "busybox", "shell and small programs, see applets")
    for applets in contents.applets:
        lacking = [name for name in applets.names if name not in offered]
        if lacking:
            raise ContentsError(
                f"{busybox} has no applet {', '.join(lacking)} (for: {applets.reason}): "
                "install Debian's busybox or busybox-static"
            )
        for name in applets.names:
            up = "busybox" if applets.folder == "/usr/bin" else "../bin/busybox"
            tree.link(f"{applets.folder}/{name}", up, "busybox", applets.reason)
    return busybox


def _add_python(tree: _Tree, contents: Contents, request: BuildRequest) -> list[Path]:
    """Add interpreter, modules and launcher; returns the files whose libraries are needed."""
    blocked = _blocked(request)
    runtime = python_runtime.collect(
        python_runtime.RuntimeRequest(
            entries=(request.entry,),
            search=(request.project, Path(python_runtime.DIST_PACKAGES)),
            standins={standin.module: HERE / standin.source for standin in contents.standins},
            blocked=blocked,
            extra=tuple(
                one.module
                for one in contents.python
                if one.module not in blocked and (not one.when or request.installer)
            ),
            python=request.python,
        )
    )
    interpreter = request.python.resolve()
    tree.file("/usr/bin/python3", _read(interpreter), 0o755, "python", "interpreter")
    # Python looks for this folder to know its place, even when it is empty.
    tree.archive.add_dir(f"{runtime.stdlib_path}/lib-dynload")
    reasons = {extra.module: extra.reason for extra in contents.python}
    reasons |= {standin.module: standin.reason for standin in contents.standins}
    compiled = python_runtime.compile_(runtime.files, request.python)
    for item in runtime.files:
        if item.is_standin:
            group = "stand-ins"
        elif item.package in runtime.stdlib_names:
            group = "python-stdlib"
        else:
            group = "python-" + item.package.lstrip("_")
        reason = reasons.get(item.name, f"imported by {request.entry} or by what it imports")
        data = _read(item.source) if item.is_extension else compiled[item.path]
        tree.file(item.path, data, 0o644, group, reason)
    launcher = python_runtime.compile_text(
        launcher_source(request.entry), LAUNCHER_PATH, request.python
    )
    tree.file(LAUNCHER_PATH, launcher, 0o644, "scripts", "starts the updater")
    return [interpreter, *(item.source for item in runtime.files if item.is_extension)]


def _add_installer(tree: _Tree, contents: Contents, request: BuildRequest) -> list[Path]:
    """Add what makes a disk, and what goes on it; returns the programs."""
    if request.installer is None:
        return []
    if request.kernel is None:
        raise ContentsError(
            "an installer puts a kernel on the disk: give --kernel or --kernel-root"
        )
    carried = installer.carried(request.kernel.vmlinuz, request.installer, request.config)
    for one in carried:
        tree.file(f"{installer.FOLDER}/{one.name}", one.data, 0o644, "installer", one.reason)
    programs = []
    for program in contents.programs:
        path = installer.program_file(program.name)
        real = path.resolve()
        tree.file(f"/usr/sbin/{real.name}", _read(real), 0o755, "installer", program.reason)
        if real.name != program.name:
            tree.link(f"/usr/sbin/{program.name}", real.name, "installer", program.reason)
        programs.append(real)
    gconv = installer.gconv_folder(programs)
    converter = gconv / installer.CONVERTER
    reason = "names of files on FAT, for mtools"
    table = installer.CONVERTERS.encode("ascii")
    tree.file(str(converter), _read(converter), 0o644, "installer", reason)
    tree.file(f"{gconv}/gconv-modules", table, 0o644, "installer", reason)
    return programs


def _blocked(request: BuildRequest) -> tuple[str, ...]:
    """Modules that are left out although something imports them where they are there."""
    tls = () if request.https else ("ssl", "_ssl")
    return tls if request.hash_backend == "openssl" else (*tls, "_hashlib")


def _add_libraries(tree: _Tree, programs: list[Path]) -> None:
    wanted_by: dict[str, list[str]] = {}
    for program in programs:
        for library in closure.libraries_of([program]):
            wanted_by.setdefault(library.name, []).append(program.name)
    for library in sorted(closure.with_links(closure.libraries_of(programs))):
        # Merged /usr: the loader's directories are the same ones, whichever name was found.
        place = "/usr/" + str(library).lstrip("/").removeprefix("usr/")
        users = sorted(set(wanted_by.get(library.name, ())))
        reason = "shared library of " + ", ".join(users[:3]) if users else "real file of a link"
        group = "openssl" if library.name.startswith(("libcrypto", "libssl")) else "libraries"
        if library.is_symlink():
            tree.link(place, str(library.readlink()), group, reason)
        else:
            tree.file(place, _read(library), 0o755, group, reason)


def _add_settings(tree: _Tree, request: BuildRequest, notes: list[str]) -> None:
    if request.config is not None:
        values = _settings(request.config)
        data = (json.dumps(values, indent=1) + "\n").encode()
        tree.file("/etc/bootsvc/bootsvc.json", data, 0o644, "settings", "the site's settings")
        if reason := _no_shell(values):
            text = f"{reason}\n".encode()
            tree.file(NO_SHELL, text, 0o644, "settings", "init gives nobody a prompt")
    for key in request.keys:
        if key.suffix != ".pub":
            raise ContentsError(f"{key} is no public key: the name of one ends in .pub")
        path = f"/etc/bootsvc/keys/{key.name}"
        if path in tree.archive:
            raise ContentsError(f"two keys are named {key.name}: rename one of them")
        tree.file(path, _read(key), 0o644, "settings", "may sign images")
    if request.ca is not None:
        tree.file(CA_FILE, _read(request.ca), 0o644, "settings", "whose servers are believed")
    elif request.https:
        notes.append("--https without --ca: no server is believed")
    if not request.keys:
        notes.append("no --key: this updater can install nothing, only boot what is there")


def _settings(config: Path) -> dict[str, object]:
    """The settings, for JSON: mistakes in them show here, and the updater need not read TOML."""
    from bootsvc.errors import SettingsError
    from bootsvc.settings import load

    _read(config)
    try:
        load(config)
        values = tomllib.loads(config.read_text("utf-8"))
    except SettingsError as exc:
        raise ContentsError(f"{exc}; {exc.hint}" if exc.hint else str(exc)) from exc
    return values


def _no_shell(values: Mapping[str, object]) -> str:
    """Why the initramfs must give nobody a shell, as a sentence; empty where it may."""
    if values.get("console_password"):
        return "the console is locked with a password"
    if values.get("console_shell") is False:
        return "the setting console_shell is off"
    return ""


def _add_modules(tree: _Tree, request: BuildRequest, notes: list[str]) -> modules.Selection | None:
    if request.kernel is None:
        notes.append("no kernel: no modules; boots only with a kernel that has all built in")
        return None
    choices = _choices(request.profiles)
    selection = modules.select(request.kernel, choices)
    by_name = {modules.canonical(name): choice for name, choice in choices.items()}
    required = [name for name in selection.missing if not by_name[name].optional]
    if required:
        raise ModuleError(
            f"kernel {selection.release} has no {', '.join(required)}, which profile "
            f"{'+'.join(request.profiles)} requires: choose another kernel or profile"
        )
    base = f"/usr/lib/modules/{selection.release}"
    for module in selection.modules:
        choice = by_name.get(module.name)
        reason = choice.reason if choice else "dependency of another module"
        tree.file(f"{base}/{module.path}", module.data, 0o644, "kernel-modules", reason)
    late = [name for name in selection.wanted if by_name[name].when == "network"]
    if late:
        names, why = "".join(f"{name}\n" for name in late), "loaded when the network is brought up"
        tree.file(NETWORK_MODULES, names.encode(), 0o644, "kernel-modules", why)
    tables = "names and dependencies, for modprobe"
    for name, text in (
        ("modules.dep", selection.modules_dep),
        ("modules.alias", selection.aliases(but=late)),
        ("modules.builtin", "".join(f"kernel/{name}.ko\n" for name in selection.builtin)),
    ):
        tree.file(f"{base}/{name}", text.encode(), 0o644, "kernel-modules", tables)
    options = [
        f"options {name} {choice.options}\n"
        for name, choice in sorted(by_name.items())
        if choice.options and name in selection.wanted
    ]
    if options:
        text = "".join(options)
        tree.file(MODPROBE_CONF, text.encode(), 0o644, "kernel-modules", "module parameters")
    _check_kernel_config(request, selection, notes)
    return selection


def _choices(names: tuple[str, ...]) -> dict[str, ModuleChoice]:
    profiles = read_profiles()
    choices: dict[str, ModuleChoice] = {}
    for name in names:
        if name not in profiles:
            raise ContentsError(f"no profile {name}: there are {', '.join(sorted(profiles))}")
        choices |= {choice.name: choice for choice in profiles[name].modules}
    return choices


def _check_kernel_config(
    request: BuildRequest, selection: modules.Selection, notes: list[str]
) -> None:
    if request.kernel is None or not request.kernel.config:
        return
    option = compress.KERNEL_OPTION[request.compression]
    if request.kernel.config.get(option) != "y":
        notes.append(f"kernel {selection.release} lacks {option}: it cannot unpack this archive")


def _first_present(*paths: str) -> Path:
    for path in paths:
        if Path(path).is_file():
            return Path(path)
    raise ContentsError(f"none of {', '.join(paths)} is there: apt install busybox")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ContentsError(f"{path} cannot be read: {exc.strerror}") from exc
