"""The boot-status record: golden sectors, a second decoder, and no damage unnoticed."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.errors import (
    ChecksumError,
    FieldError,
    FormatError,
    MagicError,
    TruncatedError,
)
from bootsvc.formats.boot_status import (
    CODES_OF_PHASE,
    MAX_SEQUENCE,
    NO_IDENTITY,
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Request,
    StatusCode,
    build,
    parse,
)
from bootsvc.formats.describe import describe_failure, next_start
from tests.formats.decoder import decode

GOLDEN = Path(__file__).parents[1] / "golden"
SECTORS = sorted(GOLDEN.glob("*.bin"))


def resummed(sector: bytes) -> bytes:
    """The same sector with a right checksum."""
    return sector[:508] + struct.pack("<I", zlib.crc32(sector[:508]))


def changed(sector: bytes, offset: int, data: bytes) -> bytes:
    return resummed(sector[:offset] + data + sector[offset + len(data) :])


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.bin").read_bytes()


def test_the_golden_sectors_are_all_there() -> None:
    names = {path.stem for path in SECTORS}
    assert names == {"copy", "every-field", "idle", "last-try", "restore", "trial"}


@pytest.mark.parametrize("path", SECTORS, ids=lambda path: path.stem)
def test_a_golden_sector_means_what_the_text_beside_it_says(path: Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text())
    sector = path.read_bytes()
    assert decode(sector) == expected
    status = parse(sector)
    for name, value in expected.items():
        match value:
            case dict():
                part = getattr(status, name)
                found = {key: plain(getattr(part, key)) for key in value}
                assert found == value, name
            case list():
                kept = [one for one in value if any(bytes.fromhex(one))]
                assert [one.hex() for one in status.failed] == kept
            case _ if name != "length":
                assert plain(getattr(status, name)) == value, name
    assert build(status) == sector


def plain(value: int | bytes) -> int | str:
    return value.hex() if isinstance(value, bytes) else int(value)


u8, u64 = st.integers(0, 255), st.integers(0, 2**64 - 1)
identities = st.binary(min_size=32, max_size=32)
area_records = st.builds(
    AreaRecord,
    st.sampled_from(AreaState),
    u64,
    u64,
    identities,
    st.binary(min_size=7, max_size=7),
)
failures = st.builds(
    Failure,
    st.sampled_from(Phase),
    u8,
    st.sampled_from(Area),
    st.integers(0, 2**32 - 1),
    u64,
    u64,
    identities,
    st.binary(min_size=1, max_size=1),
)


@st.composite
def records(draw: st.DrawFn) -> BootStatus:
    """Every record that is allowed to stand on a disk."""
    phase = draw(st.sampled_from(sorted(CODES_OF_PHASE)))
    code = draw(st.sampled_from(CODES_OF_PHASE[phase]))
    boot_area = Area.BACKUP if code is StatusCode.BACKUP else Area.PRIMARY
    whole = st.sampled_from((AreaState.VALID, AreaState.CONFIRMED))
    primary, backup = draw(area_records), draw(area_records)
    if phase in (Phase.INSTALL, Phase.HALT):
        boot_area = Area.NONE
    elif boot_area is Area.PRIMARY:
        primary = replace(primary, state=draw(whole))
    else:
        backup = replace(backup, state=draw(whole))
    allowed = draw(u8)
    is_last = phase is Phase.TRIAL and code is StatusCode.BACKUP
    return BootStatus(
        code,
        phase,
        boot_area,
        request=draw(st.sampled_from(Request)),
        sequence=draw(st.integers(0, MAX_SEQUENCE)),
        tries_left=0 if is_last else draw(st.integers(0, allowed)),
        tries_allowed=allowed,
        restore_retries=draw(u8),
        crash_count=draw(u8),
        transaction=draw(st.binary(min_size=16, max_size=16)),
        crash_event=draw(st.binary(min_size=16, max_size=16)),
        version_floor=draw(u64),
        progress=draw(u64),
        layout_hash=draw(identities),
        primary=primary,
        backup=backup,
        staging=draw(area_records),
        last_failure=draw(failures),
        failed=tuple(draw(st.lists(identities.filter(any), max_size=4))),
        reserved_a=draw(st.binary(min_size=4, max_size=4)),
        reserved_b=draw(st.binary(min_size=44, max_size=44)),
    )


@settings(deadline=None)
@given(records())
def test_every_allowed_record_survives_build_and_parse(status: BootStatus) -> None:
    sector = build(status)
    assert len(sector) == 512
    assert parse(sector) == status
    fields = decode(sector)
    assert fields is not None
    assert fields["sequence"] == status.sequence
    assert fields["boot_area"] == status.boot_area
    assert next_start(status)
    assert describe_failure(status.last_failure)


@settings(deadline=None)
@given(st.binary(min_size=496, max_size=496), u8, st.sampled_from(sorted(CODES_OF_PHASE)))
def test_bytes_with_a_right_magic_and_checksum_parse_or_are_a_format_error(
    garbage: bytes, code: int, phase: int
) -> None:
    sector = b"BOOTSVC\0" + struct.pack("<HHBB", 1, 512, code % 5, phase) + garbage
    try:
        status = parse(resummed(sector.ljust(512, b"\0")))
    except FormatError:
        return
    assert parse(build(status)) == status


@pytest.mark.parametrize("path", SECTORS, ids=lambda path: path.stem)
def test_every_single_flipped_bit_is_refused(path: Path) -> None:
    sector = path.read_bytes()
    for bit in range(512 * 8):
        flipped = bytearray(sector)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((MagicError, ChecksumError)):
            parse(bytes(flipped))


def test_every_truncation_is_refused() -> None:
    sector = golden("every-field")
    for length in range(512):
        with pytest.raises(TruncatedError):
            parse(sector[:length])
    assert parse(sector + b"more") == parse(sector)


def test_bytes_that_a_newer_version_may_use_survive() -> None:
    status = parse(golden("every-field"))
    again = parse(build(replace(status, sequence=5)))
    assert again.reserved_a == status.reserved_a != bytes(4)
    assert again.reserved_b == status.reserved_b != bytes(44)
    assert again.primary.reserved == status.primary.reserved != bytes(7)


def test_a_reason_of_a_newer_version_survives_and_is_shown_as_a_number() -> None:
    status = parse(changed(golden("restore"), 281, b"\xc8"))
    assert status.last_failure.reason == 200
    assert parse(build(status)) == status
    assert "200" in describe_failure(status.last_failure)


MISFITS = {
    "code 3 in IDLE": (12, b"\x03"),
    "code 2 in IDLE": (12, b"\x02\x02\x02"),
    "code 1 that boots backup": (14, b"\x02"),
    "code 0": (12, b"\x00"),
    "phase CHECK, which is never written": (13, b"\x03"),
    "phase of nobody": (13, b"\x63"),
    "staging to boot": (14, b"\x03"),
    "nothing to boot in IDLE": (14, b"\x00"),
    "unknown request": (15, b"\x09"),
    "more tries left than allowed": (24, b"\x09\x03"),
    "another format version": (8, b"\x02\x00"),
    "another length": (10, b"\x00\x04"),
    "unknown area state": (112, b"\x09"),
    "a primary to boot that is being written": (112, b"\x01"),
    "an endless sequence": (16, b"\xff" * 8),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_fields_that_contradict_each_other_are_refused_in_spite_of_a_right_checksum(
    misfit: str,
) -> None:
    with pytest.raises(FieldError):
        parse(changed(golden("idle"), *MISFITS[misfit]))


def test_code_2_on_trial_with_tries_left_is_refused() -> None:
    with pytest.raises(FieldError):
        parse(changed(golden("last-try"), 24, b"\x01"))


def test_nothing_inconsistent_is_ever_built() -> None:
    status = parse(golden("idle"))
    bad: list[dict[str, object]] = [
        {"status_code": StatusCode.FIRST_START},
        {"boot_area": Area.BACKUP},
        {"boot_area": Area.STAGING},
        {"tries_left": 4},
        {"failed": (b"a" * 32,) * 5},
        {"crash_count": 256},
        {"version_floor": -1},
        {"primary": AreaRecord(AreaState.WRITING)},
    ]
    for change in bad:
        with pytest.raises(FieldError):
            build(replace(status, **change))  # type: ignore[arg-type]


def test_the_newest_failed_images_are_remembered_each_once() -> None:
    status = parse(golden("idle"))
    for letter in b"abcdeb":
        status = status.with_failed(bytes([letter]) * 32)
    assert [one[:1] for one in status.failed] == [b"b", b"e", b"d", b"c"]
    assert status.with_failed(NO_IDENTITY) == status
