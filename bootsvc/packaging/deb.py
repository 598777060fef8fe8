"""The tree of the Debian package, and the package made from it by ``dpkg-deb``.

Two builds of the same sources give the same bytes: modes and owners are set here, the order of
members is dpkg-deb's (sorted), and times are SOURCE_DATE_EPOCH or else the changelog's date.
No helper of the debhelper family is needed, so the package builds wherever dpkg is.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import bootsvc
from bootsvc.cli import build_parser
from bootsvc.errors import ToolError
from bootsvc.packaging import completion
from bootsvc.packaging.bundled import bundled_files
from bootsvc.packaging.manpage import manual_page
from bootsvc.transfer import BUNDLED

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent

_CODE = "usr/lib/python3/dist-packages/bootsvc"
_OVERLAY = "usr/lib/bootsvc/overlay.sh"
_DOCS = "usr/share/doc/bootsvc"
_MANUAL_PAGE = "usr/share/man/man1/bootsvc.1.gz"
# Not part of what runs in the OS: this builder itself.
_LEFT_OUT = frozenset({"packaging", "__pycache__"})
_SCRIPTS = ("postinst", "prerm", "postrm")


@dataclass(frozen=True)
class Member:
    """One file of the package.

    Attributes:
        path: where it is installed, relative to /.
        content: its bytes.
        executable: mode 0755 rather than 0644.
    """

    path: str
    content: bytes
    executable: bool


def version() -> str:
    """The package's version, which is that of the code."""
    return bootsvc.__version__


def changelog_epoch() -> int:
    """Seconds since 1970 of the newest changelog entry, for reproducible times."""
    for line in (HERE / "debian/changelog").read_text(encoding="utf-8").splitlines():
        if line.startswith(" -- "):
            return int(parsedate_to_datetime(line.split(">  ", 1)[1]).timestamp())
    raise ToolError("bootsvc/packaging/debian/changelog has no line with a date")


def members() -> list[Member]:
    """Every file that the package installs, sorted by path."""
    found = []
    for path in sorted((HERE / "root").rglob("*")):
        if path.is_file():
            name = path.relative_to(HERE / "root").as_posix()
            found.append(Member(name, path.read_bytes(), bool(path.stat().st_mode & 0o100)))
    code = PROJECT / "bootsvc"
    for path in sorted(code.rglob("*")):
        relative = path.relative_to(code)
        if path.is_file() and not _LEFT_OUT.intersection(relative.parts):
            name = f"{_CODE}/{relative.as_posix()}"
            found.append(Member(name, path.read_bytes(), executable=False))
    for name, content in bundled_files(PROJECT):
        found.append(Member(f"{_CODE}/{BUNDLED.name}/{name}", content, executable=False))
    overlay = PROJECT / "initramfs/overlay.sh"
    found.append(Member(_OVERLAY, overlay.read_bytes(), executable=True))
    copyright_text = (HERE / "debian/copyright").read_bytes()
    found.append(Member(f"{_DOCS}/copyright", copyright_text, executable=False))
    changes = (HERE / "debian/changelog").read_bytes()
    # The name that Debian policy gives the changelog of a native package.
    packed = gzip.compress(changes, mtime=0)
    found.append(Member(f"{_DOCS}/changelog.gz", packed, executable=False))
    found.extend(_made_from_parser())
    return sorted(found, key=lambda member: member.path)


def _made_from_parser() -> list[Member]:
    """What the command line says of itself: its manual page, and its completion in bash."""
    page = manual_page(build_parser(), version(), changelog_epoch())
    words = completion.bash_completion(build_parser())
    return [
        Member(_MANUAL_PAGE, gzip.compress(page.encode(), mtime=0), executable=False),
        Member(completion.AT, words.encode(), executable=False),
    ]


def control_file(files: list[Member]) -> str:
    """The control file; Installed-Size is in KiB, each file rounded up, as policy says."""
    size = sum((len(member.content) + 1023) // 1024 for member in files)
    template = (HERE / "debian/control.in").read_text(encoding="utf-8")
    return template.replace("@VERSION@", version()).replace("@SIZE@", str(size))


def build(target_dir: Path) -> Path:
    """Build the package into *target_dir*.

    Returns:
        The path of ``bootsvc_<version>_all.deb``; it is replaced at once or not at all.

    Raises:
        ToolError: dpkg-deb is missing or failed.
    """
    files = members()
    target_dir.mkdir(parents=True, exist_ok=True)
    target = target_dir / f"bootsvc_{version()}_all.deb"
    with tempfile.TemporaryDirectory(prefix="bootsvc-deb-") as scratch:
        tree = Path(scratch) / "tree"
        _write_tree(tree, files)
        product = Path(scratch) / target.name
        _dpkg_deb(tree, product)
        arriving = target.with_suffix(".new")
        shutil.copyfile(product, arriving)
        arriving.replace(target)
    return target


def _write_tree(tree: Path, files: list[Member]) -> None:
    for member in files:
        _write(tree / member.path, member.content, 0o755 if member.executable else 0o644)
    control = tree / "DEBIAN"
    _write(control / "control", control_file(files).encode(), 0o644)
    settings = "".join(f"/{member.path}\n" for member in files if member.path.startswith("etc/"))
    _write(control / "conffiles", settings.encode(), 0o644)
    for name in _SCRIPTS:
        _write(control / name, (HERE / "debian" / name).read_bytes(), 0o755)
    # The umask of whoever builds must not show in the package.
    for path in (tree, *tree.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _dpkg_deb(tree: Path, product: Path) -> None:
    environment = dict(os.environ)
    environment.setdefault("SOURCE_DATE_EPOCH", str(changelog_epoch()))
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(product)]
    # Every time in the tree, so that it does not depend on dpkg-deb's clamping.
    epoch = int(environment["SOURCE_DATE_EPOCH"])
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ToolError("dpkg-deb is missing", hint="apt-get install dpkg") from None
    if done.returncode != 0:
        raise ToolError(f"dpkg-deb failed: {done.stderr.strip()}")
