"""Fetching into staging: every server, every cut, every refusal; and what the record says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.boot import download
from bootsvc.boot.connection import Patience
from bootsvc.boot.download import Fetched, fetch_into_staging, read_offer
from bootsvc.boot.http_file import HttpFile
from bootsvc.boot.sources import open_source
from bootsvc.boot.watch import Watch
from bootsvc.errors import (
    AlteredImageError,
    BelowFloorError,
    BootsvcError,
    ConnectionLostError,
    FailedBeforeError,
    ImageTooLargeError,
    IncompleteImageError,
    NoImageError,
    SequenceError,
    ServerError,
    SignatureError,
    SizeMismatchError,
    WrongMachineError,
)
from bootsvc.formats.boot_status import AreaState, Phase, Request
from bootsvc.formats.url import is_url, parse_url
from bootsvc.sequence.checks import Site
from bootsvc.sequence.staging import UpdateRequest
from bootsvc.storage.device import Device, DirectDevice
from bootsvc.storage.disk import disk_on
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import BLOCK_SIZE
from qemu_lab.image_server import Faults, ImageServer
from tests.bench import AREA_SIZE, V1, V2, V3, Bench
from tests.boot.watching import BrokenOffError, Watching
from tests.images import COMPATIBLE, KEY, OTHER_KEY, Image, make_image, random_blocks, with_manifest

SITE = Site((KEY.public(),), COMPATIBLE)
SOON = Patience(connect_s=2.0, silence_s=2.0, tries=3, longest_pause_s=0.02)
AT_ONCE = replace(SOON, silence_s=0.3)
"""For servers that are going to be silent."""
REQUEST = UpdateRequest(bytes(range(16)))
FRESH = make_image(random_blocks(40, seed=77), number=5)
"""An image of which this machine holds nothing."""


class Fetching:
    """A bench, a server, and a fetch from it."""

    def __init__(self, folder: Path, server: ImageServer) -> None:
        self.bench = Bench(folder / "disk.img")
        self.server = server
        self.watch = Watching()
        self.patience = SOON

    @contextmanager
    def opened(self, source: str, largest: int, watch: Watch) -> Iterator[Device]:
        """``open_source`` with less patience."""
        if is_url(source):
            with HttpFile(parse_url(source), largest, watch, self.patience) as file:
                yield file
        else:
            with open_source(source, largest, watch) as device:
                yield device

    def __call__(
        self,
        source: str,
        *,
        is_lost: bool = False,
        request: UpdateRequest | None = REQUEST,
    ) -> Fetched:
        with DirectDevice(self.bench.path, writable=True) as device:
            known = None if is_lost else self.bench.status
            return fetch_into_staging(
                source, disk_on(device), known, SITE, self.watch, request, opened=self.opened
            )

    def fresh(self, request: UpdateRequest | None = REQUEST) -> Fetched:
        return self(self.server.url("fresh"), request=request)

    def holds(self, image: Image) -> bool:
        return self.bench.content("staging") == image.in_area(AREA_SIZE)


@pytest.fixture
def fetch(tmp_path: Path) -> Iterator[Fetching]:
    files: dict[str, bytes | Path] = {"fresh": FRESH.as_file(), "v3": V3.as_file()}
    with ImageServer(files) as server:
        yield Fetching(tmp_path, server)


def test_an_image_is_fetched_verified_read_back_and_asked_for(fetch: Fetching) -> None:
    fetched = fetch.fresh()
    status = fetch.bench.status
    assert fetch.holds(FRESH)
    assert (status.request, status.transaction) == (Request.UPDATE, REQUEST.transaction)
    assert (status.staging.state, status.staging.identity) == (AreaState.VALID, FRESH.identity)
    assert (fetched.footer.identity, fetched.copied) == (FRESH.identity, 0)
    assert fetched.counts.written == len(FRESH.as_file())
    assert [work for work, _ in fetch.watch.works] == [
        "read digests", "write staging", "read staging back",
    ]  # fmt: skip
    assert "number 5 (5.0) stands in staging, read back in full: fetched" in fetched.summary


def test_no_byte_is_fetched_twice(fetch: Fetching) -> None:
    fetched = fetch.fresh()
    beginning = BLOCK_SIZE  # which the file's size came with
    assert fetch.server.sent <= len(FRESH.as_file()) + beginning + len(FRESH.manifest_bytes)
    assert fetched.fetched == len(FRESH.content) + len(FRESH.tree)


def test_what_the_machine_has_already_is_not_fetched(fetch: Fetching) -> None:
    fetched = fetch(fetch.server.url("v3"))
    assert fetch.holds(V3)
    # V3 differs from V2, in primary, in the blocks 0 and 9; V1, in backup, has neither.
    assert fetched.fetched == 2 * BLOCK_SIZE + len(V3.tree)
    assert fetched.copied == len(V3.content) - 2 * BLOCK_SIZE


def test_without_a_request_the_image_is_kept_and_nothing_asked(fetch: Fetching) -> None:
    fetch.fresh(request=None)
    assert fetch.holds(FRESH)
    assert fetch.bench.status.request is Request.NONE
    assert fetch.bench.status.staging.state is AreaState.VALID


def test_with_a_lost_record_staging_is_filled_and_nothing_recorded(fetch: Fetching) -> None:
    lost = bytes(COPY_OFFSETS[-1] + BLOCK_SIZE)
    fetch.bench.write(fetch.bench.place("status")[0], lost)
    fetch(fetch.server.url("fresh"), is_lost=True)
    assert fetch.holds(FRESH)
    assert fetch.bench.content("status") == lost


@pytest.mark.parametrize(
    "faults",
    [
        Faults(no_ranges=True),
        Faults(break_after=30_000),
        Faults(hang_up=True),
        Faults(stall_after=60_000, times=2),
        Faults(rate=2_000_000),
        Faults(status=502, times=2),
    ],
    ids=lambda faults: str(hash(faults) % 10_000),
)
def test_a_bad_server_is_no_reason_not_to_install(fetch: Fetching, faults: Faults) -> None:
    fetch.server.faults = faults
    fetch.patience = SOON if faults.stall_after is None else AT_ONCE
    fetch.fresh()
    assert fetch.holds(FRESH)
    assert fetch.bench.status.request is Request.UPDATE


def test_bytes_that_were_changed_on_the_way_are_fetched_again(fetch: Fetching) -> None:
    fetch.server.faults = Faults(other_bytes=(range(20_000, 20_001),), times=2)
    fetch.fresh()
    assert fetch.holds(FRESH)
    assert "block 4 (byte 16384) differs from its digest; read again" in fetch.watch.said[0]


ENDS_IN = {
    "other bytes": (Faults(other_bytes=(range(90_000, 90_010),)), AlteredImageError, "block 21 "),
    "half a file": (Faults(half=True), NoImageError, "not an image file"),
    "a longer file": (Faults(claims=4096), ConnectionLostError, "hung up; given up"),
    "silence": (Faults(stall_after=0), ConnectionLostError, "nothing came"),
    "circles": (Faults(redirect="/{path}"), ServerError, "redirected more than"),
}


@pytest.mark.parametrize("kind", ENDS_IN)
def test_a_server_of_no_use_is_named_and_nothing_is_asked_of_the_machine(
    fetch: Fetching, kind: str
) -> None:
    faults, error, words = ENDS_IN[kind]
    fetch.server.faults = faults
    fetch.patience = SOON if faults.stall_after is None else AT_ONCE
    with pytest.raises(error, match=words) as caught:
        fetch.fresh()
    assert caught.value.hint
    assert fetch.bench.status.request is Request.NONE
    assert fetch.bench.content("primary") == V2.in_area(AREA_SIZE)
    assert fetch.bench.content("backup") == V1.in_area(AREA_SIZE)


def test_an_image_that_was_cut_off_says_so_before_anything_is_written(fetch: Fetching) -> None:
    before = fetch.bench.digest()
    fetch.server.files = {
        "cut": FRESH.as_file()[:-BLOCK_SIZE],
        "odd": FRESH.as_file()[:-1],
        "shifted": FRESH.as_file()[BLOCK_SIZE:],
        "altered-tree": _altered(len(FRESH.content) + 40),
        "altered-manifest": _altered(len(FRESH.content) + len(FRESH.tree) + 200),
    }
    for name, error in (
        ("cut", NoImageError),
        ("odd", IncompleteImageError),
        ("shifted", SizeMismatchError),
        ("altered-tree", AlteredImageError),
        ("altered-manifest", BootsvcError),
    ):
        with pytest.raises(error):
            fetch(fetch.server.url(name))
    assert fetch.bench.digest() == before


def _altered(at: int) -> bytes:
    data = bytearray(FRESH.as_file())
    data[at] ^= 1
    return bytes(data)


REFUSED: dict[str, tuple[Callable[[], Image], type[BootsvcError]]] = {
    "stranger": (lambda: make_image(FRESH.content, number=5, key=OTHER_KEY), SignatureError),
    "too large": (
        lambda: make_image(random_blocks(AREA_SIZE // BLOCK_SIZE, seed=9), number=5),
        ImageTooLargeError,
    ),
    "other machine": (
        lambda: make_image(FRESH.content, number=5, compatible="other"),
        WrongMachineError,
    ),
    "old": (lambda: with_manifest(FRESH, number=0), BelowFloorError),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_may_not_be_installed_is_refused_by_its_footer_alone(
    fetch: Fetching, kind: str
) -> None:
    make, error = REFUSED[kind]
    image = make()
    fetch.server.files = {"x": image.as_file()}
    before = fetch.bench.digest()
    with pytest.raises(error):
        fetch(fetch.server.url("x"))
    assert fetch.bench.digest() == before
    assert fetch.server.sent <= 6 * BLOCK_SIZE


def test_an_image_that_failed_here_is_fetched_only_again_on_purpose(fetch: Fetching) -> None:
    fetch.bench.change(lambda status: replace(status, failed=(FRESH.identity,)))
    before = fetch.bench.digest()
    with pytest.raises(FailedBeforeError):
        fetch.fresh()
    assert fetch.bench.digest() == before
    fetch.fresh(request=replace(REQUEST, again=True))
    assert fetch.bench.status.request is Request.UPDATE


def test_an_unfinished_update_is_not_disturbed(fetch: Fetching) -> None:
    fetch.bench.on_trial(bytes(16))
    with pytest.raises(SequenceError, match="unfinished"):
        fetch.fresh()
    assert fetch.server.asked == []


def test_the_record_of_another_disk_is_never_written(fetch: Fetching) -> None:
    fetch.bench.change(lambda status: replace(status, layout_hash=bytes(32)))
    before = fetch.bench.digest()
    with pytest.raises(SequenceError, match="another disk"):
        fetch.fresh()
    assert fetch.bench.digest() == before


def test_a_fetch_goes_on_wherever_it_was_broken_off(
    fetch: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "FETCHED_CHUNK", 2 * BLOCK_SIZE)
    standing, broken_off, is_done = 0, 0, False
    while not is_done:
        fetch.watch = Watching(breaks_off_after=8)
        fetch.server.asked.clear()
        try:
            fetch.fresh()
            is_done = True
        except BrokenOffError:
            broken_off += 1
            fetch.watch.breaks_off_after = None
            assert fetch.bench.status.request is Request.NONE
            assert (fetch.bench.status.phase, fetch.bench.status.staging.state) == (
                Phase.IDLE,
                AreaState.WRITING,
            )
        content = [one.first for one in fetch.server.asked if 0 < one.first < len(FRESH.content)]
        assert all(first >= standing for first in content)
        standing = _standing(fetch)
        # Comparing what stands there is progress, too: it costs more and more of the eight steps.
        if broken_off > 3:
            break
    assert standing > 0
    fetch.watch = Watching()
    fetch.fresh()
    assert fetch.holds(FRESH)
    assert fetch.bench.status.request is Request.UPDATE


def _standing(fetch: Fetching) -> int:
    """Bytes of the image that stand in staging, from its beginning on."""
    found = fetch.bench.content("staging")
    at = 0
    while (
        at < len(FRESH.content)
        and found[at : at + BLOCK_SIZE] == FRESH.content[at : at + BLOCK_SIZE]
    ):
        at += BLOCK_SIZE
    return at


def test_a_finished_part_is_not_fetched_again(fetch: Fetching) -> None:
    offset, _ = fetch.bench.place("staging")
    fetch.bench.write(offset, FRESH.content[: 30 * BLOCK_SIZE])
    fetched = fetch.fresh()
    assert fetched.fetched == 10 * BLOCK_SIZE + len(FRESH.tree)
    assert fetched.counts.skipped == 30 * BLOCK_SIZE


def test_a_file_on_a_disk_is_a_source_like_any_other(fetch: Fetching, tmp_path: Path) -> None:
    path = tmp_path / "stick.bimg"
    path.write_bytes(FRESH.as_file())
    fetch(str(path))
    assert fetch.holds(FRESH)


def test_the_offer_of_a_server_is_read_for_little(fetch: Fetching) -> None:
    with DirectDevice(fetch.bench.path, writable=False) as device:
        footer = read_offer(fetch.server.url("fresh"), disk_on(device), fetch.watch, fetch.opened)
    assert footer.identity == FRESH.identity
    assert fetch.server.sent <= 4 * BLOCK_SIZE
