"""``bootsvc chain``: what people and programs are shown, and what the exit codes say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootsvc.chains import merge
from bootsvc.cli import chain as chain_command
from bootsvc.cli import main
from bootsvc.cli.exit_codes import ExitCode
from tests.chains.folder import Published, published, tool, view


@pytest.fixture
def images(tmp_path: Path) -> Published:
    folder = tmp_path / "images"
    folder.mkdir()
    return published(folder, 3)


def run(*arguments: str | Path) -> int:
    return main(["chain", *map(str, arguments)])


def test_a_sound_chain_is_shown_base_first(
    images: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show", images.folder) == ExitCode.OK
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "v3.qcow2: a chain of 3 files, base first"
    assert [row.split()[0] for row in rows] == ["v1.qcow2", "v2.qcow2", "v3.qcow2"]
    assert "number 2, 2.0; check information: right (in extension)" in rows[1]


def test_a_broken_chain_is_shown_with_its_fault_and_checked_bad(
    images: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    images.path(1).unlink()
    assert run("show", images.path(3)) == ExitCode.OK
    assert "v2.qcow2: HOLE: v1.qcow2 is missing" in capsys.readouterr().out
    assert run("check", images.folder) == ExitCode.FAILED
    assert "v2.qcow2: hole: v1.qcow2 is missing" in capsys.readouterr().out
    assert run("merge", images.folder, "m.qcow2", "--limit", "1") == ExitCode.BROKEN_CHAIN
    assert "bootsvc chain show" in capsys.readouterr().err


def test_programs_get_every_field_that_is_documented(
    images: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show", images.folder, "--json") == ExitCode.OK
    (chain,) = json.loads(capsys.readouterr().out)["chains"]
    assert (chain["newest"], chain["troubles"]) == ("v3.qcow2", [])
    base, _, top = chain["files"]
    assert (base["parent_file"], base["parent"], top["next"]) == (None, None, None)
    assert top["identity"] == images.identity(3).hex()
    assert base["next"] == chain["files"][1]["own"]
    readme = Path(chain_command.__file__).with_name("README.md").read_text()
    for field in top:
        assert f"`{field}`" in readme


def test_check_reads_the_content_unless_told_not_to(
    images: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", images.folder) == ExitCode.OK
    assert "sound; chains: 1" in capsys.readouterr().out
    tool("qemu-io", "-f", "qcow2", "-c", "write -P 99 0 512", images.path(3))
    assert run("check", images.folder, "--no-content") == ExitCode.OK
    capsys.readouterr()
    assert run("check", images.folder, "--json") == ExitCode.FAILED
    (damage,) = json.loads(capsys.readouterr().out)["damage"]
    assert damage == {"file": "v3.qcow2", "problem": "its content is not that of number 3"}


def test_a_chain_is_merged_when_it_is_longer_than_the_limit(
    images: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("merge", images.folder, "m.qcow2") == ExitCode.OK
    assert "a chain of 3 files needs no merge yet" in capsys.readouterr().out
    assert not (images.folder / "m.qcow2").exists()
    arguments = ("merge", images.folder, "m.qcow2", "--limit", "2", "--to", "increment", "--json")
    assert run(*arguments) == ExitCode.OK
    merged = json.loads(capsys.readouterr().out)["merged"]
    assert merged["path"] == str(images.folder / "m.qcow2")
    assert view(images.folder / "m.qcow2") == images.contents[-1]
    # Two chains stand there now: the old one and the merged one.
    assert run("merge", images.folder, "n.qcow2", "--limit", "1") == ExitCode.BROKEN_CHAIN
    assert "not clear which chain is meant: m.qcow2, v3.qcow2" in capsys.readouterr().err


def test_repair_puts_back_what_convert_lost(
    images: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = images.folder / "lost.qcow2"
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", images.path(1), lost)
    lost.replace(images.path(1))
    assert run("repair", images.folder) == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [
        "v1.qcow2: check information written",
        "v2.qcow2: check information stood there already",
        "v3.qcow2: check information stood there already",
    ]
    (images.folder / "v2.qcow2.manifest").unlink()
    assert run("repair", images.folder) == ExitCode.BROKEN_CHAIN
    assert "put the version's manifest there as v2.qcow2.manifest" in capsys.readouterr().err


def test_what_is_no_chain_is_refused_with_its_own_code(
    images: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = images.folder / "raw.img"
    raw.write_bytes(bytes(4096))
    assert run("show", raw) == ExitCode.DAMAGED
    assert "not a qcow2 file" in capsys.readouterr().err
    assert run("show", images.folder / "gone.qcow2") == ExitCode.DISK
    assert run("merge", images.folder, "m", "--limit", "1", "--manifest", raw) == ExitCode.DAMAGED
    images.path(2).with_name("v2.qcow2.manifest").write_text("{}")
    assert run("check", images.folder) == ExitCode.FAILED
    assert "v2.qcow2: not usable" in capsys.readouterr().out


def test_each_piece_of_work_has_a_bar_that_begins_at_nothing() -> None:
    stages = chain_command.Stages()
    seen = []
    for work, done in (("merge", 50), ("merge", 100), ("compare", 10)):
        stages.update(work, done, 100)
        assert stages.bar
        seen.append((stages.bar.work, stages.bar.done))
    assert seen == [("merge", 50), ("merge", 100), ("compare", 10)]
    stages.end()
    assert stages.bar is None


def test_the_default_limit_is_the_same_everywhere() -> None:
    assert chain_command.DEFAULT_LIMIT == merge.DEFAULT_LIMIT
