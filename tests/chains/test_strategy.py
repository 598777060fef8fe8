"""The strategy: each row of its table, and properties over random histories and random nonsense."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.chains.check_chain import Fault, HeldFile, Version, Versions, check_pairs, pairs
from bootsvc.chains.strategy import Client, Cost, Decision, Reason, Server, Strategy, decide
from bootsvc.formats.check_information import CheckInformation, information_of

LINEAGE = "0f5f3c63-4a53-4b3a-9c0f-2b6d3c1d0001"
MARK = b"\xee" * 32


def identity(number: int) -> bytes:
    return bytes([number]) * 32


def information(number: int) -> bytes:
    return information_of(number, LINEAGE, f"v{number}.qcow2")


def version(number: int, parent: int | None = None) -> Version:
    below = parent if parent is not None else number - 1
    return Version(
        identity(number), identity(below) if below else None, number, information(number)
    )


def line(count: int) -> tuple[Version, ...]:
    return tuple(version(number) for number in range(1, count + 1))


def files(count: int) -> tuple[HeldFile, ...]:
    return tuple(
        HeldFile(
            identity(number),
            CheckInformation(
                information(number),
                information(number - 1) if number > 1 else None,
                identity(number),
                information(number + 1) if number < count else MARK,
                is_last=number == count,
            ),
        )
        for number in range(1, count + 1)
    )


def cost(strategy: Strategy, path: tuple[bytes, ...]) -> Cost:
    whole = {Strategy.FULL: 1000}.get(strategy, 1000)
    return Cost(10 * len(path) if path else whole, whole)


def decided(server: Server, client: Client) -> Decision:
    return decide(server, client, cost)


FIVE = line(5)


@dataclass(frozen=True)
class Row:
    server: Server
    client: Client
    strategy: Strategy
    words: str
    moves: int | None
    to_fetch: int
    is_back: bool = False


def at(number: int, held: tuple[Version, ...] = (), **more: object) -> Client:
    return Client(identity(number), held or line(number), **more)  # type: ignore[arg-type]


def goal(number: int, versions: tuple[Version, ...] = FIVE) -> Server:
    return Server(versions, identity(number))


OTHER_2 = replace(version(2), identity=identity(0x22))
CYCLE = (version(4, 5), version(5, 4))
WRONG = replace(files(3)[1].information, parent=b"\x77" * 32)  # type: ignore[type-var]
SWAPPED = replace(files(3)[2].information, own=b"\x66" * 32)  # type: ignore[type-var]

ROWS = {
    "same version": Row(goal(5), at(5), Strategy.STOP, "same version", 0, 0),
    "same version, files agree": Row(
        goal(3), at(3, files=files(3)), Strategy.STOP, "same version", 0, 0
    ),
    "one move": Row(goal(5), at(4), Strategy.INCREMENTAL, "one move", 1, 10),
    "four moves": Row(goal(5), at(1, files=files(1)), Strategy.FULL, "4 moves", 4, 40),
    "behind, held": Row(
        goal(2), at(5), Strategy.ROLLBACK, "behind in the local chain", 3, 0, is_back=True
    ),
    "behind, the server forgot the rest": Row(
        goal(2, line(2)), at(5), Strategy.ROLLBACK, "behind in the local chain", 3, 0, is_back=True
    ),
    "behind, not held": Row(
        goal(2),
        at(5, (version(5),)),
        Strategy.FULL,
        "an earlier version, which is not held here",
        3,
        30,
        is_back=True,
    ),
    "nothing here": Row(goal(5), Client(None), Strategy.FULL, "no version here", None, 1000),
    "foreign": Row(goal(5), at(9, (version(9),)), Strategy.FULL, "foreign chain", None, 1000),
    "foreign, unknown number": Row(
        goal(5), Client(b"?" * 32), Strategy.FULL, "foreign chain", None, 1000
    ),
    "same number, other content": Row(
        goal(5),
        Client(OTHER_2.identity, (version(1), OTHER_2)),
        Strategy.FULL,
        "same number, other content: number 2",
        None,
        1000,
    ),
    "hole on the server": Row(
        goal(5, (version(5), version(4), version(2), version(1))),
        at(1),
        Strategy.FULL,
        "broken chain: the server's chain has a hole below number 4",
        None,
        1000,
    ),
    "the goal is missing on the server": Row(
        goal(5, line(4)),
        at(3),
        Strategy.FULL,
        "broken chain: the server's chain has a hole: no such version",
        None,
        1000,
    ),
    "cycle on the server": Row(
        goal(5, CYCLE),
        at(1),
        Strategy.FULL,
        "broken chain: the server's chain has a cycle below number 4",
        None,
        1000,
    ),
    "a cycle behind the client's place harms nothing": Row(
        goal(5, CYCLE), at(4, (version(4),)), Strategy.INCREMENTAL, "one move", 1, 10
    ),
    "wrong parent in the local files": Row(
        goal(4),
        at(3, files=(files(3)[0], HeldFile(identity(2), WRONG), files(3)[2])),
        Strategy.FULL,
        "broken chain: wrong parent at file 2 of 3",
        1,
        10,
    ),
    "a file's identity is another's": Row(
        goal(4),
        at(3, files=(*files(3)[:2], replace(files(3)[2], identity=identity(7)))),
        Strategy.FULL,
        "broken chain: other check information at file 3 of 3",
        1,
        10,
    ),
    "a file says that it is another": Row(
        goal(3),
        at(3, files=(*files(3)[:2], HeldFile(identity(3), SWAPPED))),
        Strategy.FULL,
        "same version, other check information: file 3 of 3, number 3, says another",
        0,
        1000,
    ),
    "a hole was found on the disk": Row(
        goal(4), at(3, fault=Fault.HOLE), Strategy.FULL, "broken chain: hole", 1, 10
    ),
    "the current version has no file": Row(
        goal(4),
        at(3, files=files(2)),
        Strategy.FULL,
        "broken chain: hole: the current version has no file",
        1,
        10,
    ),
    "no rollback into broken files": Row(
        goal(1), at(3, fault=Fault.CYCLE), Strategy.FULL, "broken chain: cycle", 2, 20, is_back=True
    ),
    "files that say nothing break nothing": Row(
        goal(4),
        at(3, files=tuple(replace(one, information=None) for one in files(3))),
        Strategy.INCREMENTAL,
        "one move",
        1,
        10,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_strategy_moves_reason_and_bytes(name: str) -> None:
    row = ROWS[name]
    decision = decided(row.server, row.client)
    assert (decision.strategy, decision.words(), decision.moves) == (
        row.strategy,
        row.words,
        row.moves,
    )
    assert (decision.cost.to_fetch, decision.is_back) == (row.to_fetch, row.is_back)
    assert decision.cost.whole == 1000
    if decision.path:
        assert decision.path[-1] == row.server.goal
        assert len(decision.path) == decision.moves


def test_the_check_chain_has_a_pair_for_each_file_and_none_after_the_last() -> None:
    assert pairs(files(3)) == (
        (information(1), information(2)),
        (information(2), information(3)),
        (information(3), None),
    )
    assert pairs([HeldFile(None, None)]) == (None,)


def test_another_end_mark_changes_no_decision() -> None:
    top = files(3)[2]
    assert top.information
    other = replace(top, information=replace(top.information, next=b"\x11" * 32))
    for number in range(1, 6):
        one = decided(goal(number), at(3, files=files(3)))
        assert one == decided(goal(number), at(3, files=(*files(3)[:2], other)))


def test_a_base_that_claims_a_parent_is_the_rest_of_a_broken_chain() -> None:
    assert check_pairs(files(3)[1:]) == (0, Fault.WRONG_PARENT)
    assert check_pairs(files(3)) is None


def test_a_version_given_twice_with_two_parents_is_not_walked_through() -> None:
    twice = Versions([version(1), version(2), version(3), version(3, 1)])
    assert twice.walk(identity(3)).fault is Fault.STANDS_TWICE
    assert twice.moves(identity(3), identity(1)) is None
    assert twice.moves(identity(3), identity(3)) == ()


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_over_any_tree_of_versions_moves_are_the_distance(seed: int, count: int) -> None:
    """The tree's own depths are the judge: no walk of the product's is used."""
    dice = random.Random(seed)
    parents: dict[int, int | None] = {1: None}
    for number in range(2, count + 1):
        parents[number] = dice.randint(1, number - 1)
    versions = [
        version(n, p) if p else replace(version(n), parent=None) for n, p in parents.items()
    ]
    dice.shuffle(versions)
    here, there = dice.randint(1, count), dice.randint(1, count)
    held = [one for one in versions if one.number == here or dice.random() < 0.5]
    decision = decided(
        Server(tuple(versions), identity(there)), Client(identity(here), tuple(held))
    )

    def above(low: int, high: int) -> list[int] | None:
        way: list[int] = []
        at: int | None = high
        while at is not None and at != low:
            way.append(at)
            at = parents[at]
        return way if at is not None else None

    up, down = above(here, there), above(there, here)
    if up is not None:
        expected = [Strategy.STOP, Strategy.INCREMENTAL][len(up)] if len(up) < 2 else Strategy.FULL
        assert (decision.strategy, decision.moves, decision.is_back) == (expected, len(up), False)
        assert decision.path == tuple(identity(n) for n in reversed(up))
    elif down is not None:
        is_held = there in {one.number for one in held}
        assert decision.strategy is (Strategy.ROLLBACK if is_held else Strategy.FULL)
        assert (decision.moves, decision.is_back) == (len(down), True)
        assert decision.path == (*(identity(n) for n in down[1:]), identity(there))
    else:
        assert (decision.strategy, decision.moves) == (Strategy.FULL, None)
        assert decision.reason is Reason.FOREIGN_CHAIN
    assert (decision.cost.to_fetch == 0) == (
        decision.strategy in (Strategy.STOP, Strategy.ROLLBACK)
    )


few = st.integers(1, 4).map(identity)
nonsense = st.lists(
    st.builds(Version, few, st.none() | few, st.integers(1, 4), st.none() | few), max_size=7
).map(tuple)
some_files = st.lists(
    st.builds(
        HeldFile,
        st.none() | few,
        st.none() | st.builds(CheckInformation, few, st.none() | few, few, few, st.booleans()),
    ),
    max_size=4,
).map(tuple)


@settings(deadline=None, max_examples=400)
@given(nonsense, few, st.none() | few, nonsense, some_files, st.none() | st.sampled_from(Fault))
def test_any_input_ends_in_a_decision_with_a_reason(
    versions: tuple[Version, ...],
    target: bytes,
    current: bytes | None,
    held: tuple[Version, ...],
    local: tuple[HeldFile, ...],
    fault: Fault | None,
) -> None:
    """Cycles, holes, doubles: decided, and local work is never built on what is in doubt."""
    decision = decided(Server(versions, target), Client(current, held, local, fault))
    assert decision.words()
    if decision.strategy is not Strategy.FULL:
        assert current is not None
        assert fault is None
        assert check_pairs(local) is None
        assert not local or current in {one.identity for one in local}
    if decision.strategy is Strategy.STOP:
        assert current == target
    if decision.strategy is Strategy.ROLLBACK:
        assert target in {one.identity for one in held}
    if decision.path:
        assert decision.path[-1] == target
        assert len(set(decision.path)) == len(decision.path)
