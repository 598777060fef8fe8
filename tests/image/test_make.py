"""Image files made of small root file systems."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.errors import BootError, FormatError, IncompleteImageError, StorageError
from bootsvc.formats.manifest import BootFile, Manifest
from bootsvc.image.keys import SigningKey, signing_key_from
from bootsvc.image.make import BootOptions, lineage_of, make_image
from bootsvc.sequence.checks import Site, verify_whole
from bootsvc.storage.image_area import Tick, no_tick
from bootsvc.storage.image_file import open_bimg
from bootsvc.units import BLOCK_SIZE, MIB
from tests.image.rootfs import BUILD_ID, kernel, pack, write_tree

KEY = signing_key_from("release", bytes(range(32)))
INITRD = b"initrd" * 1000


@pytest.fixture(params=["squashfs", "ext4", "erofs"])
def rootfs(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return small_rootfs(tmp_path, request.param)


@pytest.fixture
def squashfs(tmp_path: Path) -> Path:
    return small_rootfs(tmp_path, "squashfs")


def small_rootfs(folder: Path, kind: str) -> Path:
    files: dict[str, bytes | str] = {
        "boot/vmlinuz-6.1": kernel(),
        "boot/initrd.img-6.1": INITRD,
        "sbin/init": b"#!/bin/sh\n",
    }
    return pack(write_tree(folder / "rootfs", files), kind)


def make(
    rootfs: Path,
    out: Path,
    boot: BootOptions | None = None,
    *,
    force: bool = False,
    tick: Tick = no_tick,
    key: SigningKey = KEY,
    label: str = "1.4",
) -> Manifest:
    return make_image(
        rootfs,
        out,
        key=key,
        number=4,
        label=label,
        lineage=lineage_of("lab"),
        compatible="lab",
        floor=2,
        boot=boot,
        notes="what is new",
        parent=bytes(range(32)),
        force=force,
        tick=tick,
    )


def test_image_holds_the_file_system_and_a_manifest_that_fits(rootfs: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.bimg"
    manifest = make(rootfs, out)
    content = rootfs.read_bytes()
    assert out.read_bytes()[: len(content)] == content
    assert manifest.size == len(content)
    assert manifest.sha256 == hashlib.sha256(content).digest()
    assert (manifest.number, manifest.floor, manifest.parent) == (4, 2, bytes(range(32)))
    with open_bimg(out) as (device, footer):
        assert footer.manifest == manifest
        verify_whole(device, Site((KEY.public,), "lab"))


def test_boot_section_names_kernel_and_initrd_with_their_digests(
    rootfs: Path, tmp_path: Path
) -> None:
    boot = make(rootfs, tmp_path / "v.bimg", BootOptions(options=("console=ttyS0",))).boot
    assert boot.kernel == BootFile(
        "/boot/vmlinuz-6.1", len(kernel()), hashlib.sha256(kernel()).digest()
    )
    assert boot.initrd == BootFile(
        "/boot/initrd.img-6.1", len(INITRD), hashlib.sha256(INITRD).digest()
    )
    assert boot.options == "console=ttyS0"
    assert boot.kernel_build_id == BUILD_ID.hex()
    assert (boot.method, boot.overlay, boot.init) == ("kexec", "volatile", "/sbin/init")


def test_choices_of_the_maker_stand_in_the_boot_section(squashfs: Path, tmp_path: Path) -> None:
    options = BootOptions(
        method="switch_root", overlay="kept", init="/usr/bin/start", with_initrd=False
    )
    boot = make(squashfs, tmp_path / "v.bimg", options).boot
    assert boot.initrd is None
    assert (boot.method, boot.overlay, boot.init) == ("switch_root", "kept", "/usr/bin/start")


def test_same_input_gives_the_same_bytes(squashfs: Path, tmp_path: Path) -> None:
    make(squashfs, tmp_path / "one.bimg")
    make(squashfs, tmp_path / "two.bimg")
    assert (tmp_path / "one.bimg").read_bytes() == (tmp_path / "two.bimg").read_bytes()


def test_file_whose_size_is_not_whole_blocks_is_padded(squashfs: Path, tmp_path: Path) -> None:
    with squashfs.open("ab") as file:
        file.write(b"x" * 1001)
    out = tmp_path / "v.bimg"
    manifest = make(squashfs, out)
    assert manifest.size % BLOCK_SIZE == 1001
    with open_bimg(out) as (device, _):
        verify_whole(device, Site((KEY.public,), "lab"))


def test_long_runs_of_zeros_stay_holes(squashfs: Path, tmp_path: Path) -> None:
    os.truncate(squashfs, 32 * MIB)
    out = tmp_path / "v.bimg"
    make(squashfs, out)
    assert out.stat().st_size > 32 * MIB
    assert out.stat().st_blocks * 512 < 8 * MIB
    with open_bimg(out) as (device, _):
        verify_whole(device, Site((KEY.public,), "lab"))


def test_progress_counts_every_byte(squashfs: Path, tmp_path: Path) -> None:
    ticks: list[int] = []
    make(squashfs, tmp_path / "v.bimg", tick=ticks.append)
    assert sum(ticks) == squashfs.stat().st_size


def test_existing_image_is_replaced_only_when_asked(squashfs: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.bimg"
    out.write_bytes(b"old")
    with pytest.raises(StorageError, match="exists already"):
        make(squashfs, out)
    assert out.read_bytes() == b"old"
    make(squashfs, out, force=True)
    assert out.stat().st_size > 3


def test_interrupted_maker_leaves_nothing_behind(squashfs: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.bimg"
    out.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(squashfs, out, force=True, tick=interrupt)
    assert sorted(tmp_path.iterdir()) == before
    assert out.read_bytes() == b"old"


def test_file_system_that_changes_under_the_maker_is_refused(
    squashfs: Path, tmp_path: Path
) -> None:
    def grow(_: int) -> None:
        if squashfs.stat().st_size < 4 * MIB:
            with squashfs.open("ab") as file:
                file.write(bytes(MIB))

    with pytest.raises(IncompleteImageError, match="changed while it was read"):
        make(squashfs, tmp_path / "v.bimg", tick=grow)
    assert not (tmp_path / "v.bimg").exists()


def test_switch_root_needs_a_kernel_with_a_build_id(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"boot/vmlinuz-1": b"no kernel at all"}
    rootfs = pack(write_tree(tmp_path / "rootfs", files), "squashfs")
    boot = BootOptions(method="switch_root", with_initrd=False)
    with pytest.raises(BootError, match="no build-id"):
        make(rootfs, tmp_path / "v.bimg", boot)
    assert make(rootfs, tmp_path / "v.bimg", replace(boot, method="kexec")).boot.kernel.size == 16


def test_field_out_of_range_is_refused_and_leaves_no_file(squashfs: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="label"):
        make(squashfs, tmp_path / "v.bimg", label="x" * 65)
    assert not list(tmp_path.glob("*.bimg*"))
    assert not list(tmp_path.glob(".*"))


def test_missing_file_system_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none\.squashfs"):
        make(tmp_path / "none.squashfs", tmp_path / "v.bimg")


def test_lineage_is_a_uuid_or_the_uuid_of_a_name() -> None:
    uuid = "0f5f3c63-4a53-4b3a-9c0f-2b6d3c1d0001"
    assert lineage_of(uuid.upper()) == uuid
    assert lineage_of("lab") == lineage_of("lab")
    assert lineage_of("lab") != lineage_of("kiosk")
    assert len(lineage_of("lab")) == 36
