"""Inputs with the shape of their format and any values in it: what random bytes seldom are."""

from __future__ import annotations

import json
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.settings import RANGES, Settings
from tests.fuzz import seeds
from tests.fuzz.parsers import BETWEEN_FILES
from tests.fuzz.targets import TARGETS
from tests.images import make_image

few = settings(deadline=None, max_examples=60)

numbers = st.one_of(
    st.integers(-3, 100),
    st.sampled_from([value for bounds in RANGES.values() for value in bounds]),
    st.integers(0, 2**64),
)
keys = st.one_of(st.sampled_from(list(vars(Settings()))), st.text("tries_ab", max_size=8))


def nested(value: str, depth: int) -> str:
    return "[" * depth + value + "]" * depth


toml_values = st.one_of(
    numbers.map(str),
    st.integers(1, 4000).map(lambda digits: "0x" + "f" * digits),
    st.integers(1, 5000).map(lambda digits: "9" * digits),
    st.sampled_from(["true", "false", "inf", "-0.0", "1979-05-27", "07:32:00", "'''a'''", "{a=1}"]),
    st.text(max_size=20).map(json.dumps),
    st.builds(nested, st.just("1"), st.integers(0, 2000)),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@few
@given(st.lists(st.tuples(keys, toml_values), max_size=4))
def test_any_value_in_any_setting_is_taken_or_refused(lines: list[tuple[str, str]]) -> None:
    text = "".join(f"{key or 'a'} = {value}\n" for key, value in lines)
    TARGETS["settings-toml"].try_within_bounds(text.encode("utf-8", "replace"))


@few
@given(st.dictionaries(keys, json_values, max_size=4), st.integers(0, 3000))
def test_any_value_in_any_built_in_setting_is_taken_or_refused(
    values: dict[str, object], depth: int
) -> None:
    TARGETS["settings-json"].try_within_bounds(json.dumps(values).encode())
    deep = f'{{"tries": {nested("1", depth)}}}'
    TARGETS["settings-json"].try_within_bounds(deep.encode())


@few
@given(st.lists(st.tuples(keys, st.one_of(numbers.map(str), st.text('on"f=٣ ', max_size=6)))))
def test_any_kernel_option_is_taken_or_refused(options: list[tuple[str, str]]) -> None:
    line = " ".join(f"bootsvc.{key}={value}" for key, value in options).encode()
    TARGETS["kernel-options"].try_within_bounds(line)
    TARGETS["cmdline"].try_within_bounds(line)


names = ("boot", "loader", "entries", "a.conf", "b.conf", "vmlinuz-6.1", "vmlinuz", "x", "..", ".")
paths = st.lists(st.sampled_from([*names, "initrd.img-6.1", "initrd"]), min_size=1, max_size=5).map(
    "/".join
)
whereabouts = st.one_of(
    paths, st.sampled_from(["boot/loader/entries/a.conf", "boot/vmlinuz-6.1", "boot/loader"])
)
fields = st.tuples(st.sampled_from(["linux", "initrd", "options", "version", "#"]), paths)
contents = st.lists(fields, max_size=5).map(lambda all_of: "\n".join(map(" ".join, all_of)))
files = st.one_of(
    st.tuples(whereabouts, paths).map(" -> ".join), st.tuples(whereabouts, contents).map("\n".join)
)


@few
@given(st.lists(files, max_size=6))
def test_any_tree_of_links_entries_and_kernels_gives_boot_files_or_a_refusal(
    tree: list[str],
) -> None:
    data = BETWEEN_FILES.decode().join(tree).encode()
    TARGETS["boot-tree"].try_within_bounds(data)


shell_values = st.one_of(
    st.sampled_from(["primary", "'backup'", "'" + "ab" * 32 + "'", "ab" * 16, "1", "/dev/vda4"]),
    st.text("ab'\"\\\n =#", max_size=12),
)
shell_names = st.sampled_from(["AREA", "IDENTITY", "TRANSACTION", "TRIAL", "ROOT", "ALARM", "X"])


@few
@given(st.lists(st.tuples(shell_names, shell_values), max_size=7))
def test_any_handover_file_gives_the_facts_of_a_start_or_none(
    lines: list[tuple[str, str]],
) -> None:
    text = "".join(f"BOOTSVC_{name}={value}\n" for name, value in lines)
    TARGETS["handover"].try_within_bounds(text.encode())


offsets_and_sizes = st.tuples(st.integers(4, 300), st.sampled_from("BHIQ"))
extremes = st.sampled_from([0, 1, 2, 4, 0x7F, 0xFF, 0xFFFF, 0xFFFFFFFF, 2**63, 2**64 - 1])


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(seeds.elfs()),
    st.lists(st.tuples(offsets_and_sizes, extremes), min_size=1, max_size=4),
)
def test_any_number_in_an_elf_file_is_read_or_refused(
    whole: bytes, changes: list[tuple[tuple[int, str], int]]
) -> None:
    data = bytearray(whole)
    for (offset, size), value in changes:
        width = struct.calcsize(size)
        if offset + width <= len(data):
            struct.pack_into(f"<{size}", data, offset, value % (1 << 8 * width))
    TARGETS["elf"].try_within_bounds(bytes(data))


@few
@given(
    st.integers(1, 300),
    st.integers(0, 0xFFFF),
    st.integers(1, 255),
    st.binary(min_size=32, max_size=32),
)
def test_any_flipped_bits_in_a_tree_of_any_size_are_noticed(
    blocks: int, place: int, flip: int, leaf: bytes
) -> None:
    data = struct.pack("<HB", place, flip) + leaf * blocks
    assert not TARGETS["tree-repaired"].try_within_bounds(data)


deltas = st.one_of(st.just(0), st.sampled_from([-4096, -1, 1, 4096, 32767]))
tree_deltas = st.sampled_from([0, 1, 4096, 32767])
"""One block needs no tree, and there is none to take bytes from."""


@few
@given(st.tuples(deltas, deltas, tree_deltas), st.integers(0, 3), st.integers(0, 255), st.binary())
def test_an_image_file_whose_parts_do_not_fit_is_refused(
    shifts: tuple[int, int, int], flags: int, flip: int, content: bytes
) -> None:
    parts = struct.pack("<hhhBB", *shifts, flags, flip) + make_image(b"image").manifest_bytes
    outcome = TARGETS["image-file-repaired"].try_within_bounds(parts + b"\0" + content)
    assert bool(outcome) == (any(shifts) or flags > 0 or flip > 0)


request_fields = st.sampled_from(["do", "id", "action", "arguments", "word", "password", "x"])
request_values = st.one_of(
    st.sampled_from(["facts", "actions", "perform", "cancel", "hold", "unlock", "verify"]),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    json_values,
)


@few
@given(st.lists(st.dictionaries(request_fields, request_values, max_size=5), max_size=4))
def test_any_value_in_any_field_of_a_request_is_taken_or_refused(
    asked: list[dict[str, object]],
) -> None:
    lines = "\n".join(json.dumps(one) for one in asked) + "\n"
    TARGETS["requests"].try_within_bounds(lines.encode())
