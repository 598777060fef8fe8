"""The list of failed images in data: read back as written, and never an obstacle."""

from hypothesis import given
from hypothesis import strategies as st

from bootsvc.formats.failed_list import KEPT, MAX_SIZE, build, merged, parse

IDENTITY = st.binary(min_size=32, max_size=32).filter(any)
A, B, C = (bytes([letter]) * 32 for letter in b"ABC")


@given(st.lists(IDENTITY, unique=True, max_size=KEPT + 4))
def test_what_was_written_is_read_back_up_to_what_is_kept(identities: list[bytes]) -> None:
    assert parse(build(identities)) == tuple(identities[:KEPT])


def test_the_longest_list_is_read_in_full() -> None:
    assert len(build([bytes([number]) * 32 for number in range(KEPT)])) <= MAX_SIZE


@given(st.binary(max_size=300))
def test_a_damaged_list_is_read_as_far_as_it_goes(damage: bytes) -> None:
    assert parse(build([A]) + b"\n" + damage + b"\n" + build([B]))[:1] == (A,)
    assert B in parse(damage + b"\n" + build([B]))


def test_lines_that_are_no_identity_are_passed_over() -> None:
    assert parse(
        b"# heading\nabcd\n\xff\n" + A.hex().encode() + b"\n\n" + b"zz" * 32 + b"\n" + b"00" * 32
    ) == (A,)


def test_the_newest_come_first_each_once_and_the_confirmed_one_is_forgiven() -> None:
    assert merged([B, A], [A, C], good=bytes(32)) == (B, A, C)
    assert merged([B], [A, C], good=A) == (B, C)
    assert len(merged([], [bytes([one]) * 32 for one in range(20)], good=A)) == KEPT
