"""Real Debian images: systemd, Debian's kernel, the bootsvc package, serial login.

Three stages, each cached by what goes into it:

1. base: mmdebstrap installs Debian's packages and the kernel. v1 from the suite of the point
   release alone, v2 with updates and security on top, which is a real package update.
2. lab: in a copy of the base apt installs the bootsvc package, the lab's files are put in and
   the image's own initrd is made.
3. squashfs: the tar of stage 2 as it is (v1, v2), or with a few files changed (v3, v4, bad images).

As root mmdebstrap works directly; anyone else needs ``newuidmap`` (package uidmap) and a
range in /etc/subuid. Between the stages only tar archives are kept, so no step leaves files
behind that belong to other users.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bootsvc.packaging import deb
from qemu_lab.images import cache, kernels, recipe
from qemu_lab.images.apt_sources import (
    Source,
    Suites,
    available_versions,
    changed,
    codename_of_this_machine,
    newest_versions,
    parse_package_list,
    suites_of_this_machine,
)
from qemu_lab.images.errors import ImageBuildError
from qemu_lab.images.kernels import Kernel
from qemu_lab.images.tools import KERNELS, mebibytes, run, say, step

SQUASHFS = ("--compressor", "zstd", "--comp-extra", "level=6", "--num-jobs", "2")
"""zstd unpacks fast at every level; level 12 took three times as long and saved 1 %."""

BAD_VERSION = "3"
"""The version that the bad images claim: each is the update that should follow v2."""


@dataclass(frozen=True)
class Base:
    """One package state of Debian.

    Attributes:
        version: label of the image made from it.
        suites: where its packages come from.
        codename: of the Debian release.
    """

    version: str
    suites: tuple[Source, ...]
    codename: str

    @property
    def name(self) -> str:
        """Name of the image."""
        return f"debian-v{self.version}"


@dataclass(frozen=True)
class Request:
    """What to build, and of what.

    Attributes:
        images: directory of the products.
        kernel: the kernel of every image.
        package: the bootsvc package.
        public_keys: keys whose signatures the images accept.
        settings: text of their /etc/bootsvc/bootsvc.toml.
        epoch: time of what is made here, seconds since 1970.
    """

    images: Path
    kernel: Kernel
    package: Path
    public_keys: tuple[Path, ...]
    settings: str
    epoch: int = deb.changelog_epoch()


def names() -> list[str]:
    """Names of all Debian images, in the order in which they are made."""
    good = ("1", "2", *recipe.INCREMENTS)
    return [*(f"debian-v{one}" for one in good), *(f"debian-{name}" for name in recipe.bad_files())]


def build(request: Request) -> list[Path]:
    """Make every Debian image that is not fresh; returns their squashfs files.

    Raises:
        ImageBuildError: a program failed, or v2 would be the same as v1.
    """
    suites = suites_of_this_machine(codename_of_this_machine())
    first = Base("1", (suites.point_release,), suites.codename)
    second = Base("2", (suites.point_release, *suites.updates), suites.codename)
    offered = available_versions([*_have(request, first), *_have(request, second)])
    for base in (first, second):
        if not _is_current(request, base, offered):
            _make_base(request, base)
    _record_changes(request, first, second, suites)
    bad = [(f"debian-{name}", changes) for name, changes in recipe.bad_files().items()]
    _make_images(request, first, [(first.name, first.version, [])])
    _make_images(
        request,
        second,
        [
            (second.name, second.version, []),
            *((f"debian-v{one}", one, recipe.increment_files(one)) for one in recipe.INCREMENTS),
            *((name, BAD_VERSION, changes) for name, changes in bad),
        ],
    )
    return [request.images / f"{name}.squashfs" for name in names()]


# -------------------------------------------------------------------------- stage 1


_SILENCE_INITRD = (
    'chroot "$1" dpkg-divert --local --rename --add /usr/sbin/update-initramfs'
    ' && ln -s ../bin/true "$1/usr/sbin/update-initramfs"'
)
_RESTORE_INITRD = (
    'rm "$1/usr/sbin/update-initramfs"'
    ' && chroot "$1" dpkg-divert --local --rename --remove /usr/sbin/update-initramfs'
)


def _base_tar(request: Request, base: Base) -> Path:
    return request.images / "base" / f"{base.name}.tar"


def _packages_file(request: Request, base: Base) -> Path:
    return request.images / f"{base.name}.packages"


def _base_recipe(request: Request, base: Base) -> str:
    return cache.key_of(
        [
            "base 1",
            base.version,
            base.codename,
            request.kernel.package,
            *(source.release for source in base.suites),
            *recipe.PACKAGES,
            *recipe.dpkg_options(),
            str(request.epoch),
        ]
    )


def _have(request: Request, base: Base) -> dict[str, str]:
    """Package -> version of what is in the base; empty where there is none."""
    listing = _packages_file(request, base)
    return parse_package_list(listing.read_text(encoding="utf-8")) if listing.is_file() else {}


def _is_current(request: Request, base: Base, offered: str) -> bool:
    """Whether the base was made by this recipe of the packages that apt offers now."""
    have = _have(request, base)
    if not have or not cache.is_fresh(_base_tar(request, base), _base_recipe(request, base)):
        return False
    # The kernel comes from build/kernels, whose version the recipe has.
    return all(
        have[name] == version
        for name, version in newest_versions(offered, base.suites).items()
        if name in have and name != request.kernel.package
    )


def _make_base(request: Request, base: Base) -> None:
    tar = _base_tar(request, base)
    tar.parent.mkdir(parents=True, exist_ok=True)
    kernel_deb = kernels.fetch_package(request.kernel.package, KERNELS / "debs")
    with step(f"{base.name}: packages of {', '.join(s.release for s in base.suites)}") as result:
        arriving = tar.with_suffix(".new")
        command = [
            *_mmdebstrap("essential"),
            "--aptopt=APT::Install-Recommends false",
            *recipe.dpkg_options(),
            f"--include={','.join(recipe.PACKAGES)}",
            # The initrd is made once, at the end, and not after every package.
            f"--essential-hook={_SILENCE_INITRD}",
            f"--customize-hook=copy-in {kernel_deb} /tmp",
            f"--customize-hook={_apt_install(kernel_deb.name)}",
            base.codename,
            str(arriving),
            *(source.line for source in base.suites),
        ]
        run(command, log=_log(request, f"{base.name}-base"), env=_environment(request))
        packages = installed_packages(arriving)
        _packages_file(request, base).write_text(
            "".join(f"{name} {version}\n" for name, version in sorted(packages.items())),
            encoding="utf-8",
        )
        arriving.replace(tar)
        cache.mark(tar, _base_recipe(request, base))
        result.note = f"{len(packages)} packages, {mebibytes(tar)}"


def _mmdebstrap(variant: str) -> list[str]:
    mode = "root" if os.geteuid() == 0 else "unshare"
    if mode == "unshare" and shutil.which("newuidmap") is None:
        raise ImageBuildError("newuidmap is missing: apt-get install uidmap")
    return ["mmdebstrap", f"--mode={mode}", f"--variant={variant}", "--format=tar"]


def _apt_install(name: str) -> str:
    """Hook: apt installs a package file that lies in the image's /tmp.

    The apt of this machine works on the image, which therefore needs none of its own.
    """
    return (
        # The colon: without the variable apt would work on the machine that builds.
        'APT_CONFIG="${MMDEBSTRAP_APT_CONFIG:?}" apt-get --yes --no-install-recommends '
        f'-oDPkg::Chroot-Directory="$1" install "$1/tmp/{name}" && rm "$1/tmp/{name}"'
    )


def _unpack(tar: Path) -> str:
    """Hook: unpack a base, all but its device nodes, which only root can make."""
    return (
        "tar --extract --preserve-permissions --numeric-owner --xattrs --xattrs-include='*' "
        f"--exclude='./dev/*' --file '{tar}' --directory \"$1\""
    )


def _environment(request: Request) -> dict[str, str]:
    return {"SOURCE_DATE_EPOCH": str(request.epoch), "DEBIAN_FRONTEND": "noninteractive"}


def _log(request: Request, name: str) -> Path:
    return request.images / "logs" / f"{name}.log"


def installed_packages(tar: Path) -> dict[str, str]:
    """Package -> version of what is installed in the archive of a system."""
    with tarfile.open(tar) as archive:
        status = archive.extractfile("./var/lib/dpkg/status")
        text = status.read().decode() if status else ""
    packages: dict[str, str] = {}
    for paragraph in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line[:40])
        if fields.get("Status") == "install ok installed":
            packages[fields["Package"]] = fields["Version"]
    return packages


def _record_changes(request: Request, first: Base, second: Base, suites: Suites) -> None:
    old, new = _have(request, first), _have(request, second)
    lines = changed(old, new)
    if not lines:
        names_of = ", ".join(source.release for source in suites.updates)
        raise ImageBuildError(
            f"v2 would be the same as v1: {names_of} have nothing newer for the chosen packages; "
            "add one that they have to PACKAGES in recipe.py"
        )
    path = request.images / "debian-v1-to-v2.packages"
    text = "".join(f"{line}\n" for line in lines)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        say(f"debian-v2 updates {len(lines)} packages of v1: {path}")


# -------------------------------------------------------------------- stages 2 and 3

Plan = tuple[str, str, list[recipe.Change]]
"""One image: its name, the version that it claims, and what is changed in it."""


def _make_images(request: Request, base: Base, plans: Iterable[Plan]) -> None:
    lab_key = cache.key_of(
        [
            "lab 1",
            _base_recipe(request, base),
            _packages_file(request, base),
            request.package,
            recipe.tar_of(recipe.lab_files(request.public_keys, request.settings), request.epoch),
        ]
    )
    stale = []
    for name, version, changes in plans:
        product = request.images / f"{name}.squashfs"
        key = cache.key_of(
            ["image 1", lab_key, version, *SQUASHFS, recipe.tar_of(changes, request.epoch)]
        )
        if not cache.is_fresh(product, key):
            stale.append((product, key, version, changes))
    if not stale:
        return
    with tempfile.TemporaryDirectory(prefix=".lab-", dir=request.images) as scratch:
        # Another user id works in here (mode unshare).
        Path(scratch).chmod(0o755)
        lab = Path(scratch) / "lab.tar"
        with step(f"{base.name}: bootsvc package, lab files, initrd") as result:
            _make_lab(request, base, Path(scratch), lab)
            result.note = mebibytes(lab)
        for product, key, version, changes in stale:
            with step(product.stem) as result:
                _make_squashfs(lab, product, version, changes, request.epoch)
                cache.mark(product, key)
                result.note = mebibytes(product)


def _make_lab(request: Request, base: Base, scratch: Path, lab: Path) -> None:
    additions = scratch / "files.tar"
    additions.write_bytes(
        recipe.tar_of(recipe.lab_files(request.public_keys, request.settings), request.epoch)
    )
    command = [
        *_mmdebstrap("custom"),
        # No package list is fetched again: all that the package needs is there.
        "--skip=update",
        f"--setup-hook={_unpack(_base_tar(request, base))}",
        f"--customize-hook={_RESTORE_INITRD}",
        f"--customize-hook=copy-in {request.package} /tmp",
        f"--customize-hook={_apt_install(request.package.name)}",
        f"--customize-hook=tar-in {additions} /",
        '--customize-hook=chroot "$1" sh /tmp/finish.sh && rm "$1/tmp/finish.sh"',
        base.codename,
        str(lab),
        *(source.line for source in base.suites),
    ]
    run(command, log=_log(request, f"{base.name}-lab"), env=_environment(request))


def _make_squashfs(
    lab: Path, product: Path, version: str, changes: list[recipe.Change], epoch: int
) -> None:
    arriving = product.with_suffix(".new")
    arriving.unlink(missing_ok=True)
    # File times stay as they are in the archive: Python compares those of its sources with its
    # compiled files. Only the time of the file system itself is given.
    defaults = f"uid=0,gid=0,mode=0755,mtime={epoch}"
    command = ["tar2sqfs", "--force", "--quiet", *SQUASHFS, "--defaults", defaults, str(arriving)]
    if shutil.which(command[0]) is None:
        raise ImageBuildError("tar2sqfs is missing: apt-get install squashfs-tools-ng")
    # The variable would contradict the time given.
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    )
    if process.stdin is None or process.stdout is None:
        raise ImageBuildError("tar2sqfs was started without pipes")
    try:
        with process.stdin as pipe:
            _copy_changed(lab, pipe, version, changes, epoch)
    except BrokenPipeError:
        pass  # its own message says why
    said = process.stdout.read().decode(errors="replace")
    if process.wait() != 0:
        arriving.unlink(missing_ok=True)
        raise ImageBuildError(f"tar2sqfs ended with code {process.returncode}: {said.strip()}")
    arriving.replace(product)


def _copy_changed(
    lab: Path, pipe: IO[bytes], version: str, changes: list[recipe.Change], epoch: int
) -> None:
    """Copy the archive without what is volatile and with *changes* in place."""
    with (
        tarfile.open(lab) as source,
        tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as target,
    ):
        os_release = source.extractfile("./usr/lib/os-release")
        wanted = recipe.version_files(version, os_release.read() if os_release else b"")
        wanted += changes
        replaced = {change.path for change in wanted}
        for member in source:
            name = member.name.removeprefix("./")
            if name in replaced or recipe.is_volatile(name):
                continue
            content = source.extractfile(member) if member.isfile() else None
            target.addfile(member, content)
        for change in wanted:
            target.addfile(*recipe.member_of(change, epoch))
