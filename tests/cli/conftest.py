"""The command line with a machine of its own for each test."""

from pathlib import Path

import pytest

from tests.cli.command import Command


@pytest.fixture
def bootsvc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """A confirmed machine: number 2 in primary, number 1 in backup, staging empty."""
    return Command(tmp_path, capsys, monkeypatch)
