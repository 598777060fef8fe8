"""Chooses how a client comes to the server's version: stop, incremental, full, rollback. Pure.

    decide(Server(versions, goal), Client(current, held, files), cost) -> Decision

``Server.versions`` are all versions of the lineage that the server offers, in any order, and
``goal`` is the identity of the one assigned. ``Client.current`` is the identity of the version that
the client works with, proven by its manifest; ``held`` are the versions whose whole content is on
the client (current, backup, restore points); ``files`` is its local chain of qcow2 files, base
first, and empty where it keeps none. ``cost(strategy, path)`` tells the bytes of going through the
versions of ``path`` (identities, the goal last; empty where no path is known).

    what is found                                             strategy      moves
    current is the goal                                       stop          0
    the goal stands one link above current (S2.13)            incremental   1
    it stands n links above (S2.14)                           full          n
    it stands n links below current, and is held (F2.7)       rollback      n, back
    anything else: foreign, broken, the same number with
    other content, nothing here (S2.2, S2.16, S2.17)          full          unknown

Identity decides. What files say of themselves is only compared: where it contradicts the manifests,
the local files are not built upon, and the strategy is full. Any input gives a decision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from bootsvc.chains.check_chain import Fault, HeldFile, Version, Versions, check_pairs


class Strategy(Enum):
    """What the client does (S2.15)."""

    STOP = "stop"
    INCREMENTAL = "incremental"
    FULL = "full"
    ROLLBACK = "rollback"


class Reason(Enum):
    """Why; the value is the words for people, {n} the moves."""

    SAME_VERSION = "same version"
    ONE_MOVE = "one move"
    SEVERAL_MOVES = "{n} moves"
    BEHIND = "behind in the local chain"
    BEHIND_NOT_HELD = "an earlier version, which is not held here"
    NOTHING_HERE = "no version here"
    FOREIGN_CHAIN = "foreign chain"
    BROKEN_CHAIN = "broken chain"
    SAME_NUMBER = "same number, other content"
    OTHER_INFORMATION = "same version, other check information"


@dataclass(frozen=True)
class Server:
    """The server's versions of one lineage, and the identity of the one that is assigned."""

    versions: tuple[Version, ...]
    goal: bytes


@dataclass(frozen=True)
class Client:
    """What the client has: see the module's text. All of it may be empty.

    ``fault`` is what reading its files found already (``chain_files``), for example a hole.
    """

    current: bytes | None
    held: tuple[Version, ...] = ()
    files: tuple[HeldFile, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True)
class Cost:
    """Bytes that a strategy fetches, and bytes of the whole version for comparison (F2.6)."""

    to_fetch: int
    whole: int


@dataclass(frozen=True)
class Decision:
    """What is done, and why (S2.18).

    Attributes:
        strategy, reason: see there.
        detail: more words, for example which link is broken; may be empty.
        moves: links between the client's place and the goal; None where no way is known.
        is_back: the moves lead to an earlier version; they are counted apart (F2.7).
        path: identities to go through, the goal last; empty where no way is known.
        cost: bytes.
    """

    strategy: Strategy
    reason: Reason
    detail: str
    moves: int | None
    is_back: bool
    path: tuple[bytes, ...]
    cost: Cost

    def words(self) -> str:
        """The reason for people."""
        text = self.reason.value.format(n=self.moves)
        return f"{text}: {self.detail}" if self.detail else text


CostOf = Callable[[Strategy, tuple[bytes, ...]], Cost]


def decide(server: Server, client: Client, cost: CostOf) -> Decision:
    """The strategy for ``client``; see the module's table. Total: it raises nothing of its own."""
    chosen = _choose(server, client)
    bytes_of = cost(chosen.strategy, chosen.path or ())
    if chosen.strategy in (Strategy.STOP, Strategy.ROLLBACK):
        bytes_of = replace(bytes_of, to_fetch=0)  # what is needed is here (F2.7)
    return Decision(
        strategy=chosen.strategy,
        reason=chosen.reason,
        detail=chosen.detail,
        moves=None if chosen.path is None else len(chosen.path),
        is_back=chosen.is_back,
        path=chosen.path or (),
        cost=bytes_of,
    )


@dataclass(frozen=True)
class _Choice:
    strategy: Strategy
    reason: Reason
    path: tuple[bytes, ...] | None
    detail: str = ""
    is_back: bool = False


def _choose(server: Server, client: Client) -> _Choice:
    offered = Versions(server.versions)
    current, goal = client.current, server.goal
    if current is None:
        return _Choice(Strategy.FULL, Reason.NOTHING_HERE, None)
    path = () if current == goal else offered.moves(goal, current)
    back = None if path is not None else _way_back(offered, client, current, goal)
    way = back if path is None else path
    if way is None:
        return _without_way(offered, client, current, goal)
    distrust = _distrust(offered, client)
    if distrust is not None:
        reason, detail = distrust
        return _Choice(Strategy.FULL, reason, way, detail, is_back=path is None)
    return _backward(way, goal, client) if path is None else _forward(way)


def _forward(path: tuple[bytes, ...]) -> _Choice:
    if not path:
        return _Choice(Strategy.STOP, Reason.SAME_VERSION, ())
    if len(path) == 1:
        return _Choice(Strategy.INCREMENTAL, Reason.ONE_MOVE, path)
    return _Choice(Strategy.FULL, Reason.SEVERAL_MOVES, path)


def _distrust(offered: Versions, client: Client) -> tuple[Reason, str] | None:
    """Why the local files are not built upon."""
    if client.fault is not None:
        return Reason.BROKEN_CHAIN, client.fault.value
    fault = check_pairs(client.files)
    if fault is not None:
        index, kind = fault
        return Reason.BROKEN_CHAIN, f"{kind.value} at file {index + 1} of {len(client.files)}"
    for index, file in enumerate(client.files):
        version = offered.get(file.identity)
        if file.information is None or version is None or version.information is None:
            continue
        if file.information.own != version.information:
            where = f"file {index + 1} of {len(client.files)}"
            return Reason.OTHER_INFORMATION, f"{where}, number {version.number}, says another"
    if client.files and client.current not in {file.identity for file in client.files}:
        return Reason.BROKEN_CHAIN, f"{Fault.HOLE.value}: the current version has no file"
    return None


def _way_back(
    offered: Versions, client: Client, current: bytes, goal: bytes
) -> tuple[bytes, ...] | None:
    """Identities from just below ``current`` down to ``goal``, by either side's chain."""
    for known in (Versions(client.held), offered):
        up = known.moves(current, goal)
        if up is not None:
            return (*reversed(up[:-1]), goal)
    return None


def _backward(back: tuple[bytes, ...], goal: bytes, client: Client) -> _Choice:
    if goal in {one.identity for one in client.held}:
        return _Choice(Strategy.ROLLBACK, Reason.BEHIND, back, is_back=True)
    return _Choice(Strategy.FULL, Reason.BEHIND_NOT_HELD, back, is_back=True)


def _without_way(offered: Versions, client: Client, current: bytes, goal: bytes) -> _Choice:
    own = Versions(client.held).get(current) or offered.get(current)
    if own is not None:
        others = [one for one in offered.with_number(own.number) if one.identity != current]
        if others:
            return _Choice(Strategy.FULL, Reason.SAME_NUMBER, None, f"number {own.number}")
    walk = offered.walk(goal)
    if walk.fault is not None:
        below = f" below number {walk.path[-1].number}" if walk.path else ": no such version"
        detail = f"the server's chain has a {walk.fault.value}{below}"
        return _Choice(Strategy.FULL, Reason.BROKEN_CHAIN, None, detail)
    return _Choice(Strategy.FULL, Reason.FOREIGN_CHAIN, None)
