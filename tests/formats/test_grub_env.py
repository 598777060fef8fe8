"""GRUB's environment block: as GRUB's own tool reads and writes it, and anything at all."""

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.errors import FieldError, FormatError, MagicError, TruncatedError
from bootsvc.formats.grub_env import SIZE, build, parse

NAMES = st.from_regex(r"\A[a-z_]{1,12}\Z")
VALUES = st.text(st.characters(min_codepoint=10, max_codepoint=126, exclude_characters="\r"),
                 max_size=40)  # fmt: skip


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_what_is_built_is_parsed_again(values: dict[str, str]) -> None:
    block = build(values)
    assert len(block) == SIZE
    assert parse(block) == values


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_a_power_cut_between_the_sectors_of_a_block_changes_nothing(values: dict[str, str]) -> None:
    assert build(values)[512:] == build({})[512:]


@given(st.binary(max_size=2 * SIZE))
def test_any_bytes_give_values_or_an_error_of_ours(data: bytes) -> None:
    for one in (data, build({})[:25] + data.ljust(SIZE)):
        with suppress(FormatError):
            assert isinstance(parse(one), dict)


def test_what_is_no_block_is_refused() -> None:
    with pytest.raises(TruncatedError):
        parse(build({})[:-1])
    with pytest.raises(MagicError):
        parse(bytes(SIZE))


def test_values_that_need_a_second_sector_are_refused() -> None:
    with pytest.raises(FieldError, match="first sector"):
        build({"name": "x" * 500})


def test_grubs_own_tool_lists_ours_and_we_read_its(tmp_path: Path) -> None:
    path = tmp_path / "try.env"
    path.write_bytes(build({"try": "b", "tried": ""}))
    listed = subprocess.run(
        ["grub-editenv", path, "list"], capture_output=True, text=True, check=True
    )
    assert listed.stdout == "try=b\ntried=\n"
    subprocess.run(["grub-editenv", path, "set", "try=", "tried=b"], check=True)
    assert parse(path.read_bytes()) == {"try": "", "tried": "b"}
    assert path.stat().st_size == SIZE
