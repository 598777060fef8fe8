"""Folders of real qcow2 files, sound and broken in every way that was thought of."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bootsvc.chains import qemu_img
from bootsvc.chains.chain_files import MANIFEST_SUFFIX, read_chain, read_chains, repair_information
from bootsvc.chains.check_chain import Fault
from bootsvc.chains.qcow2_file import read_file, write_information
from bootsvc.chains.verify import find_damage
from bootsvc.errors import BrokenChainError, DiskFileInUseError, UnsupportedDiskError
from bootsvc.formats import qcow2
from bootsvc.formats.check_information import SIZE as INFORMATION_SIZE
from bootsvc.formats.check_information import build_information
from tests.chains.folder import Published, manifest_of, tool, view


def ours(path: Path) -> bytes | None:
    return qcow2.find_ours(read_file(path).header)


def at_3072(path: Path) -> bytes:
    return path.read_bytes()[3072 : 3072 + INFORMATION_SIZE]


def test_a_published_chain_is_read_base_first_and_every_file_knows_its_neighbours(
    three: Published,
) -> None:
    (chain,) = read_chains(three.folder)
    assert chain.disk.files == ("v1.qcow2", "v2.qcow2", "v3.qcow2")
    assert not chain.troubles
    first, second, third = (file.information for file in chain.files)
    assert first
    assert second
    assert third
    assert (first.parent, second.parent, third.parent) == (None, first.own, second.own)
    assert (first.next, second.next) == (second.own, third.own)
    assert not first.is_last
    assert not second.is_last
    assert [file.identity for file in chain.files] == [three.identity(n) for n in (1, 2, 3)]
    assert [view(three.path(n)) for n in (1, 2, 3)] == three.contents


KEPT = {
    "amend": ["amend", "-f", "qcow2", "-o", "lazy_refcounts=on"],
    "rebase": ["rebase", "-f", "qcow2", "-u", "-b", "v1.qcow2", "-F", "qcow2"],
    "bitmap": ["bitmap", "-f", "qcow2", "--add"],
    "resize": ["resize", "-q", "-f", "qcow2"],
    "commit": ["commit", "-q", "-f", "qcow2"],
}


@pytest.mark.parametrize("name", KEPT)
def test_the_extension_survives_what_qemu_img_does_and_the_copy_is_put_back(
    name: str, three: Published
) -> None:
    """Measured with qemu-img 7.2: all but convert keep the extension, most wipe byte 3072."""
    path = three.path(2)
    before = ours(path)
    last = {"bitmap": ["b"], "resize": ["+64K"]}.get(name, [])
    tool("qemu-img", *KEPT[name], path.name, *last, cwd=three.folder)
    assert ours(path) == before
    if name in ("amend", "rebase", "bitmap", "commit"):
        assert at_3072(path) != before
    repair_information(read_chain(path))
    assert at_3072(path) == ours(path)


def test_convert_loses_check_information_and_it_is_put_back(three: Published) -> None:
    flat = three.folder / "flat.qcow2"
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", three.path(3), flat)
    assert ours(flat) is None
    shutil.copy(three.path(3).with_name("v3.qcow2.manifest"), f"{flat}{MANIFEST_SUFFIX}")
    repair_information(read_chain(flat))
    assert ours(flat) == at_3072(flat) != b""
    tool("qemu-img", "check", "-f", "qcow2", flat)
    assert view(flat) == three.contents[2]


def test_writing_the_same_again_writes_nothing(three: Published) -> None:
    repair_information(read_chain(three.path(3)))
    before = three.path(2).stat().st_mtime_ns
    assert [changed for _, _, changed in repair_information(read_chain(three.path(3)))] == [
        False
    ] * 3
    assert three.path(2).stat().st_mtime_ns == before


def test_check_information_is_found_at_byte_3072_alone(three: Published) -> None:
    path = three.path(3)
    found = read_file(path)
    head = path.read_bytes()[: qcow2.MAX_HEADER_SIZE]
    with path.open("r+b") as file:
        file.write(qcow2.applied(head, qcow2.ours_removed(head)))
    alone = read_file(path)
    assert (found.place, alone.place) == ("extension", "byte 3072")
    assert alone.information == found.information


@pytest.mark.parametrize(("size", "is_there"), [("4096", True), ("2048", False), ("512", False)])
def test_small_clusters_have_no_room_at_byte_3072_and_data_there_is_left_alone(
    size: str, is_there: bool, three: Published, tmp_path: Path
) -> None:
    path = tmp_path / "small.qcow2"
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"cluster_size={size}", path, "1M")
    tool("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", path)
    information = read_file(three.path(1)).information
    assert information
    assert write_information(path, information).is_at_3072 is is_there
    assert ours(path) == build_information(information)
    tool("qemu-img", "check", "-f", "qcow2", path)
    assert view(path) == b"\x07" * (1 << 20)


def test_what_another_program_keeps_at_byte_3072_stays(three: Published) -> None:
    path = three.path(3)
    with path.open("r+b") as file:
        file.seek(3072)
        file.write(b"another's" * 20)
    assert not write_information(path, read_file(path).information).is_at_3072  # type: ignore[arg-type]
    assert at_3072(path).startswith(b"another's")


def test_a_file_in_use_is_refused_and_not_touched(three: Published) -> None:
    path = three.path(3)
    before = path.read_bytes()
    information = read_file(three.path(1)).information
    assert information
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as user:
        assert user.stdin
        assert user.stdout
        user.stdin.write(b"length\n")
        user.stdin.flush()
        user.stdout.readline()  # it is open now
        with pytest.raises(DiskFileInUseError, match="has it open"):
            write_information(path, information)
        with pytest.raises(DiskFileInUseError, match="has a file open"):
            qemu_img.check(three.folder, path.name)
        user.stdin.close()
    assert path.read_bytes() == before


ODD = {
    "its data lies in another file": ["-o", "data_file=raw.img"],
    "another method than zlib": ["-o", "compression_type=zstd"],
    # Not luks: for that qemu-img measures its speed, which fails at times on a busy machine.
    "encrypted": [
        *("--object", "secret,id=s,data=abc"),
        *("-o", "encrypt.format=aes,encrypt.key-secret=s"),
    ],
}


@pytest.mark.parametrize("words", ODD)
def test_odd_files_are_refused_by_name_and_not_touched(
    words: str, three: Published, tmp_path: Path
) -> None:
    path = tmp_path / "odd.qcow2"
    tool("qemu-img", "create", "-q", "-f", "qcow2", *ODD[words], path.name, "1M", cwd=tmp_path)
    before = path.read_bytes()
    information = read_file(three.path(1)).information
    assert information
    with pytest.raises(UnsupportedDiskError, match=words):
        write_information(path, information)
    assert path.read_bytes() == before
    assert words in read_chain(path).troubles[0].text


def rename_parent(path: Path, name: str) -> None:
    """Put another parent's name into a header, without qemu-img's opinion of it."""
    tool("qemu-img", "rebase", "-f", "qcow2", "-u", "-b", name, "-F", "qcow2", path)


def cycle(chain: Published) -> None:
    rename_parent(chain.path(1), "v3.qcow2")


def itself(chain: Published) -> None:
    rename_parent(chain.path(3), "v3.qcow2")


def hole(chain: Published) -> None:
    chain.path(2).unlink()


def wrong_parent(chain: Published) -> None:
    rename_parent(chain.path(3), "v1.qcow2")


def foreign_base(chain: Published) -> None:
    """The same number and name, made on another server: other content."""
    other = Published(chain.folder.parent / "other")
    other.folder.mkdir()
    other.publish([(0, 4096, 0x55)])
    shutil.copy(other.path(1), chain.path(1))


def foreign_base_that_says_the_same(chain: Published) -> None:
    """As above, its manifest with it: only the identity below the second file tells (S2.2)."""
    foreign_base(chain)
    shutil.copy(chain.folder.parent / "other" / "v1.qcow2.manifest", chain.folder)


def foreign_base_below_a_file_that_says_nothing(chain: Published) -> None:
    foreign_base_that_says_the_same(chain)
    head = bytearray(chain.path(2).read_bytes()[: qcow2.MAX_HEADER_SIZE])
    head[3072 : 3072 + INFORMATION_SIZE] = bytes(INFORMATION_SIZE)
    with chain.path(2).open("r+b") as file:
        file.write(qcow2.applied(bytes(head), qcow2.ours_removed(bytes(head))))


def swapped_file(chain: Published) -> None:
    """A file under the name of another version."""
    shutil.copy(chain.path(3), chain.path(2))
    rename_parent(chain.path(2), "v1.qcow2")


def path_outside(chain: Published) -> None:
    rename_parent(chain.path(3), "../elsewhere/v2.qcow2")


def protocol(chain: Published) -> None:
    rename_parent(chain.path(3), "nbd:localhost:1")


def link(chain: Published) -> None:
    target = chain.folder.parent / "secret.qcow2"
    chain.path(2).rename(target)
    chain.path(2).symlink_to(target)


def raw_parent(chain: Published) -> None:
    tool("qemu-img", "rebase", "-f", "qcow2", "-u", "-b", "v2.qcow2", "-F", "raw", chain.path(3))


def garbage(chain: Published) -> None:
    chain.path(2).write_bytes(b"QFI\xfb" + os.urandom(4096))


BROKEN: dict[Callable[[Published], None], Fault] = {
    cycle: Fault.CYCLE,
    itself: Fault.CYCLE,
    hole: Fault.HOLE,
    wrong_parent: Fault.WRONG_PARENT,
    foreign_base: Fault.OTHER_INFORMATION,
    foreign_base_that_says_the_same: Fault.WRONG_PARENT,
    foreign_base_below_a_file_that_says_nothing: Fault.WRONG_PARENT,
    swapped_file: Fault.OTHER_INFORMATION,
    path_outside: Fault.OUTSIDE,
    protocol: Fault.OUTSIDE,
    link: Fault.OUTSIDE,
    raw_parent: Fault.UNREADABLE,
    garbage: Fault.UNREADABLE,
}


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda one: one.__name__)
def test_a_broken_chain_ends_in_its_reason(
    spoil: Callable[[Published], None], three: Published
) -> None:
    spoil(three)
    found = read_chain(three.path(3))
    assert BROKEN[spoil] in {one.fault for one in found.troubles}
    with pytest.raises(BrokenChainError):
        repair_information(found)
    with pytest.raises(BrokenChainError, match=BROKEN[spoil].value):
        found.demand_whole()
    assert read_chains(three.folder)


def test_content_that_changed_behind_the_headers_is_found(three: Published) -> None:
    """Same number, same name, same check information: only the digest tells (S2.2, F2.1)."""
    tool("qemu-io", "-f", "qcow2", "-c", "write -P 99 0 512", three.path(2))
    (chain,) = read_chains(three.folder)
    assert not chain.troubles
    damage = dict(find_damage(chain, lambda *_: None, with_content=True))
    assert damage["v2.qcow2"] == "its content is not that of number 2"
    assert "v1.qcow2" not in damage


def test_a_sound_chain_has_no_damage_and_nothing_is_left_behind(three: Published) -> None:
    before = sorted(three.folder.iterdir())
    (chain,) = read_chains(three.folder)
    assert not list(find_damage(chain, lambda *_: None, with_content=True))
    assert sorted(three.folder.iterdir()) == before


def test_a_manifest_of_another_lineage_makes_the_chain_foreign(three: Published) -> None:
    path = three.path(2).with_name(three.path(2).name + MANIFEST_SUFFIX)
    text = manifest_of(three.contents[1], 2, three.identity(1))
    path.write_bytes(text.replace(b"11112222", b"33334444"))
    head = three.path(2).read_bytes()[: qcow2.MAX_HEADER_SIZE]
    cleared = bytearray(qcow2.applied(head, qcow2.ours_removed(head)))
    cleared[3072 : 3072 + INFORMATION_SIZE] = bytes(INFORMATION_SIZE)
    with three.path(2).open("r+b") as file:
        file.write(cleared)
    assert [one.fault for one in read_chain(three.path(3)).troubles] == [Fault.FOREIGN]


def test_a_chain_longer_than_the_limit_ends(tmp_path: Path) -> None:
    tool("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "f0", "1M")
    for index in range(1, qemu_img.MAX_FILES + 2):
        shutil.copy(tmp_path / f"f{index - 1}", tmp_path / f"f{index}")
    tool("qemu-img", "rebase", "-f", "qcow2", "-u", "-b", "f00", "-F", "qcow2", tmp_path / "f1")
    head = (tmp_path / "f1").read_bytes()
    for index in range(1, qemu_img.MAX_FILES + 2):
        name = f"f{index - 1:02}".encode()
        (tmp_path / f"f{index:02}").write_bytes(head.replace(b"f00", name))
    (tmp_path / "f0").rename(tmp_path / "f00")
    assert not read_chain(tmp_path / f"f{qemu_img.MAX_FILES - 1:02}").troubles
    found = read_chain(tmp_path / f"f{qemu_img.MAX_FILES + 1:02}")
    assert [one.fault for one in found.troubles] == [Fault.TOO_LONG]
