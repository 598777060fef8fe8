"""Disks of several formats and folders, as the raw bytes that an image is made of."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootsvc.errors import BootsvcError, FormatError, StorageError, ToolError
from bootsvc.image.backing import open_chain
from bootsvc.image.source import SourceOptions, opened_as_raw, shape_of
from bootsvc.image.trees import KINDS, TreeOptions
from bootsvc.sequence.staging import Work
from tests.image.rootfs import write_tree
from tests.image.vhd_files import fixed, sparse
from tests.images import random_blocks

RAW = random_blocks(40, seed=3) + bytes(2**20) + random_blocks(8, seed=4)


def qemu_img(folder: Path, *words: str) -> None:
    subprocess.run(["qemu-img", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw"
    path.write_bytes(RAW)
    return path


def content_of(source: Path, options: SourceOptions | None = None) -> bytes:
    with opened_as_raw(source, scratch=source.parent, options=options) as found:
        return found.read_bytes()


def nothing_left(folder: Path) -> bool:
    return not [one for one in folder.iterdir() if one.name.startswith(".bootsvc")]


@pytest.mark.usefixtures("raw")
@pytest.mark.parametrize(("shape", "word"), [("qcow2", "qcow2"), ("vhdx", "vhdx"), ("vpc", "vhd")])
def test_a_disk_is_told_by_its_magic_and_gives_the_bytes_it_was_made_of(
    tmp_path: Path, shape: str, word: str
) -> None:
    more = ["-o", "force_size=on"] if shape == "vpc" else []
    qemu_img(tmp_path, "convert", "-f", "raw", "-O", shape, *more, "raw", "disk")
    assert shape_of(tmp_path / "disk") == word
    assert content_of(tmp_path / "disk") == RAW
    assert nothing_left(tmp_path)


def test_a_fixed_and_a_differencing_vhd_are_told_from_raw(tmp_path: Path, raw: Path) -> None:
    assert shape_of(raw) == "raw"
    assert shape_of(fixed(tmp_path / "base.vhd", RAW)) == "vhd"
    top = sparse(tmp_path / "top.vhd", len(RAW), {7: b"x" * 512}, parent="base.vhd")
    changed = RAW[: 7 * 512] + b"x" * 512 + RAW[8 * 512 :]
    assert content_of(top) == changed


def test_raw_is_used_as_it_is_and_a_given_shape_wins(tmp_path: Path, raw: Path) -> None:
    with opened_as_raw(raw, scratch=tmp_path / "absent") as found:
        assert found == raw
    raw.write_bytes(b"QFI\xfb" + RAW)
    assert content_of(raw, SourceOptions("raw")) == b"QFI\xfb" + RAW
    with pytest.raises(FormatError):
        content_of(raw)


@pytest.mark.usefixtures("raw")
def test_progress_reaches_the_size_of_the_disk(tmp_path: Path) -> None:
    qemu_img(tmp_path, "convert", "-f", "raw", "-O", "qcow2", "raw", "disk")
    seen: list[tuple[str, int]] = []
    done: list[int] = []

    class Counting:
        def tick(self, count: int) -> None:
            done.append(count)

    @contextmanager
    def show(name: str, total: int) -> Iterator[Work]:
        seen.append((name, total))
        yield Counting()

    with opened_as_raw(tmp_path / "disk", scratch=tmp_path, show_work=show):
        pass
    assert seen == [("read disk", len(RAW))]
    assert sum(done) == len(RAW)


# --- backing files -------------------------------------------------------------------------------


def chain(folder: Path, base_format: str = "raw") -> Path:
    """Two increments over a base; the second one is returned."""
    qemu_img(folder, "convert", "-f", "raw", "-O", base_format, "raw", "base")
    qemu_img(folder, "create", "-f", "qcow2", "-b", "base", "-F", base_format, "one.qcow2")
    qemu_img(folder, "create", "-f", "qcow2", "-b", "one.qcow2", "-F", "qcow2", "two.qcow2")
    for name, at, word in (("one", 4096, "0x61"), ("two", 3 * 2**16, "0x62")):
        command = ["qemu-io", "-f", "qcow2", "-c", f"write -P {word} {at} 512", f"{name}.qcow2"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "two.qcow2"


@pytest.mark.usefixtures("raw")
@pytest.mark.parametrize("base_format", ["raw", "qcow2"])
def test_a_chain_is_read_through_all_its_files(tmp_path: Path, base_format: str) -> None:
    expected = bytearray(RAW)
    expected[4096:4608] = b"a" * 512
    expected[3 * 2**16 : 3 * 2**16 + 512] = b"b" * 512
    assert content_of(chain(tmp_path, base_format)) == bytes(expected)


def test_a_raw_base_that_a_guest_made_look_like_a_disk_stays_raw(tmp_path: Path, raw: Path) -> None:
    trap = b"QFI\xfb" + struct.pack(">IQI", 3, 512, 11) + RAW[20:512] + b"/etc/passwd"
    raw.write_bytes(trap + RAW[len(trap) :])
    assert content_of(chain(tmp_path))[:4096] == raw.read_bytes()[:4096]


BAD_NAMES = {
    "/etc/hostname": "lies outside",
    "../outside": "lies outside",
    "link": "lies outside",
    "nbd://127.0.0.1/disk": "no plain file",
    'json:{"driver":"null-co"}': "no plain file",
    "gone": "is missing",
    "one.qcow2": "in a circle",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_backing_file_that_may_not_be_opened_is_refused_and_named(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "disks"
    folder.mkdir()
    (tmp_path / "outside").write_bytes(RAW)
    (folder / "link").symlink_to(tmp_path / "outside")
    top = folder / "two.qcow2"
    circle = ("-b", top.name, "-F", "qcow2", "one.qcow2", "1M")
    qemu_img(folder, "create", "-f", "qcow2", "-u", *circle)
    qemu_img(folder, "create", "-f", "qcow2", "-u", "-b", name, "-F", "qcow2", top.name, "1M")
    with pytest.raises(BootsvcError, match=BAD_NAMES[name]) as refused:
        open_chain(top)
    assert "two.qcow2" in str(refused.value)


@pytest.mark.usefixtures("raw")
def test_a_backing_file_of_a_format_that_is_not_declared_is_refused_with_the_way_out(
    tmp_path: Path,
) -> None:
    top = chain(tmp_path)
    whole = top.read_bytes()
    at = whole.index(struct.pack(">I", 0xE2792ACA))
    top.write_bytes(whole[:at] + struct.pack(">I", 0x11111111) + whole[at + 4 :])
    with pytest.raises(FormatError, match="nothing as format of its backing file") as refused:
        open_chain(top)
    assert "qemu-img rebase -u -b one.qcow2 -F FORMAT" in refused.value.hint


@pytest.mark.usefixtures("raw")
@pytest.mark.parametrize(
    ("at", "data", "why"),
    [
        (4, b"\0\0\0\x04", "version 4"),
        (32, b"\0\0\0\x01", "encrypted"),
        (79, b"\x04", "lies in another file"),
        (79, b"\x02", "marked as corrupt"),
        (16, b"\0\xff\xff\xff", "two.qcow2: qcow2 header: "),
        (0, b"QFIX", "not a qcow2 file"),
    ],
)
def test_a_qcow2_that_cannot_be_used_is_refused_before_qemu_opens_it(
    tmp_path: Path, at: int, data: bytes, why: str
) -> None:
    top = chain(tmp_path)
    whole = bytearray(top.read_bytes())
    whole[at : at + len(data)] = data
    top.write_bytes(whole)
    with pytest.raises(FormatError, match=why):
        open_chain(top)


def test_a_disk_of_a_size_that_no_image_has_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    qemu_img(tmp_path, "create", "-f", "qcow2", "-o", "cluster_size=2M", "huge", "20T")
    with pytest.raises(FormatError, match="huge: a disk of"):
        content_of(tmp_path / "huge")
    assert nothing_left(tmp_path)


@pytest.mark.usefixtures("raw")
def test_what_qemu_img_says_of_a_damaged_disk_is_passed_on(tmp_path: Path) -> None:
    qemu_img(tmp_path, "convert", "-f", "raw", "-O", "qcow2", "raw", "disk")
    with (tmp_path / "disk").open("r+b") as file:
        file.seek(struct.unpack_from(">Q", file.read(48), 40)[0])
        file.write(struct.pack(">Q", 0x200))  # a table that begins within a cluster
    with pytest.raises(ToolError, match="disk: qemu-img: "):
        content_of(tmp_path / "disk")
    with pytest.raises(StorageError, match="gone: cannot be read"):
        content_of(tmp_path / "gone")


# --- folders -------------------------------------------------------------------------------------


def a_tree(folder: Path) -> Path:
    files: dict[str, bytes | str] = {f"etc/{name}": name.encode() * 999 for name in "zayb"}
    write_tree(folder, {**files, "bin/sh": b"#!", "sbin/init": "../bin/sh", "big": RAW})
    for one in (*folder.rglob("*"), folder):
        os.utime(one, (1000, 1000), follow_symlinks=False)
    os.utime(folder / "big", (5000, 5000))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_becomes_a_file_system_that_holds_its_files(tmp_path: Path, kind: str) -> None:
    from bootsvc.image.rootfs import kind_of, open_rootfs

    tree = a_tree(tmp_path / "tree")
    options = SourceOptions(tree=TreeOptions(kind, "root"))
    with opened_as_raw(tree, scratch=tmp_path, options=options) as raw:
        assert kind_of(raw.read_bytes()[:2048]) == kind
        files = open_rootfs(raw)
        assert {"z", "a", "y", "b"} <= set(files.entries("/etc"))
        assert files.entries("/sbin")["init"].target == "../bin/sh"
        files.extract("/big", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == RAW
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("kind", ["squashfs", "erofs"])
@pytest.mark.parametrize("epoch", ["", "3000"])
def test_the_same_tree_gives_the_same_bytes_wherever_and_whenever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, epoch: str
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    if epoch:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    options = SourceOptions(tree=TreeOptions(kind, "root"))
    (tmp_path / "other").mkdir()
    one = content_of(a_tree(tmp_path / "tree"), options)
    again = tmp_path / "other/tree"
    again.mkdir()
    write_tree(again, {"big": RAW, "etc/b": b"b" * 999})
    assert content_of(a_tree_over(again), options) == one


def a_tree_over(folder: Path) -> Path:
    """The same tree, made in another order."""
    (folder / "big").unlink()
    (folder / "etc/b").unlink()
    return a_tree(folder)


def test_an_empty_folder_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="an empty folder"):
        content_of(tmp_path / "empty")
    with pytest.raises(FormatError, match="is a folder"):
        content_of(tmp_path / "empty", SourceOptions("qcow2"))
