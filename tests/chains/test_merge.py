"""Merging real chains: the same bytes in the guest's view, nothing edited, nothing half done."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bootsvc.chains import merge as merging
from bootsvc.chains import qcow2_file, qemu_img
from bootsvc.chains.chain_files import MANIFEST_SUFFIX, read_chain
from bootsvc.chains.merge import DEFAULT_LIMIT, MergeTo, is_due, merge
from bootsvc.chains.qcow2_file import read_file
from bootsvc.chains.qemu_img import Disk, OnShare
from bootsvc.chains.verify import is_content_of
from bootsvc.errors import BrokenChainError, ChainError, MergeError, StorageError, ToolError
from bootsvc.formats.check_information import CheckInformation, information_of
from bootsvc.formats.manifest import parse_manifest
from tests.chains.conftest import copied
from tests.chains.folder import LINEAGE, Published, manifest_of, tool, view


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("count", range(2, 7))
@pytest.mark.parametrize("to", MergeTo)
def test_a_merged_chain_holds_the_same_and_no_file_of_it_changed(
    count: int, to: MergeTo, template: Published, tmp_path: Path
) -> None:
    chain = copied(template, tmp_path / "images", count)
    before = digests(chain.folder)
    whole = read_chain(chain.path(count))
    if not is_due(count, 1, to):
        with pytest.raises(ChainError, match="nothing to merge"):
            merge(whole, "merged.qcow2", to=to)
        assert digests(chain.folder) == before
        return
    told: list[tuple[str, int, int]] = []
    merged = merge(whole, "merged.qcow2", to=to, on_progress=lambda *one: told.append(one))
    after = digests(chain.folder)
    assert set(after) - set(before) == {"merged.qcow2", f"merged.qcow2{MANIFEST_SUFFIX}"}
    assert {name: after[name] for name in before} == before
    assert view(merged.path) == chain.contents[-1]
    found = read_chain(merged.path)
    assert not found.troubles
    assert len(found.files) == (1 if to is MergeTo.BASE else 2)
    top = found.files[-1]
    assert (top.place, top.information) == ("extension", merged.information)
    assert top.information
    assert top.information.own == information_of(count, LINEAGE, "merged.qcow2") == top.expected
    assert top.information.identity == chain.identity(count)
    assert top.information.is_last
    assert {work for work, _, _ in told} == {"merge", "compare"}
    assert all(0 <= done <= total for _, done, total in told)


def test_a_new_manifest_makes_a_new_version_of_the_same_content(three: Published) -> None:
    manifest = manifest_of(three.contents[-1], 4, three.identity(3))
    merged = merge(read_chain(three.path(3)), "v4.qcow2", to=MergeTo.BASE, manifest=manifest)
    (file,) = read_chain(merged.path).files
    assert file.manifest == parse_manifest(manifest)
    assert file.information
    assert file.information.own == information_of(4, LINEAGE, "v4.qcow2")
    assert is_content_of(
        Disk(three.folder, ("v4.qcow2",)), parse_manifest(manifest), lambda *_: None
    )


def test_a_manifest_of_other_content_is_refused(three: Published) -> None:
    before = digests(three.folder)
    wrong = manifest_of(three.contents[0], 4, three.identity(3))
    with pytest.raises(ChainError, match="not of the content of number 3"):
        merge(read_chain(three.path(3)), "v4.qcow2", to=MergeTo.BASE, manifest=wrong)
    assert digests(three.folder) == before


def test_a_chain_without_manifests_is_merged_and_says_only_what_it_said(three: Published) -> None:
    for path in three.folder.glob(f"*{MANIFEST_SUFFIX}"):
        path.unlink()
    said = read_file(three.path(3)).information
    merged = merge(read_chain(three.path(3)), "m.qcow2", to=MergeTo.INCREMENT)
    assert view(merged.path) == three.contents[-1]
    assert said
    assert merged.information
    assert (merged.information.own, merged.information.identity) == (said.own, said.identity)


@pytest.mark.parametrize("to", MergeTo)
def test_disks_that_grew_and_shrank_keep_the_newest_size(to: MergeTo, tmp_path: Path) -> None:
    sizes = ["256K", "1M", "128K", "512K"]
    for index, size in enumerate(sizes):
        parent = ["-b", f"f{index - 1}", "-F", "qcow2"] if index else []
        path = tmp_path / f"f{index}"
        tool("qemu-img", "create", "-q", "-f", "qcow2", *parent, path, size)
        tool("qemu-io", "-f", "qcow2", "-c", f"write -P {index + 1} {index * 16}K 64K", path)
    merged = merge(read_chain(tmp_path / "f3"), "m", to=to)
    assert view(merged.path) == view(tmp_path / "f3")
    assert len(view(merged.path)) == 512 * 1024


def test_convert_with_a_parent_would_lose_what_lies_between(three: Published) -> None:
    """Why an increment is not made by the shorter way."""
    tool(
        *("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-B", "v1.qcow2", "-F", "qcow2"),
        *("v3.qcow2", "short.qcow2"),
        cwd=three.folder,
    )
    assert view(three.folder / "short.qcow2") != three.contents[-1]


@pytest.mark.parametrize("to", MergeTo)
def test_a_merged_file_that_differs_is_never_put_in_place(
    to: MergeTo, three: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(three.folder)
    real = qemu_img.is_same

    def spoilt(one: Disk, other: Disk, on_share: OnShare) -> bool:
        part = other.folder / other.files[-1]
        tool("qemu-io", "-f", "qcow2", "-c", "write -P 0xaa 100K 512", part)
        return real(one, other, on_share)

    monkeypatch.setattr(qemu_img, "is_same", spoilt)
    with pytest.raises(MergeError, match="does not hold what"):
        merge(read_chain(three.path(3)), "m.qcow2", to=to)
    assert digests(three.folder) == before


@pytest.mark.parametrize("step", ["write_information", "replace_file", "flush_folder"])
def test_whatever_stops_a_merge_leaves_the_chain_and_no_half_file(
    step: str, three: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(three.folder)

    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(merging, step, stop)
    with pytest.raises(KeyboardInterrupt):
        merge(read_chain(three.path(3)), "m.qcow2", to=MergeTo.BASE)
    after = digests(three.folder)
    assert {name: after[name] for name in before} == before
    new = set(after) - set(before)
    assert not any(name.startswith(".") for name in new)
    if "m.qcow2" in new:
        assert view(three.folder / "m.qcow2") == three.contents[-1]


@pytest.mark.parametrize("to", MergeTo)
def test_all_of_the_new_file_is_flushed_before_it_says_what_it_is(
    to: MergeTo, three: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[int] = set()
    real_fsync, real_write = os.fsync, qcow2_file.write_information

    def fsync(fd: int) -> None:
        real_fsync(fd)
        flushed.add(os.fstat(fd).st_ino)

    def write_information(path: Path, information: CheckInformation) -> None:
        assert path.stat().st_ino in flushed
        real_write(path, information)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(merging, "write_information", write_information)
    assert merge(read_chain(three.path(3)), "m.qcow2", to=to).information


def test_what_an_interrupted_merge_left_is_replaced(three: Published) -> None:
    (three.folder / ".m.qcow2.part").write_bytes(b"half of it")
    merge(read_chain(three.path(3)), "m.qcow2", to=MergeTo.BASE)
    assert not (three.folder / ".m.qcow2.part").exists()


@pytest.mark.parametrize("name", ["v1.qcow2", "../m.qcow2", "nbd:m", "-m", ".m", ""])
def test_a_name_that_is_taken_or_no_name_is_refused(name: str, three: Published) -> None:
    before = digests(three.folder)
    with pytest.raises(StorageError):
        merge(read_chain(three.path(3)), name, to=MergeTo.BASE)
    assert digests(three.folder) == before


def test_a_broken_chain_is_not_merged(three: Published) -> None:
    three.path(2).unlink()
    with pytest.raises(BrokenChainError, match=r"hole: v2\.qcow2 is missing"):
        merge(read_chain(three.path(3)), "m.qcow2", to=MergeTo.BASE)


def test_too_little_room_is_said_before_anything_is_written(
    three: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(three.folder)
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match=r"1\.0 MiB are free"):
        merge(read_chain(three.path(3)), "m.qcow2", to=MergeTo.BASE)
    assert digests(three.folder) == before


def test_what_qemu_img_says_is_passed_on(three: Published) -> None:
    with pytest.raises(ToolError, match=r"convert failed .*No such file"):
        qemu_img.convert(Disk(three.folder, ("gone.qcow2",)), "m", cluster_size=65536)


@pytest.mark.parametrize(
    ("files", "limit", "to", "due"),
    [
        (DEFAULT_LIMIT, DEFAULT_LIMIT, MergeTo.BASE, False),
        (DEFAULT_LIMIT + 1, DEFAULT_LIMIT, MergeTo.BASE, True),
        (2, 1, MergeTo.BASE, True),
        (2, 1, MergeTo.INCREMENT, False),
        (3, 0, MergeTo.INCREMENT, True),
        (1, 0, MergeTo.BASE, False),
    ],
)
def test_a_merge_is_due_beyond_the_limit_where_it_makes_the_chain_shorter(
    files: int, limit: int, to: MergeTo, due: bool
) -> None:
    assert is_due(files, limit, to) is due
