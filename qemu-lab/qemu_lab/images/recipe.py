"""What goes into the Debian images: packages, what is left out of them, and the lab's files."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FILES = Path(__file__).with_name("debian_files")
RESPONDER = Path(__file__).parents[1] / "guest" / "responder.sh"

# Essential packages come by themselves; these are the OS around them. openssl and python3
# are what security updates hit often, so that v2 really differs from v1.
PACKAGES = (
    "busybox",
    "dmsetup",
    "e2fsprogs",
    "initramfs-tools",
    "kmod",
    "linux-base",
    "login",
    "openssl",
    "passwd",
    "python3",
    "python3-construct",
    "python3-crcmod",
    "python3-nacl",
    "python3-zstandard",
    "systemd",
    "systemd-sysv",
    "tzdata",
    "udev",
    "zstd",
)

# dpkg leaves these out of every package. Said openly: the packages are Debian's own, but their
# texts for readers and most of the kernel's drivers are not in the image.
PATH_EXCLUDES = (
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/lintian/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/lib/udev/hwdb.d/*",
    "/lib/udev/hwdb.d/*",
    "/usr/lib/*/gconv/*",
    "/usr/lib/*/perl/*/CORE/*",
    "/usr/lib/*/perl/*/auto/Encode/*",
    "/usr/share/perl/*/Unicode/*",
    "/usr/share/perl/*/CPAN*",
    "*/modules/*/kernel/*",
)
PATH_INCLUDES = (
    "/usr/share/doc/*/copyright",
    "/usr/lib/*/gconv/gconv-modules*",
    # Drivers of the lab's machines, and the file systems that are mounted.
    "*/kernel/arch/x86/crypto/*",
    "*/kernel/crypto/*",
    "*/kernel/lib/*",
    "*/kernel/drivers/block/*",
    "*/kernel/drivers/char/*",
    "*/kernel/drivers/md/dm-*",
    "*/kernel/drivers/nvme/*",
    "*/kernel/drivers/net/virtio_net.ko*",
    "*/kernel/drivers/net/net_failover.ko*",
    "*/kernel/net/core/*",
    "*/kernel/drivers/scsi/sd_mod.ko*",
    "*/kernel/drivers/scsi/scsi_*",
    "*/kernel/drivers/scsi/virtio_scsi.ko*",
    "*/kernel/drivers/virtio/*",
    "*/kernel/drivers/watchdog/*",
    "*/kernel/fs/ext4/*",
    "*/kernel/fs/fat/*",
    "*/kernel/fs/fuse/*",
    "*/kernel/fs/autofs/*",
    "*/kernel/fs/jbd2/*",
    "*/kernel/fs/mbcache.ko*",
    "*/kernel/fs/nls/*",
    "*/kernel/fs/overlayfs/*",
    "*/kernel/fs/squashfs/*",
    "*/kernel/fs/erofs/*",
)


def dpkg_options() -> list[str]:
    """Arguments for mmdebstrap that hand the lists above to dpkg."""
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in PATH_EXCLUDES]
    return options + [f"--dpkgopt=path-include={pattern}" for pattern in PATH_INCLUDES]


@dataclass(frozen=True)
class Change:
    """One file that is put into an image, replacing what is there.

    Attributes:
        path: relative to /.
        content: its bytes.
        executable: mode 0755 rather than 0644.
    """

    path: str
    content: bytes
    executable: bool = False


def _file(name: str) -> bytes:
    return (FILES / name).read_bytes()


def lab_files(public_keys: Iterable[Path], settings: str) -> list[Change]:
    """What every lab image gets beside its packages.

    Args:
        public_keys: keys whose signatures ``bootsvc stage`` accepts.
        settings: text of /etc/bootsvc/bootsvc.toml.
    """
    return [
        Change("usr/lib/qemu-lab/responder.sh", RESPONDER.read_bytes(), executable=True),
        Change(
            "etc/systemd/system/qemu-lab-responder.service", _file("qemu-lab-responder.service")
        ),
        Change(
            "etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf",
            _file("autologin.conf"),
        ),
        Change("etc/systemd/journald.conf.d/qemu-lab.conf", b"[Journal]\nStorage=volatile\n"),
        Change("etc/initramfs-tools/conf.d/qemu-lab", _file("initramfs.conf")),
        Change("etc/initramfs-tools/modules", _file("initramfs-modules")),
        Change("etc/hostname", b"debian-lab\n"),
        Change("etc/systemd/network/lab.network", _file("lab.network")),
        Change("etc/fstab", b"# The root is an overlay that bootsvc sets up.\n"),
        # Without them systemd takes every start on a fresh overlay for an update of /usr.
        Change("etc/.updated", b""),
        Change("var/.updated", b""),
        Change("etc/bootsvc/bootsvc.toml", settings.encode()),
        Change("tmp/finish.sh", _file("finish.sh"), executable=True),
        *(Change(f"etc/bootsvc/keys/{key.name}", key.read_bytes()) for key in sorted(public_keys)),
    ]


def version_files(version: str, os_release: bytes) -> list[Change]:
    """os-release with the image's version in it, for people and for the responder."""
    lines = [line for line in os_release.splitlines() if not line.startswith(b"IMAGE_")]
    lines += [b"IMAGE_ID=debian-lab", f"IMAGE_VERSION={version}".encode()]
    return [Change("usr/lib/os-release", b"\n".join(lines) + b"\n")]


INCREMENTS = ("3", "4")
"""Versions that follow v2, each a small step after the one before: see ``increment_files``."""


def increment_files(version: str) -> list[Change]:
    """What is new in an increment, beside its version: 1 MiB that no other version has."""
    news = hashlib.shake_128(f"debian news {version}".encode()).digest(2**20)
    return [Change("usr/share/qemu-lab/news", news)]


def bad_files() -> dict[str, list[Change]]:
    """Name of each bad image -> what makes it bad. All are made from v2."""
    return {
        "bad-panic": [Change("usr/sbin/init", _file("init-panic"), executable=True)],
        "bad-hang": [Change("usr/sbin/init", _file("init-hang"), executable=True)],
        "bad-reboot": [Change("usr/sbin/init", _file("init-reboot"), executable=True)],
        "bad-silent": [
            Change("etc/bootsvc/health.d/50-never", _file("health-never"), executable=True)
        ],
    }


# Left by package managers and different at every build: programs make them anew, as devtmpfs
# does the device nodes.
_VOLATILE = (
    "dev/",
    "var/cache/",
    "var/lib/apt/lists/",
    "var/log/",
    "var/lib/systemd/random-seed",
    "tmp/",
    "run/",
)
_VOLATILE_FILES = frozenset(
    {"etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-", "etc/resolv.conf", "etc/.pwd.lock"}
)


def is_volatile(name: str) -> bool:
    """Whether a file of a freshly made system has no place in its image."""
    return name in _VOLATILE_FILES or (
        name.startswith(_VOLATILE) or (name.startswith("var/lib/dpkg/") and name.endswith("-old"))
    )


def tar_of(changes: Iterable[Change], epoch: int) -> bytes:
    """A tar archive of *changes* with everything owned by root."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for change in changes:
            archive.addfile(*member_of(change, epoch))
    return stream.getvalue()


def member_of(change: Change, epoch: int) -> tuple[tarfile.TarInfo, io.BytesIO]:
    """The archive member for one change, and its content."""
    member = tarfile.TarInfo("./" + change.path)
    member.size = len(change.content)
    member.mode = 0o755 if change.executable else 0o644
    member.mtime = epoch
    return member, io.BytesIO(change.content)
