"""Debian's kernels, extracted from their real packages and never installed.

The package that is meant (``linux-image-amd64``) is an empty one that depends on the newest
kernel. ``fetch`` follows that dependency with apt, so the machine's own sources decide what
is fetched from where, and unpacks the kernel to ``build/kernels/<name>``.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qemu_lab.images.errors import ImageBuildError
from qemu_lab.images.tools import KERNELS, mebibytes, run, step

FLAVOURS = {"cloud": "linux-image-cloud-amd64", "generic": "linux-image-amd64"}
"""Name below build/kernels -> the package that always means the newest kernel of its kind."""


@dataclass(frozen=True)
class Kernel:
    """An extracted kernel package.

    Attributes:
        name: "cloud" or "generic".
        release: as ``uname -r`` prints it.
        tree: directory with boot/ and lib/modules/ or usr/lib/modules/.
    """

    name: str
    release: str
    tree: Path

    @property
    def vmlinuz(self) -> Path:
        """The kernel image."""
        return self.tree / "boot" / f"vmlinuz-{self.release}"

    @property
    def package(self) -> str:
        """Name of the Debian package."""
        return f"linux-image-{self.release}"


def find(name: str, kernels: Path = KERNELS) -> Kernel | None:
    """The kernel in build/kernels/<name>, or None where there is none yet.

    Raises:
        ImageBuildError: the directory is there but holds no kernel, or several.
    """
    tree = kernels / name
    if not tree.is_dir():
        return None
    found = sorted((tree / "boot").glob("vmlinuz-*"))
    if len(found) != 1:
        raise ImageBuildError(
            f"{tree} holds {len(found)} kernels instead of one: remove it and build again"
        )
    release = found[0].name.removeprefix("vmlinuz-")
    if not any((tree / place / release).is_dir() for place in ("lib/modules", "usr/lib/modules")):
        raise ImageBuildError(f"{tree} has no modules of {release}: remove it and build again")
    return Kernel(name, release, tree)


def fetch(name: str, kernels: Path = KERNELS, *, refresh: bool = False) -> Kernel:
    """The kernel of that name, fetched if it is not there yet.

    Args:
        name: a key of FLAVOURS.
        kernels: where kernels are kept.
        refresh: ask apt for the newest one even if there is one.

    Raises:
        ImageBuildError: apt cannot find or fetch it.
    """
    present = find(name, kernels)
    if present is not None and not refresh:
        return present
    package = newest_package(FLAVOURS[name])
    if present is not None and present.package == package:
        return present
    with step(f"kernel {name}: fetching {package}") as result:
        deb = fetch_package(package, kernels / "debs")
        _extract(deb, kernels / name)
        kernel = find(name, kernels)
        if kernel is None:
            raise ImageBuildError(f"{deb} held no kernel")
        result.note = f"{kernel.release} ({mebibytes(deb)} package)"
    return kernel


def newest_package(meta: str) -> str:
    """The kernel package that a package like linux-image-amd64 depends on now.

    Raises:
        ImageBuildError: apt does not know it.
    """
    text = run(["apt-cache", "show", "--no-all-versions", meta])
    found = dependency_of(text)
    if found is None:
        raise ImageBuildError(f"apt does not say which kernel {meta} means: apt-get update")
    return found


def dependency_of(control: str) -> str | None:
    """The kernel package in the Depends line of a control file; None where there is none."""
    line = re.search(r"^Depends: (.*)$", control, re.MULTILINE)
    found = re.search(r"\blinux-image-[0-9][\w.+~-]*", line[1]) if line else None
    return found[0] if found else None


def fetch_package(package: str, debs: Path) -> Path:
    """The .deb of *package* in *debs*, by ``apt-get download`` unless it is there.

    Raises:
        ImageBuildError: apt cannot fetch it.
    """
    there = sorted(debs.glob(f"{package}_*.deb"))
    if there:
        return there[-1]
    debs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=debs) as scratch:
        # As root apt would drop to a user that cannot write into this directory.
        run(["apt-get", "-o", "APT::Sandbox::User=root", "download", package], cwd=Path(scratch))
        fetched = list(Path(scratch).glob("*.deb"))
        if len(fetched) != 1:
            raise ImageBuildError(f"apt-get download {package} left {len(fetched)} files")
        # apt writes the colon of an epoch as %3a, which mmdebstrap and tar need not see.
        target = debs / fetched[0].name.replace("%3a", "+")
        fetched[0].replace(target)
    return target


def _extract(deb: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".extract-", dir=target.parent) as scratch:
        tree = Path(scratch) / "tree"
        run(["dpkg-deb", "-x", str(deb), str(tree)])
        shutil.rmtree(tree / "usr/share/doc", ignore_errors=True)
        old = Path(scratch) / "old"
        if target.exists():
            target.rename(old)
        tree.rename(target)
