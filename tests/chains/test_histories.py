"""Random histories: any start, any strategy, and the guest sees the published version (S2.19)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.chains.chain_files import MANIFEST_SUFFIX, Chain, read_chain, repair_information
from bootsvc.chains.check_chain import Version
from bootsvc.chains.merge import MergeTo, is_due, merge
from bootsvc.chains.strategy import Client, Cost, Decision, Server, Strategy, decide
from bootsvc.chains.verify import is_content_of
from bootsvc.formats.manifest import parse_manifest
from tests.chains.folder import SIZE, Published, view

writes = st.lists(
    st.tuples(
        st.integers(0, SIZE // 512 - 1).map(lambda sector: sector * 512),
        st.integers(1, 200).map(lambda sectors: sectors * 512),
        st.integers(0, 255),
    ),
    max_size=5,
)
options = st.sampled_from([(), ("-o", "cluster_size=4096"), ("-o", "compat=0.10")])


class LocalClient:
    """A client that keeps qcow2 files: what the strategies do, done with files."""

    def __init__(self, folder: Path, server: Published) -> None:
        self.folder = folder
        self.server = server
        self.top: Path | None = None

    def copy(self, number: int) -> None:
        """Fetch one version's file and manifest."""
        path = self.server.path(number)
        for one in (path, path.with_name(path.name + MANIFEST_SUFFIX)):
            shutil.copy(one, self.folder)

    def starts_with(self, number: int) -> None:
        """Hold the chain up to a version."""
        for one in range(1, number + 1):
            self.copy(one)
        self.top = self.folder / self.server.path(number).name
        repair_information(read_chain(self.top))

    def chain(self) -> Chain | None:
        return read_chain(self.top) if self.top else None

    def facts(self) -> Client:
        """What the strategy is told."""
        chain = self.chain()
        if chain is None:
            return Client(None)
        fault = chain.troubles[0].fault if chain.troubles else None
        current = chain.files[-1].identity if chain.files else None
        return Client(current, chain.versions(), chain.held_files(), fault)

    def carry_out(self, decision: Decision, goal: int, limit: int) -> Path:
        """The file whose view is now the client's version."""
        target = self.folder / self.server.path(goal).name
        if decision.strategy is Strategy.INCREMENTAL:
            self.copy(goal)
        elif decision.strategy is Strategy.FULL:
            for number in range(1, goal + 1):
                self.copy(number)
        chain = read_chain(target)
        repair_information(chain)
        if is_due(len(chain.files), limit, MergeTo.BASE):
            return merge(read_chain(target), f"merged-{goal}.qcow2", to=MergeTo.BASE).path
        return target


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.tuples(writes, options), min_size=2, max_size=5),
    st.integers(0, 5),
    st.integers(0, 4),
    st.integers(1, 4),
    st.sampled_from(["", "hole", "foreign"]),
)
def test_from_any_start_by_any_strategy_the_guest_sees_the_published_version(
    history: list[tuple[list[tuple[int, int, int]], tuple[str, ...]]],
    start: int,
    target: int,
    limit: int,
    spoilt: str,
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / name for name in ("server", "client", "stranger")]
        for folder in folders:
            folder.mkdir()
        server = Published(folders[0])
        for one, how in history:
            server.publish(one, *how)
        count = len(history)
        start, goal = min(start, count), 1 + target % count
        client = LocalClient(folders[1], server)
        if start:
            client.starts_with(start)
        if spoilt == "hole" and start > 1:
            client.folder.joinpath("v1.qcow2").unlink()
        elif spoilt == "foreign" and start:
            other = Published(folders[2])
            other.publish([(0, 512, 0x77)])
            for path in other.folder.iterdir():
                shutil.copy(path, client.folder)
        versions = read_chain(server.path(count)).versions()
        decision = decide(
            Server(versions, server.identity(goal)),
            client.facts(),
            lambda _strategy, path: Cost(len(path), SIZE),
        )
        _judge(decision, start, goal, is_spoilt=bool(spoilt) and start > (spoilt == "hole"))
        result = client.carry_out(decision, goal, limit)
        assert view(result) == server.contents[goal - 1]
        manifest = parse_manifest(server.manifests[goal - 1])
        assert is_content_of(read_chain(result).disk, manifest, lambda *_: None)


def _judge(decision: Decision, start: int, goal: int, *, is_spoilt: bool) -> None:
    """The strategy, from the numbers alone."""
    if start == 0 or is_spoilt:
        assert decision.strategy is Strategy.FULL
        return
    expected = {0: Strategy.STOP, 1: Strategy.INCREMENTAL}.get(goal - start, Strategy.FULL)
    if goal < start:
        expected = Strategy.ROLLBACK
    assert (decision.strategy, decision.moves) == (expected, abs(goal - start))


def test_the_versions_of_a_folder_are_what_the_strategy_takes(three: Published) -> None:
    found = read_chain(three.path(3)).versions()
    assert [one.number for one in found] == [1, 2, 3]
    assert [one.parent for one in found] == [None, three.identity(1), three.identity(2)]
    assert all(isinstance(one, Version) and one.information for one in found)
