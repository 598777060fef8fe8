"""A store's documents come from a process of their own, which is there while it is needed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator

import pytest

from bootsvc.errors import BootsvcError, FreshnessError, NotPublishedError, ToolError
from bootsvc.transfer.fresh_documents import FreshDocuments
from bootsvc.transfer.throttle import Throttle


class Shelf:
    """Documents of which each costs ten bytes, as a server would count them."""

    def __init__(self, throttle: Throttle) -> None:
        self.throttle = throttle

    def target(self, name: str, largest: int) -> bytes:
        """Whatever its name asks for."""
        self.throttle.took(10)
        if name == "none":
            raise NotPublishedError("none: not there", hint="ask for another")
        if name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "slow":
            time.sleep(3600)
        return f"{name} {largest} {os.getpid()}".encode()


@pytest.fixture
def throttle() -> Throttle:
    return Throttle(0)


@pytest.fixture
def documents(throttle: Throttle) -> Iterator[FreshDocuments]:
    with FreshDocuments(lambda: Shelf(throttle), throttle) as documents:
        yield documents
    assert multiprocessing.active_children() == []


def test_a_document_is_verified_in_a_child_and_given_here(documents: FreshDocuments) -> None:
    name, largest, process = documents.target("catalogue", 7).split()
    assert (name, largest) == (b"catalogue", b"7")
    assert int(process) != os.getpid()
    assert documents.target("another", 7).endswith(process)


def test_what_the_child_fetched_is_counted_here(
    documents: FreshDocuments, throttle: Throttle
) -> None:
    for name in ("one", "two", "three"):
        documents.target(name, 7)
    assert throttle.total == 30


def test_an_error_arrives_with_its_hint(documents: FreshDocuments) -> None:
    with pytest.raises(NotPublishedError, match="not there") as told:
        documents.target("none", 7)
    assert told.value.hint == "ask for another"


def test_after_a_rest_the_next_question_is_answered_as_well(documents: FreshDocuments) -> None:
    first = documents.target("one", 7)
    documents.rest()
    assert multiprocessing.active_children() == []
    assert documents.target("one", 7) != first


def test_a_child_that_dies_is_told_and_not_waited_for(documents: FreshDocuments) -> None:
    with pytest.raises(ToolError, match="ended before it answered"):
        documents.target("killed", 7)
    assert documents.target("one", 7)


def test_a_child_that_died_between_two_questions_is_told_as_well(documents: FreshDocuments) -> None:
    process = int(documents.target("one", 7).split()[-1])
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ToolError, match="ended before it answered"):
        documents.target("another", 7)
    assert documents.target("one", 7)


def test_whoever_breaks_it_off_does_not_wait_for_its_server(documents: FreshDocuments) -> None:
    documents.target("one", 7)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            documents.target("slow", 7)
    finally:
        signal.signal(signal.SIGALRM, before)
    documents.rest()


@pytest.mark.parametrize("kind", FreshnessError.__subclasses__(), ids=lambda one: one.__name__)
def test_every_reason_for_distrust_survives_the_way_between_processes(
    kind: type[BootsvcError], throttle: Throttle
) -> None:
    class Refusing:
        def target(self, name: str, largest: int) -> bytes:
            raise kind(f"{name} {largest}", hint="next step")

    with (
        FreshDocuments(Refusing, throttle) as documents,
        pytest.raises(kind, match="a 7") as told,
    ):
        documents.target("a", 7)
    assert told.value.hint == "next step"
