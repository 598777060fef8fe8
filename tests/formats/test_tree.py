"""The digest tree: the same bytes as veritysetup makes, and no damage unnoticed."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bootsvc.errors import AlteredImageError, SizeMismatchError
from bootsvc.formats.tree import build_tree, checked_leaves, leaves_of, level_sizes, tree_size
from bootsvc.units import BLOCK_SIZE

VERITYSETUP = shutil.which("veritysetup", path="/usr/sbin:/sbin:/usr/bin:/bin")


def content(blocks: int) -> bytes:
    """Blocks that differ from each other, cheap to make in any number."""
    return b"".join(number.to_bytes(8, "little") * 512 for number in range(1, blocks + 1))


@pytest.mark.parametrize("blocks", [1, 2, 127, 128, 129, 16385])
def test_tree_and_root_are_those_of_veritysetup(blocks: int, tmp_path: Path) -> None:
    assert VERITYSETUP, "veritysetup is missing: apt-get install cryptsetup-bin"
    data = content(blocks)
    (tmp_path / "data").write_bytes(data)
    (tmp_path / "tree").touch()
    sizes = ("--data-block-size=4096", "--hash-block-size=4096", f"--data-blocks={blocks}")
    files = (tmp_path / "data", tmp_path / "tree")
    answer = subprocess.run(
        [VERITYSETUP, "format", "--no-superblock", "--salt=-", *sizes, *files],
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"Root hash:\s+([0-9a-f]{64})", answer.stdout)
    assert found
    tree, root = build_tree(leaves_of(data))
    assert root.hex() == found[1]
    assert (tmp_path / "tree").read_bytes() == tree
    assert len(tree) == tree_size(len(data))


@pytest.mark.parametrize(
    ("blocks", "levels"),
    [(1, []), (2, [1]), (128, [1]), (129, [2, 1]), (16384, [128, 1]), (16385, [129, 2, 1])],
)
def test_a_level_is_added_when_the_one_above_is_full(blocks: int, levels: list[int]) -> None:
    assert level_sizes(blocks * BLOCK_SIZE) == [count * BLOCK_SIZE for count in levels]
    assert level_sizes(blocks * BLOCK_SIZE - 1) == level_sizes(blocks * BLOCK_SIZE)


@pytest.mark.parametrize("blocks", [1, 2, 129, 300])
def test_checked_leaves_are_the_digests_of_the_blocks(blocks: int) -> None:
    leaves = leaves_of(content(blocks))
    tree, root = build_tree(leaves)
    assert checked_leaves(tree, root, blocks * BLOCK_SIZE) == leaves


def test_a_block_that_is_nearly_zeros_has_its_own_digest() -> None:
    nearly = bytes(BLOCK_SIZE - 1) + b"\1"
    blocks = [bytes(BLOCK_SIZE), nearly, b"\1" + bytes(BLOCK_SIZE - 1), bytes(BLOCK_SIZE)]
    digests = b"".join(hashlib.sha256(block).digest() for block in blocks)
    assert leaves_of(b"".join(blocks)) == leaves_of(memoryview(b"".join(blocks))) == digests


def test_any_flipped_bit_of_tree_or_root_is_noticed() -> None:
    tree, root = build_tree(leaves_of(content(130)))
    size = 130 * BLOCK_SIZE
    chosen = random.Random(1)
    for at in [0, len(tree) - 1, *(chosen.randrange(len(tree)) for _ in range(200))]:
        hurt = bytearray(tree)
        hurt[at] ^= 1 << chosen.randrange(8)
        with pytest.raises(AlteredImageError):
            checked_leaves(bytes(hurt), root, size)
    with pytest.raises(AlteredImageError):
        checked_leaves(tree, bytes(32), size)


def test_padding_that_is_not_zero_is_refused_even_where_the_digests_fit() -> None:
    leaves = leaves_of(content(2))
    level = leaves + b"\1" * (BLOCK_SIZE - len(leaves))
    with pytest.raises(AlteredImageError, match="padding"):
        checked_leaves(level, leaves_of(level), 2 * BLOCK_SIZE)


def test_a_tree_of_another_size_is_refused() -> None:
    tree, root = build_tree(leaves_of(content(130)))
    for wrong in (tree[:-BLOCK_SIZE], tree + bytes(BLOCK_SIZE), b""):
        with pytest.raises(SizeMismatchError):
            checked_leaves(wrong, root, 130 * BLOCK_SIZE)
    for leaves in (b"", bytes(31)):
        with pytest.raises(SizeMismatchError):
            build_tree(leaves)
