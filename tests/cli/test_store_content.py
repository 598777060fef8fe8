"""``bootsvc image publish`` and what is done with a store's versions, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootsvc.cli.exit_codes import ExitCode
from tests.cli.command import Command
from tests.images import OTHER_KEY, make_image, random_blocks

V1 = make_image(random_blocks(12, 1), number=1)
V2 = make_image(V1.content + random_blocks(1, 2), number=2)


class Publisher:
    """A store with keys, and image files beside it."""

    def __init__(self, bootsvc: Command, folder: Path) -> None:
        self._bootsvc = bootsvc
        self.store = folder / "store"
        self.keys = folder / "store-keys"
        self.folder = folder
        made = bootsvc.plain("store", "init", self.store, "--keys", self.keys)
        assert made.code == ExitCode.OK
        for name, image in (("v1", V1), ("v2", V2)):
            (folder / f"{name}.bimg").write_bytes(image.as_file())

    def __call__(self, group: str, command: str, *rest: object) -> tuple[int, str, str]:
        words = [group, command, str(self.store), *map(str, rest), "--keys", str(self.keys)]
        outcome = self._bootsvc.plain(*words)
        return outcome.code, outcome.out, outcome.err

    def publish(self, name: str, *words: object) -> tuple[int, str, str]:
        path = self.folder / (name if "." in name else f"{name}.bimg")
        return self("image", "publish", path, "--trust", self._bootsvc.keys, "--level", 1, *words)


@pytest.fixture
def publisher(bootsvc: Command, tmp_path: Path) -> Publisher:
    return Publisher(bootsvc, tmp_path)


def test_a_version_is_published_listed_and_released(publisher: Publisher) -> None:
    code, out, _ = publisher.publish("v1")
    assert (code, out.splitlines()[0].partition(";")[0]) == (
        ExitCode.OK,
        f"published: number 1, label 1.0 ({V1.identity.hex()[:12]}), as draft",
    )
    assert "nothing was written" in publisher.publish("v1")[1]
    publisher("store", "mode", 1, "released", "--from", "2026-12-01T06:00")
    assert "released from 2026-12-01 06:00 UTC" in publisher("store", "list")[1]
    (listed,) = json.loads(publisher("store", "list", "--json")[1])["versions"]
    assert (listed["number"], listed["mode"]) == (1, "released")


def test_an_image_that_nobody_trusted_signed_is_not_published(
    publisher: Publisher, tmp_path: Path
) -> None:
    foreign = make_image(random_blocks(3, 1), number=7, key=OTHER_KEY)
    (tmp_path / "foreign.bimg").write_bytes(foreign.as_file())
    assert publisher.publish("foreign")[0] == ExitCode.SIGNATURE
    assert "no version is published" in publisher("store", "list")[1]


@pytest.mark.parametrize("text", ["3", "9.9", "abcdef"])
def test_a_version_that_is_not_there_is_named(publisher: Publisher, text: str) -> None:
    publisher.publish("v1")
    code, _, err = publisher("store", "remove", text)
    assert code == ExitCode.STORE
    assert f"there is no version {text}" in err
    assert "hint: see: bootsvc store list" in err


def test_what_is_no_image_file_is_made_into_one_first(publisher: Publisher) -> None:
    code, _, err = publisher.publish("tree.squashfs")
    assert code == ExitCode.STORE
    assert "--key, --number, --label, --compatible must be given" in err
    assert "bootsvc image make --help" in err


def test_gc_shows_first_and_removes_on_yes(publisher: Publisher) -> None:
    publisher.publish("v1")
    publisher.publish("v2")
    assert "no longer published" in publisher("store", "remove", V2.identity.hex()[:8])[1]
    shown = publisher("store", "gc", "--older-than", 0)[1]
    assert "would be removed; nothing was: say --yes" in shown
    assert "removed: " in publisher("store", "gc", "--older-than", 0, "--yes")[1]
    assert publisher("store", "fsck")[0] == ExitCode.OK
    assert "nothing to remove" in publisher("store", "gc", "--older-than", 0)[1]


def test_fsck_says_what_is_damaged_and_whom_it_hurts(publisher: Publisher) -> None:
    publisher.publish("v1")
    (pack,) = (publisher.store / "packs").iterdir()
    pack.write_bytes(pack.read_bytes()[:-1])
    code, out, err = publisher("store", "fsck")
    assert code == ExitCode.FAILED
    assert f"versions hurt: {V1.identity.hex()[:12]}" in out
    assert "publish the hurt versions' image files again" in err
    assert json.loads(publisher("store", "fsck", "--json")[1])["damage"]
