"""Messages for a peer that reads slowly or not at all."""

from __future__ import annotations

from bootsvc.console.outbox import Outbox


def outbox(most_waiting: int = 1000) -> Outbox:
    return Outbox(lambda count: b"lost %d\n" % count, most_waiting)


def all_of(box: Outbox, step: int = 1) -> bytes:
    """What a peer reads that takes ``step`` bytes at a time."""
    read = b""
    while data := box.next_bytes():
        read += data[:step]
        box.sent(len(data[:step]))
    return read


def test_messages_go_out_in_order_however_few_bytes_are_taken() -> None:
    for step in (1, 3, 100):
        box = outbox()
        for data in (b"one\n", b"two\n", b"three\n"):
            box.put(data)
        assert all_of(box, step) == b"one\ntwo\nthree\n"
        assert box.next_bytes() == b""


def test_whatever_comes_later_takes_the_place_of_progress_that_waits() -> None:
    box = outbox()
    for data in (b"10%\n", b"20%\n"):
        box.put(data, is_passing=True)
    box.put(b"said\n")
    for data in (b"30%\n", b"40%\n"):
        box.put(data, is_passing=True)
    assert all_of(box) == b"said\n40%\n"
    assert box.lost == 0


def test_a_message_whose_beginning_was_sent_is_always_finished() -> None:
    box = outbox(8)
    box.put(b"begun\n", is_passing=True)
    box.next_bytes()
    box.sent(2)
    for _ in range(5):
        box.put(b"more\n", is_passing=True)
        box.put(b"said\n")
    assert all_of(box).startswith(b"gun\n")


def test_where_it_does_not_fit_the_oldest_goes_and_the_peer_is_told_how_many() -> None:
    box = outbox(15)
    box.put(b"first\n")
    box.put(b"10%\n", is_passing=True)
    box.put(b"next\n")
    box.put(b"end\n")
    assert all_of(box) == b"first\nnext\nend\n"
    for number in range(5):
        box.put(b"line %d\n" % number)
    assert box.lost == 3
    assert all_of(box) == b"lost 3\nline 3\nline 4\n"
    assert box.lost == 0


def test_never_more_waits_than_may() -> None:
    box = outbox(100)
    for number in range(1000):
        box.put(b"x" * (number % 50), is_passing=number % 3 == 0)
        assert box._size == sum(map(len, box._waiting)) <= 100


def test_one_message_that_is_too_large_by_itself_is_lost() -> None:
    box = outbox(10)
    box.put(b"x" * 11)
    assert all_of(box) == b"lost 1\n"


def test_nothing_remains_for_the_peer_that_comes_next() -> None:
    box = outbox(10)
    for _ in range(3):
        box.put(b"secret\n")
    box.next_bytes()
    box.forget()
    assert box.next_bytes() == b""
