"""Whole disk files, made small and read back by other programs."""

import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.disk import create, tools
from bootsvc.disk.create import DiskContents, create_disk
from bootsvc.disk.grub import EFI, make_image
from bootsvc.disk.partition import DiskLayout, plan
from bootsvc.errors import (
    AlteredImageError,
    ImageTooLargeError,
    LayoutError,
    SettingsError,
    StorageError,
    ToolError,
)
from bootsvc.formats.boot_status import Area, AreaState, Phase, Request, StatusCode
from bootsvc.storage.disk import open_disk
from bootsvc.storage.image_area import read_footer, read_leaves, verify_content
from bootsvc.units import MIB
from tests.disk.small_image import write_image

CONTENT = random.Random(1).randbytes(300_000) + bytes(200_000) + b"end"


@pytest.fixture
def layout() -> DiskLayout:
    return plan(area_size=2 * MIB, data_size=8 * MIB, seed="test")


@pytest.fixture
def contents(tmp_path: Path) -> DiskContents:
    write_image(tmp_path / "v1.bimg", CONTENT, number=7, floor=3)
    (tmp_path / "vmlinuz").write_bytes(random.Random(2).randbytes(100_000))
    (tmp_path / "initramfs.img").write_bytes(random.Random(3).randbytes(50_000))
    return DiskContents(
        tmp_path / "v1.bimg", tmp_path / "vmlinuz", tmp_path / "initramfs.img", confirmed=True
    )


def staged(contents: DiskContents) -> DiskContents:
    return DiskContents(contents.image, contents.kernel, contents.initramfs)


def esp_file(disk: Path, layout: DiskLayout, path: str) -> bytes:
    found = subprocess.run(
        ["mtype", "-i", f"{disk}@@{layout['esp'].offset}", f"::{path}"],
        capture_output=True,
        check=True,
    )
    return found.stdout


def test_confirmed_image_stands_in_primary_and_backup(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    out = tmp_path / "disk.img"
    made = create_disk(out, layout, contents)
    with open_disk(out, writable=False) as disk:
        status = disk.status.read()
        for area in (Area.PRIMARY, Area.BACKUP):
            found = read_footer(disk.areas[area])
            assert found == made
            verify_content(disk.areas[area], read_leaves(disk.areas[area], found))
            assert disk.areas[area].read_at(0, len(CONTENT)) == CONTENT
        assert status.layout_hash == disk.gpt.layout_hash()
        assert all(copy.status == status for copy in disk.status.copies())
    assert (status.status_code, status.phase) == (StatusCode.WORKING, Phase.IDLE)
    assert status.boot_area is Area.PRIMARY
    assert status.request is Request.NONE
    assert status.primary.state is AreaState.CONFIRMED
    assert status.backup.state is AreaState.VALID
    assert status.staging.state is AreaState.EMPTY
    assert status.primary.identity == status.backup.identity == made.identity
    assert (status.primary.number, status.version_floor) == (7, 3)


def test_unconfirmed_image_waits_in_staging_to_be_installed(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    out = tmp_path / "disk.img"
    made = create_disk(out, layout, staged(contents))
    with open_disk(out, writable=False) as disk:
        status = disk.status.read()
        assert read_footer(disk.areas[Area.STAGING]) == made
        assert not any(disk.areas[Area.PRIMARY].read_at(0, 2 * MIB))
    assert (status.status_code, status.phase) == (StatusCode.WORKING, Phase.INSTALL)
    assert status.boot_area is Area.NONE
    assert status.request is Request.UPDATE
    assert status.primary.state is AreaState.EMPTY
    assert (status.staging.state, status.staging.identity) == (AreaState.VALID, made.identity)
    assert status.version_floor == 0


def test_esp_holds_kernel_initramfs_and_menu(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    out = tmp_path / "disk.img"
    create_disk(out, layout, contents)
    assert esp_file(out, layout, "/bootsvc/a/vmlinuz") == contents.kernel.read_bytes()
    assert esp_file(out, layout, "/bootsvc/a/initrd.img") == contents.initramfs.read_bytes()
    assert b"/vmlinuz console=ttyS0 gpt" in esp_file(out, layout, "/grub/grub.cfg")
    assert esp_file(out, layout, "/EFI/BOOT/BOOTX64.EFI") == make_image(EFI, layout)


def test_slot_a_is_the_proven_one_and_its_digests_are_those_that_sha256sum_knows(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    out = tmp_path / "disk.img"
    create_disk(out, layout, contents)
    assert b"\nslot=a\n#" in esp_file(out, layout, "/bootsvc/proven.env")
    assert b"\ntry=\ntried=\n#" in esp_file(out, layout, "/bootsvc/try.env")
    for name in ("vmlinuz", "initrd.img", "sha256.sum"):
        (tmp_path / name).write_bytes(esp_file(out, layout, f"/bootsvc/a/{name}"))
    subprocess.run(["sha256sum", "--check", "sha256.sum"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_file_systems_are_sound_and_stay_inside_their_partitions(
    tmp_path: Path, contents: DiskContents, sector_size: int
) -> None:
    layout = plan(area_size=2 * MIB, data_size=8 * MIB, sector_size=sector_size, seed="test")
    out = tmp_path / "disk.img"
    create_disk(out, layout, staged(contents))
    for role, check in (
        ("esp", ["fsck.vfat", "-n"]),
        ("data", ["e2fsck", "-fn"]),
    ):
        part = layout[role]
        alone = tmp_path / f"{role}.fs"
        with out.open("rb") as file:
            file.seek(part.offset)
            alone.write_bytes(file.read(part.size))
        subprocess.run(
            [*check, alone],
            check=True,
            capture_output=True,
            env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
        )


def test_no_block_of_data_is_smaller_than_a_sector(tmp_path: Path, contents: DiskContents) -> None:
    layout = plan(area_size=2 * MIB, data_size=8 * MIB, sector_size=4096, seed="test")
    out = tmp_path / "disk.img"
    create_disk(out, layout, contents)
    where = f"{out}?offset={layout['data'].offset}"
    assert "\nBlock size:               4096\n" in tools.run_tool(
        ["debugfs", "-R", "stats -h", where]
    )


def test_data_has_its_folders_owned_by_root(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    out = tmp_path / "disk.img"
    create_disk(out, layout, contents)
    listed = tools.run_tool(["debugfs", "-R", "ls -l /", f"{out}?offset={layout['data'].offset}"])
    entries = {line.split()[-1]: line.split() for line in listed.splitlines() if line.strip()}
    assert {name: entry[1] for name, entry in entries.items() if name[0] not in ".l"} == {
        "overlays": "40755",
        "identity": "40700",
    }
    assert entries["log"][1] == "40755"
    assert all(entry[3:5] == ["0", "0"] for entry in entries.values())


def test_disk_file_is_sparse(tmp_path: Path, layout: DiskLayout, contents: DiskContents) -> None:
    out = tmp_path / "disk.img"
    create_disk(out, layout, contents)
    assert out.stat().st_size == layout.size
    assert out.stat().st_blocks * 512 < layout.size // 8


def test_existing_file_is_kept_unless_forced(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    out = tmp_path / "disk.img"
    out.write_text("precious")
    with pytest.raises(StorageError, match="exists already"):
        create_disk(out, layout, contents)
    assert out.read_text() == "precious"
    create_disk(out, layout, contents, force=True)
    assert out.stat().st_size == layout.size


def test_image_larger_than_its_area_is_refused_before_anything_is_written(
    tmp_path: Path, contents: DiskContents
) -> None:
    write_image(contents.image, bytes(2 * MIB))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ImageTooLargeError, match=r"an area has 2\.0 MiB") as caught:
        create_disk(tmp_path / "disk.img", plan(area_size=2 * MIB), contents)
    assert "--area-size 3M" in caught.value.hint
    assert sorted(tmp_path.iterdir()) == before


def test_altered_image_leaves_no_disk_behind(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    data = bytearray(contents.image.read_bytes())
    data[100_000] ^= 1
    contents.image.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(AlteredImageError):
        create_disk(tmp_path / "disk.img", layout, contents)
    assert sorted(tmp_path.iterdir()) == before


def test_kernel_too_large_for_two_slots_is_refused(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    os.truncate(contents.kernel, 50 * MIB)
    with pytest.raises(LayoutError, match="two slots") as caught:
        create_disk(tmp_path / "disk.img", layout, contents)
    assert "--esp-size" in caught.value.hint


def test_missing_program_is_named_with_its_package(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create, "TOOLS", ("mkfs.nothing",))
    monkeypatch.setitem(tools.PACKAGES, "mkfs.nothing", "nothing-tools")
    with pytest.raises(ToolError, match=r"mkfs\.nothing is not installed") as caught:
        create_disk(tmp_path / "disk.img", layout, contents)
    assert "apt-get install nothing-tools" in caught.value.hint
    assert not (tmp_path / "disk.img").exists()


def test_failing_program_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="mcopy failed with exit code") as caught:
        tools.run_tool(["mcopy", "-i", tmp_path / "none", "::x", "-"])
    assert "mcopy -i" in caught.value.hint


def test_disk_with_large_sectors_is_made_without_boot_loader_for_a_bios(
    tmp_path: Path, contents: DiskContents
) -> None:
    layout = plan(area_size=2 * MIB, data_size=8 * MIB, sector_size=4096, seed="test")
    out = tmp_path / "disk.img"
    create_disk(out, layout, contents)
    assert esp_file(out, layout, "/bootsvc/a/vmlinuz") == contents.kernel.read_bytes()
    assert esp_file(out, layout, "/EFI/BOOT/BOOTX64.EFI").startswith(b"MZ")
    with out.open("rb") as file:
        assert not any(file.read(440))


def test_progress_counts_up_to_the_whole(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    seen: list[tuple[str, int, int]] = []
    create_disk(
        tmp_path / "disk.img",
        layout,
        contents,
        progress=lambda what, done, total: seen.append((what, done, total)),
    )
    counted = [(done, total) for what, done, total in seen if what == "image"]
    assert counted == sorted(counted)
    assert counted[-1][0] == counted[-1][1]


def test_a_wrong_password_for_the_boot_menu_leaves_no_disk_behind(
    tmp_path: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    with pytest.raises(SettingsError):
        create_disk(tmp_path / "disk.img", layout, replace(contents, grub_password="secret"))
    assert not (tmp_path / "disk.img").exists()
