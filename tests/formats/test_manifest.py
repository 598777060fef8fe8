"""The manifest: every field bounded, every error ours, unknown keys left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.errors import FieldError, FormatError
from bootsvc.formats.footer import MAX_MANIFEST_SIZE
from bootsvc.formats.manifest import (
    BootFile,
    BootSection,
    InnerPartition,
    Manifest,
    build_manifest,
    identity_of,
    parse_manifest,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "manifest.json"
MANIFEST = Manifest(
    lineage="0f5f3c63-4a53-4b3a-9c0f-2b6d3c1d0001",
    number=2,
    label="1.1",
    compatible="lab",
    size=40960,
    sha256=b"\x11" * 32,
    root=b"\x22" * 32,
    boot=BootSection(
        "kexec",
        BootFile("/boot/vmlinuz-6.1", 8_000_000, b"\x33" * 32),
        BootFile("/boot/initrd.img-6.1", 9_000_000, b"\x44" * 32),
        "quiet console=ttyS0",
        "ab12",
        "kept",
        "/lib/systemd/systemd",
    ),
    floor=1,
    parent=b"\x55" * 32,
    notes="Zeile 1\nÜbung",
)


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(build_manifest(MANIFEST))
    return found


def with_value(path: str, value: object) -> bytes:
    """The manifest with one value changed; the path's parts are joined by dots."""
    whole = document()
    *outer, last = path.split(".")
    part = whole
    for key in outer:
        part = part[key]
    part[last] = value
    return json.dumps(whole).encode()


def test_the_golden_manifest_means_what_it_meant() -> None:
    assert parse_manifest(GOLDEN.read_bytes()) == MANIFEST
    assert build_manifest(MANIFEST) == GOLDEN.read_bytes()
    identity = "7d271c6d4cfd3c9fb0ecde99564a19f5aa36d199f428ec3b0ea158a730a69df7"
    assert identity_of(GOLDEN.read_bytes()).hex() == identity


def test_unknown_keys_are_left_alone() -> None:
    assert parse_manifest(with_value("new_key", {"a": [1]})) == MANIFEST
    assert parse_manifest(with_value("boot.new_key", 7)) == MANIFEST


def test_an_image_without_initrd_and_parent_is_fine() -> None:
    plain = replace(MANIFEST, parent=None, boot=replace(MANIFEST.boot, initrd=None))
    assert parse_manifest(build_manifest(plain)) == plain


def paths(part: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in part.items():
        found.append(prefix + key)
        if isinstance(value, dict):
            found += paths(value, f"{prefix}{key}.")
    return found


OPTIONAL = {"parent", "boot.initrd"}


@pytest.mark.parametrize("path", paths(document()))
def test_a_field_of_the_wrong_kind_is_named(path: str) -> None:
    name = path.rsplit(".", 1)[-1]
    values: tuple[Any, ...] = ([], True, -1, 1.5, {}, None, "\ud800", 2**70)
    for value in values:
        if value is None and path in OPTIONAL:
            continue
        with pytest.raises(FieldError, match=name if not isinstance(value, dict) else "manifest"):
            parse_manifest(with_value(path, value))


BAD = {
    "format": 3,
    "block_size": 512,
    "lineage": "0F5F3C63-4A53-4B3A-9C0F-2B6D3C1D0001",
    "label": "x" * 65,
    "compatible": "x" * 129,
    "size": 0,
    "sha256": "AB" * 32,
    "root": "zz" * 32,
    "boot.method": "bootnext?",
    "boot.overlay": "none",
    "boot.init": "sbin/init",
    "boot.options": "quiet\nroot=/dev/sda",
    "boot.kernel.path": "/boot/../../etc/shadow",
    "boot.kernel.size": 512 * 1024 * 1024 + 1,
    "boot.kernel.sha256": "ab",
    "boot.initrd.path": "/boot/$(reboot)",
}


@pytest.mark.parametrize("path", BAD)
def test_a_value_out_of_its_limits_is_refused_and_named(path: str) -> None:
    with pytest.raises(FieldError, match=path.rsplit(".", 1)[-1]):
        parse_manifest(with_value(path, BAD[path]))


def test_a_path_may_not_hold_what_a_shell_would_read() -> None:
    for odd in ("/a b", "/a'b", '/a"b', "/a\\b", "/a$b", "/a`b", "/a\nb", "/../a", ""):
        with pytest.raises(FieldError):
            parse_manifest(with_value("boot.kernel.path", odd))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe\x00",
        json.dumps(document()).encode("utf-16"),
        json.dumps(document()).encode("utf-8-sig"),
        b"[" * 60_000,
        b'{"a": 1, "a": 2}',
        b"{" + b" " * MAX_MANIFEST_SIZE + b"}",
        b'{"format": ' + b"9" * 5000 + b"}",
        b'{"format": NaN}',
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_manifest_is_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_manifest(data)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_manifest(data)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=70))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(paths(document())), values)
def test_any_value_in_any_field_is_accepted_or_a_format_error(path: str, value: object) -> None:
    try:
        manifest = parse_manifest(with_value(path, value))
    except FormatError:
        return
    assert parse_manifest(build_manifest(manifest)) == manifest


def test_a_manifest_that_could_not_be_read_again_is_not_built() -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"number": -1},
        {"label": "x" * 65},
        {"size": 0},
        {"lineage": "x"},
    )
    for change in changes:
        with pytest.raises(FormatError):
            build_manifest(replace(MANIFEST, **change))


# --- format 2: what a reader must know -----------------------------------------------------------

WHOLE_DISK = replace(
    MANIFEST,
    boot=replace(
        MANIFEST.boot,
        root_partition=InnerPartition(8192, 32768),
        boot_partition=InnerPartition(4096, 4096),
        verity=True,
    ),
)


def needing(**changes: Any) -> bytes:
    """The manifest of a whole-disk image with keys of its top or its boot section changed."""
    whole: dict[str, Any] = json.loads(build_manifest(WHOLE_DISK))
    for key, value in changes.items():
        (whole if key in whole else whole["boot"])[key] = value
    return json.dumps(whole).encode()


def test_the_golden_manifest_of_format_2_means_what_it_meant() -> None:
    golden = GOLDEN.with_name("manifest-2.json").read_bytes()
    assert parse_manifest(golden) == WHOLE_DISK
    assert build_manifest(WHOLE_DISK) == golden


def test_an_image_that_a_reader_of_format_1_would_start_wrongly_is_of_format_2() -> None:
    assert document()["format"] == 1
    whole = json.loads(build_manifest(WHOLE_DISK))
    assert (whole["format"], whole["needs"]) == (2, ["partition", "verity"])
    assert parse_manifest(needing()) == WHOLE_DISK
    for boot in (
        replace(MANIFEST.boot, verity=True),
        replace(MANIFEST.boot, root_partition=InnerPartition(4096, 4096)),
    ):
        manifest = replace(MANIFEST, boot=boot)
        assert parse_manifest(build_manifest(manifest)) == manifest


def test_a_need_that_nobody_here_knows_is_refused_by_its_name() -> None:
    with pytest.raises(FieldError, match="'sealed' is unknown") as refused:
        parse_manifest(needing(needs=["verity", "sealed"]))
    assert "update the updater first" in refused.value.hint
    odd_ones: tuple[Any, ...] = ([], "verity", None, ["verity", "verity"], [["verity"]], [7], {})
    for odd in odd_ones:
        with pytest.raises(FieldError, match="needs"):
            parse_manifest(needing(needs=odd))


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 4096), (512, 4096), (8192, 4097), (8192, 0), (8192, 36864), (40960, 4096), (-4096, 8192)],
)
def test_a_partition_that_is_not_in_the_image_or_not_aligned_is_refused(
    offset: int, size: int
) -> None:
    for key in ("root_partition", "boot_partition"):
        with pytest.raises(FieldError, match=key):
            parse_manifest(needing(**{key: {"offset": offset, "size": size}}))


def test_verity_is_never_taken_for_wanted_by_half() -> None:
    for value in (False, None, 1, "true"):
        with pytest.raises(FieldError, match="verity"):
            parse_manifest(needing(verity=value))


def test_a_reader_of_format_1_reads_nothing_of_format_2() -> None:
    """What the updaters say that were built before there was a format 2."""
    assert parse_manifest(with_value("boot.verity", True)) == MANIFEST
