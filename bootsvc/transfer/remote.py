"""Where the objects of an image store are read from: a web server, or a folder of this machine.

Nothing that comes from a remote is believed: who asks knows the digest of what must come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TypeVar

from bootsvc.boot.connection import Patience
from bootsvc.boot.http_file import HttpFile
from bootsvc.boot.watch import Watch
from bootsvc.errors import (
    BootsvcError,
    FormatError,
    NoNetworkError,
    NotOnServerError,
    RottenHereError,
    ServerError,
    StoreDamagedError,
)
from bootsvc.formats.url import parse_url
from bootsvc.storage.image_area import CopyCounts
from bootsvc.transfer.spool import Spool
from bootsvc.units import BLOCK_SIZE

LARGEST_OBJECT = 1 << 45
"""Packs may be this large; only parts of them are ever read at once."""

_TRIES = 2
"""How often one remote is asked for the same bytes."""

_Answer = TypeVar("_Answer")


class Remote(Protocol):
    """Objects by name. Every local or S3 object store (``store.objects``) is one, too."""

    name: str

    def read(self, key: str, largest: int) -> bytes:
        """All of an object. Raises BootsvcError: there is none, or it has more than ``largest``."""
        ...

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes of an object, from ``offset``. Raises BootsvcError."""
        ...


class StoppedError(Exception):
    """A thread that reads was told to stop; whoever told it knows why."""


class HttpRemote:
    """Objects below an address of a web server; threads may read from it at the same time. To be
    closed by whoever made it, when no thread reads any more.

    Attributes:
        name: the address.
    """

    def __init__(
        self,
        address: str,
        watch: Watch,
        on_bytes: Callable[[int], None],
        patience: Patience | None = None,
        *,
        spool: Spool | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            address: of the store, ``http://host/path``.
            watch: hears of waits and of what is tried again, from any thread.
            on_bytes: told the bytes of each piece as it arrives; may hold them up.
            spool: keeps ranges as they arrive; what it has of them is not asked for.
            stop: while it is set, whatever thread reads or waits raises StoppedError.

        Raises:
            AddressError: ``address`` is none.
        """
        self.name = str(parse_url(address)).rstrip("/")
        self._watch = _Quiet(watch, stop or threading.Event())
        self._spool = spool or Spool()
        self._on_bytes = on_bytes
        self._patience = patience
        self._of_thread = threading.local()
        self._open: list[HttpFile] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, key: str, largest: int) -> bytes:
        """See ``Remote``. Raises NetworkError, ImageTooLargeError."""
        with self._file(key, largest) as file:
            return file.read_at(0, file.size)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """See ``Remote``. Raises NetworkError."""
        with self._spool.range(self.name, key, offset, length) as here:
            got = len(here.data)
            if got == length:
                return here.data
            return here.data + self._fetched(key, offset + got, length - got, here.append)

    def _fetched(
        self, key: str, offset: int, length: int, on_piece: Callable[[bytes], None]
    ) -> bytes:
        last: tuple[str, HttpFile] | None = getattr(self._of_thread, "last", None)
        if last is None or last[0] != key:
            if last is not None:
                last[1].close()
            wanted = range(offset, offset + length)
            last = self._of_thread.last = (key, self._file(key, LARGEST_OBJECT, wanted))
            self._open.append(last[1])
        file = last[1]
        if offset + length > file.size:
            raise ServerError(
                f"{file.name}: {file.size} bytes, at least {offset + length} were published",
                hint="is the store complete? bootsvc store fsck",
            )
        return file.read_at(offset, length, on_piece)

    def close(self) -> None:
        """Hang up, in every thread."""
        for file in self._open:
            file.close()
        self._open.clear()
        self._of_thread = threading.local()

    def _file(self, key: str, largest: int, part: range | None = None) -> HttpFile:
        return HttpFile(
            parse_url(f"{self.name}/{key}"),
            largest,
            self._watch,
            self._patience,
            ahead=0,
            needs_ranges=part is not None,
            first=part or range(BLOCK_SIZE),
            on_bytes=self._on_bytes,
        )


class _Quiet:
    """Passes on what is said, and none of the work: of several readers at once nobody wants the
    progress of each. Raises StoppedError once they are to stop."""

    def __init__(self, watch: Watch, stop: threading.Event) -> None:
        self._watch = watch
        self._stop = stop

    def say(self, text: str) -> None:
        self._watch.say(text)

    def begin(self, work: str, total: int) -> None:
        pass

    def tick(self, _: int) -> None:
        if self._stop.is_set():
            raise StoppedError
        self._watch.tick(0)

    def end(self, counts: CopyCounts | None = None) -> None:
        pass

    def wait(self, _what: str, _limit_s: float | None, _then: str) -> Callable[[], None]:
        return lambda: self.tick(0)


@dataclass
class Tally:
    """What came of one remote: times it sent other bytes than were published, times it failed."""

    bad: int = 0
    failed: int = 0


class Remotes:
    """Several remotes of one store; what one does not give rightly, the next one is asked for.

    Attributes:
        tallies: by the remote's name.
        spool: keeps what arrives, as far as its remotes do.
        stop: set while its remotes are to stop reading.
    """

    def __init__(
        self,
        remotes: Sequence[Remote],
        spool: Spool | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """At least one; the first is asked first, as long as none did worse.

        Args:
            spool, stop: those of ``remotes``.
        """
        self._remotes = tuple(remotes)
        self.spool = spool or Spool()
        self.stop = stop or threading.Event()
        self._lock = threading.Lock()
        self.tallies = {remote.name: Tally() for remote in remotes}

    def right(self, ask: Callable[[Remote], _Answer]) -> _Answer:
        """The first answer that is right; ``ask`` raises FormatError where the bytes are wrong.

        Raises:
            StoreDamagedError: the last remote gave wrong bytes, and no other gave right ones.
            NetworkError, StoreError: the last remote failed, and so did all others.
            RottenHereError: as ``ask``; no remote is asked again then.
        """
        problem: BootsvcError | None = None
        for remote in self._in_order():
            for _ in range(_TRIES):
                resumed = self.spool.resumed_here
                try:
                    return ask(remote)
                except RottenHereError:
                    raise  # no remote's fault
                except FormatError as exc:  # damage on the way goes by, damage at the source stays
                    self.spool.distrust(remote.name)
                    problem = StoreDamagedError(
                        f"{remote.name}: {exc}",
                        hint="nothing of it was written; is the store whole? bootsvc store fsck",
                    )
                    # What lay here meanwhile may have rotted here.
                    if self.spool.resumed_here == resumed:
                        self._count(remote, is_bad=True)
                except NotOnServerError as exc:  # which is an answer, and may be the right one
                    problem = exc
                    break
                except BootsvcError as exc:
                    problem = exc
                    self._count(remote, is_bad=False)
                    break
        if problem is None:
            raise NoNetworkError("there is nobody to ask for blocks", hint="name a store")
        raise problem

    def _in_order(self) -> list[Remote]:
        with self._lock:
            return sorted(
                self._remotes, key=lambda one: (self.tallies[one.name].bad, self._failed(one))
            )

    def _failed(self, remote: Remote) -> int:
        return self.tallies[remote.name].failed

    def _count(self, remote: Remote, *, is_bad: bool) -> None:
        with self._lock:
            tally = self.tallies[remote.name]
            tally.bad += is_bad
            tally.failed += not is_bad
