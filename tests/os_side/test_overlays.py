"""Kept overlays are removed with the image they belong to."""

from pathlib import Path

from bootsvc.os_side.overlays import prune

HERE, FORMER, GONE = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32


def overlays(data: Path) -> set[str]:
    return {one.name for one in (data / "overlays").iterdir()}


def test_overlays_of_images_that_no_area_holds_are_removed(tmp_path: Path) -> None:
    for identity in (HERE, FORMER, GONE):
        (tmp_path / "overlays" / identity.hex() / "upper").mkdir(parents=True)
    assert prune(tmp_path, (HERE, FORMER)) == [GONE.hex()]
    assert overlays(tmp_path) == {HERE.hex(), FORMER.hex()}


def test_nothing_outside_the_folder_of_overlays_is_touched(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "link").symlink_to(outside)
    assert prune(tmp_path, ()) == []
    assert outside.is_dir()


def test_without_a_data_partition_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert prune(tmp_path / "absent", (HERE,)) == []
