"""``bootsvc store``: a store is made, vouched for, and its keys are replaced."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bootsvc.cli import main
from bootsvc.cli.exit_codes import ExitCode
from bootsvc.store.address import open_object_store
from bootsvc.store.metadata import read_targets


@pytest.fixture
def store(tmp_path: Path) -> list[str]:
    """The arguments that name a new store and its keys."""
    arguments = [str(tmp_path / "images"), "--keys", str(tmp_path / "keys")]
    assert main(["store", "init", *arguments]) == ExitCode.OK
    return arguments


def test_a_new_store_says_where_its_keys_belong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = [str(tmp_path / "images"), "--keys", str(tmp_path / "keys")]
    assert main(["store", "init", *store]) == ExitCode.OK
    shown = capsys.readouterr().out
    for name in ("online.key", "root.json"):
        assert str(tmp_path / "keys" / name) in shown
    assert (tmp_path / "images/metadata/timestamp.json").is_file()
    assert main(["store", "init", *store]) == ExitCode.STORE
    assert "is an image store already" in capsys.readouterr().err


def test_refreshing_says_until_when_machines_believe_it(
    store: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["store", "refresh", *store, "--timestamp-days", "3"]) == ExitCode.OK
    shown = capsys.readouterr()
    end = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%d")
    assert f"timestamp  good until {end}" in shown.out
    assert shown.err == ""
    assert main(["store", "refresh", *store, "--json"]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert [*document] == ["schema", "store", "version", "documents", "good_until"]
    assert [*document["good_until"]] == ["root", "targets", "snapshot", "timestamp"]


def test_what_runs_out_soon_is_said_where_its_key_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [str(tmp_path / "short"), "--keys", str(tmp_path / "short-keys")]
    assert main(["store", "init", *other, "--targets-days", "59"]) == ExitCode.OK
    (tmp_path / "short-keys/targets.key").unlink()
    capsys.readouterr()
    assert main(["store", "refresh", *other, "--targets-days", "59"]) == ExitCode.OK
    said = capsys.readouterr().err
    assert "targets metadata runs out" in said
    assert "where targets.key is" in said
    assert "root metadata" not in said


def test_a_stolen_key_is_replaced(
    store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys"
    assert main(["store", "rotate", *store, "online"]) == ExitCode.STORE
    assert f"bootsvc key new {keys}/online-2" in capsys.readouterr().err
    assert main(["key", "new", str(keys / "online-2")]) == ExitCode.OK
    assert main(["store", "rotate", *store, "online"]) == ExitCode.OK
    (keys / "online.key").unlink()
    assert main(["store", "refresh", *store]) == ExitCode.OK
    assert read_targets(open_object_store(store[0]), keys).names == frozenset()


def test_keys_that_everybody_could_read_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "images"), "--keys", str(tmp_path / "images/keys")]
    assert main(["store", "init", *arguments]) == ExitCode.STORE
    assert "shown to everybody" in capsys.readouterr().err
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize("days", ["0", "36501", "99999999999999", "-1", "many"])
def test_days_out_of_range_make_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], days: str
) -> None:
    arguments = [str(tmp_path / "images"), "--keys", str(tmp_path / "keys")]
    assert main(["store", "init", *arguments, "--root-days", days]) == ExitCode.USAGE
    assert "from 1 to 36500 days" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_a_missing_library_is_named_with_the_way_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bootsvc.store.metadata", None)
    arguments = [str(tmp_path / "images"), "--keys", str(tmp_path / "keys")]
    assert main(["store", "init", *arguments]) == ExitCode.TOOL
    assert "pip install 'bootsvc[store]'" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_the_parser_needs_none_of_the_stores_libraries() -> None:
    """Else no command of a machine without them would run."""
    from tests.test_lazy_imports import imports_of

    found = imports_of(Path(sys.modules["bootsvc.cli.store"].__file__ or ""))
    at_once = {name for name, is_later in found if not is_later}
    assert {one for one in at_once if one.startswith("bootsvc.store")} == {"bootsvc.store.expiry"}
