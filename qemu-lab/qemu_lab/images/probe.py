"""The probe: a tiny OS of our own on Debian's kernel, up in a moment.

One squashfs per version and behaviour holds busybox, Python with what bootsvc imports, the
lab's responder, a kernel in /boot and a small initrd for kexec. It is made of the same pieces
as the updater's initramfs (package ``initramfs``). Nothing needs root: squashfs-tools gives
every file to root.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from initramfs import closure, python_runtime
from initramfs.contents import read_contents
from initramfs.cpio import Archive
from initramfs.modules import KernelTree, Selection, select
from qemu_lab.images import cache
from qemu_lab.images.errors import ImageBuildError
from qemu_lab.images.kernels import Kernel
from qemu_lab.images.tools import PROJECT, mebibytes, run, step

FILES = Path(__file__).with_name("probe_files")
RESPONDER = Path(__file__).parents[1] / "guest" / "responder.sh"
OVERLAY = PROJECT / "initramfs" / "overlay.sh"
IDENTITY_SAVE = PROJECT / "bootsvc/packaging/root/usr/lib/bootsvc/identity-save"
IDENTITY_LIST = PROJECT / "bootsvc/packaging/root/etc/bootsvc/identity.list"

EPOCH = 1_767_225_600
"""2026-01-01: the time of every file, so that equal inputs give equal bytes."""

PAYLOAD_BYTES = 6 * 2**20
"""Bytes in each version that no other version has: without them two probes would be nearly
the same, and copying one over the other would be over before it can be interrupted."""

BEHAVIOURS = ("good", "silent", "panic", "hang", "reboot", "no-kernel")

# Needed before the root is there (initrd), and once it runs. A kernel that has one built in,
# or does not have it at all, is fine.
INITRD_MODULES = (
    "virtio_pci",
    "virtio_blk",
    "nvme",
    "squashfs",
    "overlay",
    "ext4",
    "crc32c_generic",
)
DM_MODULES = ("dm_mod", "dm_verity", "loop")
ROOT_MODULES = (*INITRD_MODULES, "virtio_console", "virtio_rng", "i6300esb", "softdog")

# Making images and disks is not done on a machine that bootsvc keeps, nor is publishing; and what a
# probe runs fetches nothing from a store, which takes libraries of a megabyte.
LEFT_OUT = (
    *("bootsvc.packaging", "bootsvc.image", "bootsvc.disk", "elftools"),
    *("bootsvc.store.metadata", "bootsvc.store.newest", "bootsvc.store.publisher"),
    *("bootsvc.store.s3_objects", "bootsvc.store.signing_keys", "bootsvc.store.similarity"),
    *("bootsvc.store.state", "bootsvc.transfer.freshness"),
    *("bootsvc.os_side.store_client", "bootsvc.os_side.updating"),
    *("numpy", "obstore", "securesystemslib", "tuf", "urllib3"),
)

# The standard library imports these only when they are used: seen by no import at the top.
LATE_IMPORTS = (
    "encodings.ascii",
    "encodings.latin_1",
    "encodings.idna",
    "gettext",
    "json",
    "linecache",
    "locale",
    "shutil",
    "subprocess",
    "tempfile",
    "textwrap",
    "traceback",
)

_LAUNCHER = """\
import sys

sys.path.append({search!r})
from bootsvc.cli import main

sys.exit(main())
"""


@dataclass(frozen=True)
class Variant:
    """One probe image.

    Attributes:
        version: number that it reports.
        behaviour: one of BEHAVIOURS.
        kernel: which kernel it carries.
        has_dmsetup: its initrd can check blocks and find a partition in the area, as that of an
            image with Debian's package dmsetup can.
    """

    version: int
    behaviour: str
    kernel: Kernel
    has_dmsetup: bool = False

    @property
    def name(self) -> str:
        """For example probe-2 or probe-2-panic; the generic kernel is named, cloud is not."""
        parts = ["probe", str(self.version)]
        if self.behaviour != "good":
            parts.append(self.behaviour)
        if self.kernel.name != "cloud":
            parts.append(self.kernel.name)
        if self.has_dmsetup:
            parts.append("dmsetup")
        return "-".join(parts)


def build(
    variants: Iterable[Variant], images: Path, public_keys: tuple[Path, ...], settings: str
) -> list[Path]:
    """Make the squashfs of every variant that is not fresh.

    Args:
        variants: what to make.
        images: directory of the products (<name>.squashfs).
        public_keys: keys whose signatures ``bootsvc stage`` accepts in the probe.
        settings: text of its /etc/bootsvc/bootsvc.toml.

    Raises:
        ImageBuildError: a program failed or is missing.
    """
    made = []
    with tempfile.TemporaryDirectory(prefix="probe-") as scratch:
        for variant in variants:
            product = images / f"{variant.name}.squashfs"
            made.append(product)
            key = _key(variant, public_keys, settings)
            if cache.is_fresh(product, key):
                continue
            images.mkdir(parents=True, exist_ok=True)
            name = variant.kernel.name + ("-dmsetup" if variant.has_dmsetup else "")
            common = Path(scratch) / f"{name}.squashfs"
            if not common.exists():
                with step(f"probe on kernel {variant.kernel.release}") as result:
                    tree = Path(scratch) / name
                    _make_tree(tree, variant, public_keys, settings)
                    _check_tree(tree)
                    _squash(tree, common, *_COMPRESSION)
                    result.note = mebibytes(common)
            with step(variant.name) as result:
                _make_variant(Path(scratch), common, variant, product)
                cache.mark(product, key)
                result.note = mebibytes(product)
    return made


def _key(variant: Variant, public_keys: tuple[Path, ...], settings: str) -> str:
    parts = ["probe 2", settings, variant.name, _kernel_key(variant.kernel), _sources_key()]
    return cache.key_of([*parts, *public_keys])


# Once per process: there are dozens of variants, and what follows is read in full.
@functools.cache
def _kernel_key(kernel: Kernel) -> str:
    return cache.key_of([kernel.release, kernel.vmlinuz])


@functools.cache
def _sources_key() -> str:
    return cache.key_of(
        [
            Path(__file__),
            FILES,
            RESPONDER,
            OVERLAY,
            IDENTITY_SAVE,
            IDENTITY_LIST,
            Path("/usr/bin/python3").resolve(),
            busybox_file(),
            PROJECT / "bootsvc",
            PROJECT / "initramfs",
        ]
    )


def _write(path: Path, content: bytes | str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


def _make_tree(tree: Path, variant: Variant, public_keys: tuple[Path, ...], settings: str) -> None:
    """Everything that all versions have in common."""
    kernel = variant.kernel
    for name in ("proc", "sys", "dev", "run", "tmp", "root", "etc/ssh", "var", "usr/bin"):
        (tree / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(exist_ok=True)
        (tree / name).symlink_to(f"usr/{name}")
    _add_busybox(tree)
    _add_python(tree)
    _write(tree / "usr/sbin/init", (FILES / "init").read_bytes(), 0o755)
    _write(tree / "usr/bin/bootsvc", (FILES / "bootsvc").read_bytes(), 0o755)
    _write(tree / "usr/lib/bootsvc/overlay.sh", OVERLAY.read_bytes(), 0o755)
    _write(tree / "usr/lib/bootsvc/identity-save", IDENTITY_SAVE.read_bytes(), 0o755)
    _write(tree / "usr/lib/qemu-lab/responder.sh", RESPONDER.read_bytes(), 0o755)
    _write(tree / "etc/bootsvc/identity.list", IDENTITY_LIST.read_bytes())
    _write(tree / "etc/hostname", "probe\n")
    # Filled at the first start, kept on data from then on.
    _write(tree / "etc/machine-id", "")
    # Where a variant's own files are: see _make_variant.
    (tree / "etc/probe.conf").symlink_to("/variant/probe.conf")
    (tree / "etc/os-release").symlink_to("/variant/os-release")
    _write(tree / "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    _write(tree / "etc/bootsvc/bootsvc.toml", settings)
    for key in public_keys:
        _write(tree / "etc/bootsvc/keys" / key.name, key.read_bytes())

    sources = KernelTree.extracted(kernel.tree)
    _add_modules(tree / "usr/lib/modules", select(sources, ROOT_MODULES))
    _write(tree / f"boot/vmlinuz-{kernel.release}", kernel.vmlinuz.read_bytes())
    modules = INITRD_MODULES + (DM_MODULES if variant.has_dmsetup else ())
    initrd = _make_initrd(select(sources, modules), has_dmsetup=variant.has_dmsetup)
    _write(tree / f"boot/initrd.img-{kernel.release}", initrd)


def busybox_file() -> Path:
    """This machine's busybox, static or dynamic.

    Raises:
        ImageBuildError: there is none.
    """
    for place in ("/usr/bin/busybox", "/bin/busybox"):
        if Path(place).is_file():
            return Path(place)
    raise ImageBuildError("busybox is missing: apt-get install busybox")


def dmsetup_file() -> Path:
    """This machine's dmsetup.

    Raises:
        ImageBuildError: there is none.
    """
    for place in ("/usr/sbin/dmsetup", "/sbin/dmsetup"):
        if Path(place).is_file():
            return Path(place)
    raise ImageBuildError("dmsetup is missing: apt-get install dmsetup")


def _applets(busybox: Path) -> list[str]:
    """Paths of all applets below /, for example usr/sbin/modprobe."""
    listed = run([str(busybox), "--list-full"]).split()
    return sorted(
        {f"usr/{name.removeprefix('usr/')}" for name in listed}
        - {"usr/bin/busybox", "usr/sbin/init"}
    )


def _add_busybox(tree: Path) -> None:
    busybox = busybox_file()
    _write(tree / "usr/bin/busybox", busybox.read_bytes(), 0o755)
    for name in _applets(busybox):
        place = tree / name
        if place.parent.is_dir() and not place.exists():
            place.symlink_to("busybox" if name.startswith("usr/bin/") else "/usr/bin/busybox")


def _imports_of(package: Path) -> set[str]:
    """Every module that the code of *package* names in an import, at the top or within."""
    found: set[str] = set()
    for path in _sources(package):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return {name for name in found if not _left_out(name)} - {"__future__", "_typeshed"}


def _left_out(module: str) -> bool:
    """Whether a module serves only those who make images and disks."""
    return module.startswith(LEFT_OUT)


def _sources(package: Path) -> list[Path]:
    return sorted(
        path for path in package.rglob("*.py") if not _left_out(_module_name(path, package))
    )


def _module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _entries(package: Path) -> tuple[str, ...]:
    """The package's modules and everything they import, early or late."""
    own = {_module_name(path, package) for path in _sources(package) if path.stem != "__main__"}
    return tuple(sorted(own | _imports_of(package)))


def _add_python(tree: Path) -> None:
    interpreter = Path("/usr/bin/python3").resolve()
    contents = read_contents()
    # Only the stand-in that matters for the time to start: the command line may well need
    # what the updater is kept from.
    standins = {
        item.module: PROJECT / "initramfs" / item.source
        for item in contents.standins
        if item.module == "construct.debug"
    }
    runtime = python_runtime.collect(
        python_runtime.RuntimeRequest(
            entries=_entries(PROJECT / "bootsvc"),
            search=(PROJECT, Path(python_runtime.DIST_PACKAGES)),
            standins=standins,
            extra=LATE_IMPORTS,
            allowed=python_runtime.ALLOWED | {"elftools", "zstandard"},
            python=interpreter,
        )
    )
    _write(tree / "usr/bin/python3", interpreter.read_bytes(), 0o755)
    (tree / runtime.stdlib_path.lstrip("/") / "lib-dynload").mkdir(parents=True, exist_ok=True)
    compiled = python_runtime.compile_(runtime.files, interpreter)
    for item in runtime.files:
        data = item.source.read_bytes() if item.is_extension else compiled[item.path]
        _write(tree / item.path.lstrip("/"), data)
    launcher = _LAUNCHER.format(search=python_runtime.DIST_PACKAGES)
    place = "/usr/lib/bootsvc/cli.pyc"
    _write(
        tree / place.lstrip("/"), python_runtime.compile_text(launcher, place, interpreter), 0o644
    )
    programs = [interpreter, *(item.source for item in runtime.files if item.is_extension)]
    for library, place in _libraries([*programs, busybox_file()]):
        target = tree / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if library.is_symlink():
            target.symlink_to(library.readlink())
        else:
            _write(target, library.read_bytes(), 0o755)


def _libraries(programs: Iterable[Path]) -> list[tuple[Path, str]]:
    """Every library and loader that *programs* need, with its place below /."""
    found = closure.with_links(closure.libraries_of(programs))
    return [
        (library, "usr/" + str(library).lstrip("/").removeprefix("usr/"))
        for library in sorted(found)
    ]


def _module_files(selection: Selection) -> dict[str, bytes]:
    """Path below lib/modules -> content, with the tables that modprobe reads."""
    files = {f"{selection.release}/{item.path}": item.data for item in selection.modules}
    files[f"{selection.release}/modules.dep"] = selection.modules_dep.encode()
    files[f"{selection.release}/modules.alias"] = selection.modules_alias.encode()
    return files


def _add_modules(place: Path, selection: Selection) -> None:
    for name, data in _module_files(selection).items():
        _write(place / name, data)


def _make_initrd(selection: Selection, *, has_dmsetup: bool = False) -> bytes:
    """The initrd for kexec; not compressed, because squashfs compresses it once more anyway."""
    archive = Archive(EPOCH)
    for name in ("proc", "sys", "dev", "run", "sysroot"):
        archive.add_dir(name)
    for name in ("bin", "sbin", "lib", "lib64"):
        archive.add_dir(f"usr/{name}")
        archive.add_symlink(name, f"usr/{name}")
    archive.add_device("dev/console", "c", 5, 1)
    archive.add_device("dev/null", "c", 1, 3, 0o666)
    archive.add_file("init", (FILES / "initrd-init").read_bytes(), 0o755)
    archive.add_file("usr/lib/bootsvc/overlay.sh", OVERLAY.read_bytes(), 0o755)
    busybox = busybox_file()
    archive.add_file("usr/bin/busybox", busybox.read_bytes(), 0o755)
    for name in _applets(busybox):
        archive.add_symlink(name, "/usr/bin/busybox")
    programs = [busybox]
    if has_dmsetup:
        programs.append(dmsetup_file())
        archive.add_file("usr/sbin/dmsetup", dmsetup_file().read_bytes(), 0o755)
    for library, place in _libraries(programs):
        if library.is_symlink():
            archive.add_symlink(place, str(library.readlink()))
        else:
            archive.add_file(place, library.read_bytes(), 0o755)
    for name, data in _module_files(selection).items():
        archive.add_file(f"usr/lib/modules/{name}", data)
    stream = BytesIO()
    archive.write(stream)
    return stream.getvalue()


def payload(version: int, size: int = PAYLOAD_BYTES) -> bytes:
    """Bytes that do not compress and differ from version to version, the same at every build."""
    return hashlib.shake_128(f"probe payload {version}".encode()).digest(size)


def _make_variant(scratch: Path, common: Path, variant: Variant, product: Path) -> None:
    """Append what only this variant has to a copy of what all have in common.

    Every file of a variant is in /variant: the common part, compressed once, is then the same
    in all of them, block for block.
    """
    files = scratch / "variant"
    shutil.rmtree(files, ignore_errors=True)
    _write(files / "probe.conf", f"VERSION={variant.version}\nBEHAVIOUR={variant.behaviour}\n")
    _write(
        files / "os-release",
        f'ID=probe\nPRETTY_NAME="bootsvc probe {variant.version}"\n'
        f"IMAGE_VERSION={variant.version}\n",
    )
    _write(files / "payload", payload(variant.version))
    arriving = product.with_suffix(".new")
    shutil.copyfile(common, arriving)
    _squash(files, arriving, "-keep-as-directory", "-no-recovery")
    arriving.replace(product)


# lz4 unpacks several times faster than the rest, which counts under emulation.
_COMPRESSION = ("-comp", "lz4", "-Xhc", "-noappend")


def _squash(tree: Path, target: Path, *more: str) -> None:
    time = str(EPOCH)
    options = ["-all-root", "-all-time", time, "-mkfs-time", time, "-reproducible"]
    options += ["-quiet", "-no-progress", "-no-xattrs", *more]
    # The variable would contradict the two options above.
    run(["env", "-u", "SOURCE_DATE_EPOCH", "mksquashfs", str(tree), str(target), *options])


def _check_tree(tree: Path) -> None:
    """Run the bootsvc command inside the tree: a module left out shows now, not in a guest.

    Raises:
        ImageBuildError: it does not start.
    """
    command = ["unshare", "-r", f"--root={tree}", "/usr/bin/bootsvc", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageBuildError(f"bootsvc does not start in the probe: {done.stderr.strip()}")
