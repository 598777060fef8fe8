"""A locked console and an open boot loader do not go together."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.cli import main
from bootsvc.cli.exit_codes import ExitCode
from bootsvc.disk.create import DiskContents, prepared
from bootsvc.disk.grub_lock import is_locked
from bootsvc.disk.partition import plan
from bootsvc.errors import SettingsError
from bootsvc.trust.grub_password import hash_password
from bootsvc.units import MIB
from initramfs.build import NO_SHELL
from initramfs.compress import CHOICES, COMMANDS
from initramfs.cpio import Archive
from tests.disk.small_image import write_image

LAYOUT = plan(area_size=2 * MIB, data_size=8 * MIB, seed="test")
GRUB_PASSWORD = hash_password("open sesame", bytes(64))

MakeArchive = Callable[..., Path]


@pytest.fixture
def archive(tmp_path: Path) -> MakeArchive:
    def make(*, locked: bool, method: str = "none") -> Path:
        path = tmp_path / f"updater.{method}"
        made = Archive()
        made.add_file("/init", b"#!/bin/sh\n", 0o755)
        made.add_file(NO_SHELL + ("" if locked else "-or-perhaps-one"), b"locked\n", 0o644)
        with path.open("wb") as stream:
            made.write(stream)
        if method != "none":
            plain = path.read_bytes()
            done = subprocess.run(COMMANDS[method], input=plain, capture_output=True, check=True)
            path.write_bytes(done.stdout)
        return path

    return make


@pytest.mark.parametrize("method", CHOICES)
def test_the_builders_word_is_found_however_the_archive_is_packed(
    archive: MakeArchive, method: str
) -> None:
    assert is_locked(archive(locked=True, method=method).read_bytes(), "one")
    assert not is_locked(archive(locked=False, method=method).read_bytes(), "another")


@pytest.fixture
def contents(tmp_path: Path, archive: MakeArchive) -> DiskContents:
    write_image(tmp_path / "v1.bimg", b"content", number=1)
    (tmp_path / "vmlinuz").write_bytes(b"kernel")
    return DiskContents(tmp_path / "v1.bimg", tmp_path / "vmlinuz", archive(locked=True))


def test_a_locked_updater_does_not_get_an_open_boot_loader(contents: DiskContents) -> None:
    with pytest.raises(SettingsError, match="GRUB's editor would be open") as caught:
        prepared(LAYOUT, contents).__enter__()
    assert "bootsvc password" in caught.value.hint
    with prepared(LAYOUT, replace(contents, grub_password=GRUB_PASSWORD)) as work:
        assert f"password_pbkdf2 bootsvc {GRUB_PASSWORD}" in work.esp.config


def test_the_boot_loaders_password_comes_from_the_sites_settings(
    tmp_path: Path, contents: DiskContents, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["disk", "create", str(tmp_path / "disk.img"), "--area-size", "2M"]
    for name in ("image", "kernel", "initramfs"):
        words += [f"--{name}", str(getattr(contents, name))]
    assert main(words) == ExitCode.SETTINGS
    settings = tmp_path / "bootsvc.toml"
    assert main([*words, "--settings", str(settings)]) == ExitCode.SETTINGS
    assert "no such file" in capsys.readouterr().err
    settings.write_text(f'grub_password = "{GRUB_PASSWORD}"\n')
    assert main([*words, "--settings", str(settings)]) == ExitCode.OK
    assert GRUB_PASSWORD.encode() in (tmp_path / "disk.img").read_bytes()
