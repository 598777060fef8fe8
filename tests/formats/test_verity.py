"""The digest tree of an image as dm-verity is told of it, and by veritysetup's own opinion."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bootsvc.formats.tree import build_tree, leaves_of
from bootsvc.formats.verity import Verity
from bootsvc.units import BLOCK_SIZE
from tests.images import random_blocks


def test_the_tree_begins_where_the_footer_begins() -> None:
    verity = Verity.of(3 * BLOCK_SIZE - 5, 64 * BLOCK_SIZE, 4 * BLOCK_SIZE, b"\x12" * 32)
    assert (verity.data_blocks, verity.tree_block, verity.size) == (3, 60, 3 * BLOCK_SIZE)
    assert verity.as_option() == f"3:60:{'12' * 32}"


@pytest.mark.parametrize("blocks", [1, 2, 128, 129, 300])
def test_veritysetup_finds_an_area_whole_with_the_numbers_of_its_table(
    tmp_path: Path, blocks: int
) -> None:
    """Numbers and root as in the table; one flipped bit and it finds it as well."""
    veritysetup = shutil.which("veritysetup", path="/usr/sbin:/sbin:/usr/bin")
    assert veritysetup, "package cryptsetup-bin"
    content = random_blocks(blocks, seed=blocks)
    tree, root = build_tree(leaves_of(content))
    area_size = (blocks + 20) * BLOCK_SIZE + len(tree)
    footer_size = len(tree) + 2 * BLOCK_SIZE
    area = bytearray(area_size)
    area[: len(content)] = content
    area[area_size - footer_size : area_size - footer_size + len(tree)] = tree
    verity = Verity.of(len(content), area_size, footer_size, root)
    words = verity.parameters("DEVICE").split()
    version, _, _, data_block, hash_block, data_blocks, tree_block, digest, root_hex, salt = words
    assert (version, digest, salt) == ("1", "sha256", "-")
    file = tmp_path / "area"

    def verifies() -> bool:
        file.write_bytes(area)
        command: list[str | Path] = [
            *(veritysetup, "verify", "--no-superblock", "--salt=-", "--hash=sha256"),
            *(f"--data-block-size={data_block}", f"--hash-block-size={hash_block}"),
            *(f"--data-blocks={data_blocks}", f"--hash-offset={int(tree_block) * BLOCK_SIZE}"),
            *(file, file, root_hex),
        ]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert verifies()
    area[len(content) - 1] ^= 1
    assert not verifies()
