"""The newc writer: bytes against a hand-written header and against the system's cpio."""

import io
import subprocess
from pathlib import Path

import pytest

from initramfs.cpio import Archive
from initramfs.errors import CpioError


def written(archive: Archive) -> bytes:
    stream = io.BytesIO()
    archive.write(stream)
    return stream.getvalue()


def test_one_file_has_the_golden_bytes() -> None:
    archive = Archive(mtime=0x5F5E100)
    archive.add_file("/hello", b"hi\n", mode=0o640)
    golden = (
        b"070701"  # magic
        b"00000001"  # inode
        b"000081A0"  # mode: regular file, 0640
        b"00000000"  # uid
        b"00000000"  # gid
        b"00000001"  # links
        b"05F5E100"  # mtime
        b"00000003"  # size
        b"00000000"  # device of the file system, major
        b"00000000"  # and minor
        b"00000000"  # device node, major
        b"00000000"  # and minor
        b"00000006"  # length of the name with its NUL
        b"00000000"  # sum
        b"hello\0"  # 110 + 6 is a multiple of 4: no padding
        b"hi\n\0"
    )
    data = written(archive)
    assert data.startswith(golden)
    assert len(golden) == 120
    assert data[120:].startswith(b"070701" + b"0" * 8)
    assert data[120 + 110 :].startswith(b"TRAILER!!!\0")
    assert len(data) % 512 == 0


def test_the_system_cpio_lists_what_was_added(tmp_path: Path) -> None:
    archive = Archive(mtime=0)
    archive.add_device("dev/console", "c", 5, 1)
    archive.add_device("dev/sda", "b", 8, 0, mode=0o660)
    archive.add_file("usr/bin/tool", b"x" * 4097, mode=0o755)
    archive.add_symlink("bin", "usr/bin")
    archive.add_dir("run", mode=0o700)
    file = tmp_path / "archive.cpio"
    with file.open("wb") as stream:
        archive.write(stream)
    with file.open("rb") as stream:
        listing = subprocess.run(
            ["cpio", "-tvn"],
            stdin=stream,
            capture_output=True,
            text=True,
            check=True,
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
        ).stdout.splitlines()
    # "-rw-r--r-- 1 0 0 SIZE Jan 1 1970 NAME"; devices have "MAJOR, MINOR" for the size.
    rows = {}
    for words in map(str.split, listing):
        rows[" ".join(words[9:] if words[0][0] in "cb" else words[8:])] = words
    assert rows["bin -> usr/bin"][0] == "lrwxrwxrwx"
    assert rows["usr/bin/tool"][:5] == ["-rwxr-xr-x", "1", "0", "0", "4097"]
    assert rows["dev/console"][0] == "crw-------"
    assert [word.strip(",") for word in rows["dev/console"][4:6]] == ["5", "1"]
    assert rows["dev/sda"][0] == "brw-rw----"
    assert rows["run"][0] == "drwx------"
    assert rows["usr/bin"][0] == "drwxr-xr-x"
    assert rows["usr/bin/tool"][5:8] == ["Jan", "1", "1970"]
    assert len(rows) == len(listing) == 8


def test_order_of_adding_changes_no_byte() -> None:
    one, two = Archive(), Archive()
    additions = [("b/x", b"1"), ("b-c", b"2"), ("a", b"3")]
    for path, data in additions:
        one.add_file(path, data)
    for path, data in reversed(additions):
        two.add_file(path, data)
    assert written(one) == written(two)
    assert [entry.path for entry in one.entries] == ["a", "b", "b/x", "b-c"]


def test_the_same_file_twice_is_one_entry_and_a_different_one_is_refused() -> None:
    archive = Archive()
    archive.add_file("etc/a", b"1")
    archive.add_file("/etc/a", b"1")
    assert len(archive.entries) == 2
    with pytest.raises(CpioError, match="/etc/a was added twice"):
        archive.add_file("etc/a", b"2")


@pytest.mark.parametrize("path", ["", "/", "a/../b", "TRAILER!!!", "a\0b"])
def test_paths_that_no_archive_can_hold_are_refused(path: str) -> None:
    with pytest.raises(CpioError):
        Archive().add_file(path, b"")


def test_a_file_below_a_link_is_refused() -> None:
    archive = Archive()
    archive.add_symlink("lib", "usr/lib")
    with pytest.raises(CpioError, match="no directory"):
        archive.add_file("lib/x", b"")
