"""Key pairs: made once, kept secret, never mixed up."""

import stat
from pathlib import Path

import pytest

from bootsvc.errors import FormatError, StorageError
from bootsvc.image.keys import load_signing_key, new_key_pair
from bootsvc.trust.keys import parse_public_key, signing_key_of


def test_new_key_signs_what_its_public_half_accepts(tmp_path: Path) -> None:
    new_key_pair(tmp_path / "release")
    key = load_signing_key(tmp_path / "release.key")
    public = parse_public_key("release", (tmp_path / "release.pub").read_text())
    signature = key.sign(b"manifest")
    found = signing_key_of(b"manifest", [signature], [public], allow_retired=False)
    assert found == public


def test_secret_half_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    new_key_pair(tmp_path / "deep/release")
    mode = (tmp_path / "deep/release.key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_two_new_keys_differ(tmp_path: Path) -> None:
    one, other = new_key_pair(tmp_path / "one"), new_key_pair(tmp_path / "other")
    assert one.seed != other.seed


@pytest.mark.parametrize("present", ["release.key", "release.pub"])
def test_key_is_never_overwritten(tmp_path: Path, present: str) -> None:
    (tmp_path / present).write_text("precious")
    with pytest.raises(StorageError, match="never overwritten"):
        new_key_pair(tmp_path / "release")
    assert [path.name for path in tmp_path.iterdir()] == [present]
    assert (tmp_path / present).read_text() == "precious"


def test_secret_key_does_not_show_in_its_text(tmp_path: Path) -> None:
    key = new_key_pair(tmp_path / "release")
    assert key.seed.hex() not in repr(key)
    assert repr(key.seed) not in repr(key)


@pytest.mark.parametrize("text", ["", "zz" * 32, "ab" * 31, "ab" * 33])
def test_file_that_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.key").write_text(text)
    with pytest.raises(FormatError, match="not a secret key"):
        load_signing_key(tmp_path / "bad.key")


def test_public_half_in_place_of_the_secret_one_is_noticed(tmp_path: Path) -> None:
    new_key_pair(tmp_path / "release")
    with pytest.raises(FormatError, match="does not belong to the public key"):
        load_signing_key(tmp_path / "release.pub")


def test_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none\.key") as caught:
        load_signing_key(tmp_path / "none.key")
    assert "bootsvc key new" in caught.value.hint
