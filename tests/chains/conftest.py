"""Chains that are made once and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.chains.folder import Published, published


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Six versions."""
    return published(tmp_path_factory.mktemp("template"), 6)


@pytest.fixture
def three(template: Published, tmp_path: Path) -> Published:
    """Three versions in a folder of their own, which a test may spoil."""
    return copied(template, tmp_path / "images", 3)


def copied(chain: Published, folder: Path, count: int) -> Published:
    """The first ``count`` versions of ``chain``."""
    folder.mkdir()
    for number in range(1, count + 1):
        for path in chain.folder.glob(f"v{number}.qcow2*"):
            shutil.copy(path, folder)
    return Published(folder, chain.contents[:count], chain.manifests[:count])
