"""Kernel command lines: words as the kernel splits them, and what an image may not say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.boot.cmdline import (
    MAX_LENGTH,
    OURS,
    compose,
    image_words,
    parse_options,
    same_options,
    split_words,
    updater_slot,
)

GUID = "11112222-0000-4000-8000-123456789abc"
FACTS = {"area": "primary", "trial": "1"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  quiet \n\0", ["quiet"]),
        ('a b="c d" e', ["a", 'b="c d"', "e"]),
        ('"a=b c" d', ['"a=b c"', "d"]),
        ('a="never closed b', ['a="never closed b']),
        ("a\tb\nc", ["a", "b", "c"]),
    ],
)
def test_double_quotes_hold_a_word_together(line: str, words: list[str]) -> None:
    assert split_words(line) == words


def test_the_last_option_of_a_name_wins_and_quotes_go() -> None:
    found = parse_options('bootsvc.tries=1 quiet dyndbg="file a.c +p" bootsvc.tries=2\n')
    assert found == {"bootsvc.tries": "2", "quiet": "", "dyndbg": "file a.c +p"}


@pytest.mark.parametrize(
    ("line", "slot"),
    [("quiet bootsvc.slot=b", "b"), ("", ""), ("bootsvc.slot=c", ""), ("bootsvc.slot=a'b", "")],
)
def test_the_updaters_slot_is_a_or_b_or_unknown(line: str, slot: str) -> None:
    assert updater_slot(line) == slot


def test_a_composed_line_has_the_images_words_first_and_ours_behind() -> None:
    assert compose("console=ttyS0 quiet", GUID, "/sbin/init", FACTS) == (
        f"console=ttyS0 quiet root=PARTUUID={GUID} ro init=/sbin/init panic=10 "
        "bootsvc.area=primary bootsvc.trial=1"
    )


@pytest.mark.parametrize("name", [*OURS, "bootsvc.area", "bootsvc.trial", "bootsvc.tries"])
@pytest.mark.parametrize("form", ["{}", "{}=/dev/evil", '{}="/dev/evil x"', '"{}=/dev/evil x"'])
def test_an_image_cannot_say_what_is_ours(name: str, form: str) -> None:
    options = f"quiet {form.format(name)} console=ttyS0"
    assert image_words(options) == ["quiet", "console=ttyS0"]
    assert compose(options, GUID, "/sbin/init", FACTS) == compose(
        "quiet console=ttyS0", GUID, "/sbin/init", FACTS
    )


def by_the_kernel(line: str) -> list[tuple[str, str]]:
    """Names and values as lib/cmdline.c of the kernel reads them (next_arg), written anew."""
    found, at = [], 0
    while at < len(line):
        if line[at].isspace():
            at += 1
            continue
        quoted = line[at] == '"'
        at += quoted
        begin, equals, in_quotes = at, -1, quoted
        while at < len(line) and (in_quotes or not line[at].isspace()):
            if line[at] == "=" and equals < 0:
                equals = at
            if line[at] == '"':
                in_quotes = not in_quotes
            at += 1
        end = at - 1 if quoted and line[at - 1 : at] == '"' else at
        name, value = (line[begin:equals], line[equals + 1 : end]) if equals >= 0 else (
            line[begin:end], "",
        )  # fmt: skip
        if value.startswith('"'):
            value = value[1:].removesuffix('"')
        if name == "--":
            break  # what follows goes to init
        found.append((name, value))
    return found


pieces = st.sampled_from(
    [
        "root", "bootsvc.area", "bootsvc.trial", "init", "rw", "quiet", "x.y",
        "=", '"', " ", "\t", "\n", "/dev/evil", "a", "--",
    ]
)  # fmt: skip


@given(st.lists(pieces, max_size=12).map("".join))
def test_whatever_the_image_says_the_kernel_reads_our_root_and_facts(options: str) -> None:
    line = compose(options, GUID, "/sbin/init", FACTS)
    read = by_the_kernel(line)
    for name, value in {
        "root": f"PARTUUID={GUID}",
        "init": "/sbin/init",
        "bootsvc.area": "primary",
        "bootsvc.trial": "1",
    }.items():
        assert [one for key, one in read if key == name] == [value]
    assert parse_options(line)["root"] == f"PARTUUID={GUID}"


@given(st.lists(pieces, max_size=12).map("".join))
def test_whatever_the_image_says_a_shell_reads_our_root_and_no_fact_of_the_images(
    options: str,
) -> None:
    words = compose(options, GUID, "/sbin/init", {"area": "primary"}).split()
    assert [one for one in words if one.startswith("bootsvc.")] == ["bootsvc.area=primary"]
    assert [one for one in words if one.startswith("root=")][-1] == f"root=PARTUUID={GUID}"


def test_same_options_looks_past_ours_and_past_the_order() -> None:
    running = 'BOOT_IMAGE=/a/vmlinuz quiet root=/dev/x console=ttyS0 x="a b" bootsvc.tries=1'
    assert same_options('console=ttyS0 x="a b" quiet', running)
    assert not same_options("console=ttyS0 quiet", running)
    assert not same_options('console=ttyS1 x="a b" quiet', running)
    assert not same_options('console=ttyS0 x="a  b" quiet', running)


def test_a_line_longer_than_the_kernel_accepts_is_refused() -> None:
    longest = MAX_LENGTH - len(compose("", GUID, "/sbin/init", FACTS)) - 1
    assert len(compose("x" * longest, GUID, "/sbin/init", FACTS)) == MAX_LENGTH
    with pytest.raises(ValueError, match=f"at most {MAX_LENGTH}"):
        compose("x" * (longest + 1), GUID, "/sbin/init", FACTS)
    with pytest.raises(ValueError, match=f"at most {MAX_LENGTH}"):
        compose("é" * longest, GUID, "/sbin/init", FACTS)
