"""What scenarios and the demo are made of: the updater's initramfs, signed images, disks.

Everything is cached under ``build/`` by the content of what it is made from; ``build_all`` makes
what is missing, so that scenarios, several at a time, only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bootsvc.disk.create import DiskContents, create_disk
from bootsvc.disk.partition import plan
from bootsvc.image.keys import SigningKey, load_signing_key, new_key_pair
from bootsvc.image.make import BootOptions, lineage_of, make_image
from bootsvc.units import MIB
from initramfs.build import BuildRequest, build
from initramfs.modules import KernelTree
from qemu_lab.images import cache, kernels, probe, shapes
from qemu_lab.images.tools import BUILD, IMAGES, PROJECT, mebibytes, step

COMPATIBLE = "lab"
LINEAGE = lineage_of("bootsvc lab")
KEYS = BUILD / "keys"
KEY = KEYS / "lab.key"
PUBLIC_KEY = KEYS / "lab.pub"
OTHER_KEY = BUILD / "keys-of-strangers" / "stranger.key"
"""A key that no machine trusts: for images that must be refused."""

SETTINGS_FILE = BUILD / "initramfs" / "bootsvc.toml"
SETTINGS = f'compatible = "{COMPATIBLE}"\nwatchdog_s = 30\n'
CONSOLE = "console=ttyS0 no_timer_check"
"""Options of every kernel in the lab. On a busy host an emulated timer may be late for the kernel's
check of it, which then panics; guests are meant to leave it out."""
QUICK = "bootsvc.console_wait_s=0 bootsvc.progress_s=1"
"""A start that waits for no key, and shows its progress so often that faults can be timed by it."""
PROBE_AREA = 64 * MIB
DATA = 64 * MIB
"""As ``bootsvc disk create`` makes it; one probe image has room in it as a restore point."""

PROFILES = {"cloud": ("virtio-nvme",), "generic": ("virtio-nvme", "pc")}
"""Kernel -> profiles of modules in the updater's initramfs."""


@dataclass(frozen=True)
class ProbeImage:
    """One signed probe image.

    Attributes:
        version: its number; ``behaviour``: one of probe.BEHAVIOURS.
        method: back end that its manifest asks for.
        kernel: cloud or generic.
        options: kernel options beside the console.
        overlay: where its writes go: volatile (memory) or kept (data).
        shape: one of shapes.SHAPES.
        verity: its blocks are checked while it runs.
    """

    version: int
    behaviour: str = "good"
    method: str = "switch_root"
    kernel: str = "cloud"
    options: tuple[str, ...] = ()
    overlay: str = "volatile"
    shape: str = "squashfs"
    verity: bool = False

    @property
    def name(self) -> str:
        """For example probe-2-panic-kexec."""
        words = [f"probe-{self.version}", self.behaviour, self.method, self.kernel, *self.options]
        words += [self.overlay, self.shape, *(["verity"] if self.verity else [])]
        plain = {"good", "cloud", "volatile", "squashfs"}
        return "-".join(word.replace("=", "-") for word in words if word not in plain)

    @property
    def path(self) -> Path:
        """The image file."""
        return IMAGES / f"{self.name}.bimg"


NOT_A_KERNEL = "/variant/payload"
"""A file of the probe that no machine can start: the kernel of the behaviour no-kernel."""

HANG_BEFORE_USERSPACE = ("probe.hang=initrd",)

CATALOGUE = (
    ProbeImage(1),
    ProbeImage(2),
    ProbeImage(3),
    ProbeImage(2, "silent"),
    ProbeImage(2, "reboot"),
    ProbeImage(1, method="kexec"),
    ProbeImage(2, method="kexec"),
    ProbeImage(2, "no-kernel", method="kexec"),
    ProbeImage(1, method="kexec", kernel="generic"),
    ProbeImage(2, method="kexec", kernel="generic", options=HANG_BEFORE_USERSPACE),
    ProbeImage(2, "panic", method="kexec", kernel="generic"),
    ProbeImage(1, overlay="kept"),
    ProbeImage(2, overlay="kept"),
    ProbeImage(1, shape="erofs"),
    ProbeImage(1, shape="disk"),
    ProbeImage(1, verity=True),
    ProbeImage(2, method="kexec", shape="disk", verity=True),
)
"""All probe images that scenarios use."""


def build_all() -> None:
    """Make whatever of the catalogue is missing or old."""
    lab_key()
    for name in PROFILES:
        updater(name)
    installer("cloud")
    probe.build([_variant(image) for image in CATALOGUE], IMAGES, (PUBLIC_KEY,), SETTINGS)
    for image in CATALOGUE:
        probe_image(image)


def lab_key() -> SigningKey:
    """The key that signs lab images; made once per build folder."""
    for path in (KEY, OTHER_KEY):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            new_key_pair(path.with_suffix(""))
    return load_signing_key(KEY)


def kernel(name: str) -> kernels.Kernel:
    """An extracted kernel, fetched where it is missing."""
    return kernels.fetch(name)


def updater(kernel_name: str) -> Path:
    """The updater's initramfs for a kernel, as it ships; GRUB reads it faster than a raw one."""
    lab_key()
    found = kernel(kernel_name)
    out = BUILD / "initramfs" / f"{kernel_name}.cpio"
    key = cache.key_of(
        [
            found.release,
            SETTINGS,
            PUBLIC_KEY,
            PROJECT / "bootsvc",
            PROJECT / "initramfs",
            probe.busybox_file(),
            Path("/usr/bin/python3").resolve(),
        ]
    )
    with cache.locked(out):
        if not cache.is_fresh(out, key):
            _build_updater(out, found, PROFILES[kernel_name])
            cache.mark(out, key)
    return out


def installer(kernel_name: str) -> Path:
    """The initramfs that makes a disk with ``updater`` on it; QEMU loads it, so it is raw."""
    carried = updater(kernel_name)
    out = BUILD / "initramfs" / f"{kernel_name}-installer.cpio"
    key = cache.key_of(["raw", cache.note_of(carried)])
    with cache.locked(out):
        if not cache.is_fresh(out, key):
            _build_updater(out, kernel(kernel_name), PROFILES[kernel_name], carried)
            cache.mark(out, key)
    return out


def _build_updater(
    out: Path, found: kernels.Kernel, profiles: tuple[str, ...], carried: Path | None = None
) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    SETTINGS_FILE.write_text(SETTINGS, encoding="ascii")
    with step(f"{'installer' if carried else 'initramfs'} for {found.release}") as result:
        build(
            BuildRequest(
                out,
                kernel=KernelTree.extracted(found.tree),
                profiles=profiles,
                entry="bootsvc.updater",
                config=SETTINGS_FILE,
                keys=(PUBLIC_KEY,),
                installer=carried,
                compression="none" if carried else "zstd",
            )
        )
        result.note = mebibytes(out)


def probe_image(image: ProbeImage) -> Path:
    """The signed image file of a probe."""
    signing_key = lab_key()
    (rootfs,) = probe.build([_variant(image)], IMAGES, (PUBLIC_KEY,), SETTINGS)
    key = cache.key_of(
        [
            repr(image),
            cache.note_of(rootfs),
            PUBLIC_KEY,
            PROJECT / "bootsvc/image",
            Path(shapes.__file__),
        ]
    )
    if not cache.is_fresh(image.path, key):
        with shapes.shaped(rootfs, image.shape) as raw:
            make_image(
                raw,
                image.path,
                key=signing_key,
                number=image.version,
                label=f"{image.version}.0",
                lineage=LINEAGE,
                compatible=COMPATIBLE,
                boot=BootOptions(
                    image.method,
                    (CONSOLE, *image.options),
                    image.overlay,
                    kernel=NOT_A_KERNEL if image.behaviour == "no-kernel" else "",
                    verity=image.verity,
                ),
                force=True,
            )
        cache.mark(image.path, key)
    return image.path


def _variant(image: ProbeImage) -> probe.Variant:
    needs_dmsetup = image.verity and image.method == "kexec"
    return probe.Variant(image.version, image.behaviour, kernel(image.kernel), needs_dmsetup)


def lab_disk(
    out: Path,
    image: Path,
    *,
    kernel_name: str = "cloud",
    confirmed: bool = True,
    area_size: int = PROBE_AREA,
    data_size: int = DATA,
    options: str = "",
) -> Path:
    """A bootable disk with ``image``; ``options`` are kernel options for the updater."""
    found = kernel(kernel_name)
    create_disk(
        out,
        plan(area_size=area_size, data_size=data_size),
        DiskContents(
            image=image,
            kernel=found.vmlinuz,
            initramfs=updater(kernel_name),
            confirmed=confirmed,
            options=f"{CONSOLE} {QUICK} {options}".strip(),
            menu_seconds=0,
        ),
        force=True,
    )
    return out
