"""Whether what a server offers is what the publisher published last (The Update Framework).

A stolen mirror can neither put documents of its own in, nor replay old ones, nor mix those of two
states; it can hold a machine back only until the metadata runs out. The rules are python-tuf's
client; here are its files, which survive power cuts, its way to the server, and its words.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from bootsvc.errors import (
    DiskBusyError,
    ExpiredMetadataError,
    FreshnessError,
    MixedMetadataError,
    NotOnServerError,
    NotPublishedError,
    RollbackError,
    StorageError,
    UntrustedMetadataError,
)
from bootsvc.storage.files import flush_folder, replace_file
from bootsvc.transfer.layout import (
    LARGEST,
    LARGEST_TARGET,
    METADATA,
    ROOT,
    SIGNED_AT,
    SNAPSHOT,
    TARGETS,
    TARGETS_ROLE,
    TIMESTAMP,
    check_clock,
    words,
)

Fetch = Callable[[str, int], bytes]
"""Gives the file at a path relative to the store, which has at most so many bytes. Raises
NotOnServerError where the server has none, another NetworkError where it cannot be had."""

KEPT_DOCUMENTS = 16
"""Documents that stay in the folder, so that none is fetched twice after a cut."""

_ROOTS = "root_history"
_DOCUMENTS = "documents"
_STATE = (TIMESTAMP, SNAPSHOT, TARGETS_ROLE)

_CONFIG = UpdaterConfig(
    root_max_length=LARGEST[ROOT],
    timestamp_max_length=LARGEST[TIMESTAMP],
    snapshot_max_length=LARGEST[SNAPSHOT],
    targets_max_length=LARGEST[TARGETS_ROLE],
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MIRROR_HINT = "ask another server, and the publisher whether this one is theirs"


class Freshness:
    """What a machine knows of a store, and what the store offers now.

    One at a time works on a folder.
    """

    def __init__(
        self,
        folder: Path,
        root: bytes,
        fetch: Fetch,
        *,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Nothing is read or fetched yet.

        Args:
            folder: where the machine keeps what it has seen; it is made.
            root: the root metadata that the machine was given by its maker (``root.json``).
            fetch: the way to the server.
            say: told in one sentence what a person should know and need not act on.
            clock: the present time.
        """
        self._folder = folder
        self._root = root
        self._fetcher = _Fetcher(fetch)
        self._say = say
        self._clock = clock
        self._updater: Updater | None = None
        self._names: frozenset[str] = frozenset()

    def refresh(self) -> None:
        """Ask the server for its newest state and take it, if it is newer and whole.

        Raises:
            FreshnessError: it is not; each reason is a class of its own.
            NetworkError: the server cannot be reached, or has no such files.
            StorageError: ``folder`` cannot be read or written, or another program works on it.
        """
        check_clock(self._clock())
        self._updater = None
        with _storing(self._folder), self._locked(), _scratch_folder() as work:
            self._copy_in(work)
            try:
                updater = self._refreshed(work)
            finally:
                # Also after a failure: what was verified on the way guards against rollback.
                self._copy_out(work)
            self._check_clock_against(work)
            targets = Metadata[Targets].from_file(str(work / f"{TARGETS_ROLE}.json"))
        self._names = frozenset(targets.signed.targets)
        self._updater = updater

    def names(self) -> frozenset[str]:
        """The names of all documents that the store offers; refreshes if nobody did yet."""
        self._fresh()
        return self._names

    def target(self, name: str, largest: int = LARGEST_TARGET) -> bytes:
        """The document ``name`` as it was published last; refreshes if nobody did yet.

        Args:
            largest: bytes that it may have at most.

        Raises:
            NotPublishedError: the store offers none.
            MixedMetadataError: the server sends another content than was signed.
            Others: see ``refresh``.
        """
        info = self._fresh().get_targetinfo(name)
        if info is None:
            raise NotPublishedError(
                f"{name}: the store offers no such document", hint="is the name spelt right?"
            )
        digest = info.hashes.get("sha256", "")
        if info.length > largest or not _SHA256.fullmatch(digest):
            raise UntrustedMetadataError(
                f"{name}: signed with {info.length} bytes and the digest {digest[:64]!r}; at most"
                f" {largest} bytes with a SHA-256 are taken"
            )
        with _storing(self._folder):
            kept = self._folder / _DOCUMENTS / digest
            content = _kept_content(kept, info)
            if content is None:
                content = self._fetched(info)
                self._keep(kept, content)
        return content

    def _fresh(self) -> Updater:
        if self._updater is None:
            self.refresh()
        assert self._updater is not None  # noqa: S101  # refresh() raises otherwise
        return self._updater

    # --- python-tuf at work -------------------------------------------------------------------

    def _refreshed(self, work: Path) -> Updater:
        updater = self._with_given_root(work)
        try:
            updater.refresh()
        except tuf_errors.DownloadHTTPError as exc:
            raise exc.__cause__ or exc from None
        except tuf_errors.ExpiredMetadataError as exc:
            raise self._expired(work, str(exc)) from exc
        except tuf_errors.BadVersionNumberError as exc:
            raise self._wrong_version() from exc
        except (
            tuf_errors.LengthOrHashMismatchError,
            tuf_errors.DownloadLengthMismatchError,
        ) as exc:
            raise MixedMetadataError(
                f"the server's metadata files do not belong together: {exc}", hint=_MIRROR_HINT
            ) from exc
        except tuf_errors.RepositoryError as exc:
            raise UntrustedMetadataError(
                f"{self._fetcher.last}: not signed by the keys that this machine trusts, or no"
                f" metadata: {exc}",
                hint=_MIRROR_HINT,
            ) from exc
        return updater

    def _with_given_root(self, work: Path) -> Updater:
        try:
            return Updater(
                str(work), METADATA, fetcher=self._fetcher, config=_CONFIG, bootstrap=self._root
            )
        except tuf_errors.RepositoryError as exc:
            raise UntrustedMetadataError(
                f"the root metadata that this machine was given is none: {exc}",
                hint="give it the root.json of the store's keys",
            ) from exc

    def _expired(self, work: Path, problem: str) -> ExpiredMetadataError:
        role = next((role for role in (ROOT, *_STATE) if role in problem), TIMESTAMP)
        content = self._fetcher.metadata.get(role) or (work / f"{role}.json").read_bytes()
        since = Metadata.from_bytes(content).signed.expires
        return ExpiredMetadataError(
            f"the server's {role} metadata ran out at {words(since)}; it is"
            f" {words(self._clock())} now",
            hint="the publisher must sign it anew (bootsvc store refresh), or this mirror is held"
            " back: ask another; is this machine's clock right?",
        )

    def _wrong_version(self) -> FreshnessError:
        """Older than what was seen, or of two states: told apart by what came and what was kept."""
        offered, seen = self._fetcher.metadata, self._folder
        for role, below in ((TIMESTAMP, ""), (TIMESTAMP, SNAPSHOT), (SNAPSHOT, TARGETS_ROLE)):
            new = _version_in(offered.get(role, b""), below)
            old = _version_in(_content_of(seen / f"{role}.json"), below)
            if new and new < old:
                return RollbackError(
                    f"the server offers version {new} of its {below or role} metadata; this machine"
                    f" has seen {old}",
                    hint=_MIRROR_HINT,
                )
        return MixedMetadataError(
            f"{self._fetcher.last}: not the version that belongs here; the server mixes two states"
            " of the store",
            hint=_MIRROR_HINT,
        )

    def _check_clock_against(self, work: Path) -> None:
        """Refuse a clock that stands before the moment at which the newest state was signed."""
        timestamp = Metadata.from_file(str(work / f"{TIMESTAMP}.json"))
        check_clock(self._clock(), timestamp.signed.unrecognized_fields.get(SIGNED_AT))

    # --- the folder ---------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for folder in (self._folder / _ROOTS, self._folder / _DOCUMENTS):
            folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise DiskBusyError(
                    f"{self._folder}: another program asks the same store for updates",
                    hint="wait for it to end, then try again",
                ) from exc
            yield
        finally:
            os.close(fd)

    def _copy_in(self, work: Path) -> None:
        """Give python-tuf what was kept. It writes files without a flush, hence not in place."""
        (work / _ROOTS).mkdir()
        for name in self._kept_files():
            content = _content_of(self._folder / name)
            try:
                Metadata.from_bytes(content)
            except tuf_errors.RepositoryError:
                self._say(
                    f"{self._folder / name} is damaged; it is made anew from what the machine was"
                    " given and what the server offers"
                )
                (self._folder / name).unlink()
            else:
                (work / name).write_bytes(content)

    def _copy_out(self, work: Path) -> None:
        """Keep what python-tuf verified, each file whole, roots first: any prefix is a valid state
        to go on from."""
        roots = sorted((work / _ROOTS).glob("*.root.json"), key=_number_of)
        for path in (*roots, *(work / f"{role}.json" for role in _STATE)):
            kept = self._folder / path.relative_to(work)
            if path.exists() and path.read_bytes() != _content_of(kept):
                replace_file(kept, path.read_bytes())

    def _kept_files(self) -> Iterator[Path]:
        for path in sorted((self._folder / _ROOTS).glob("*.root.json")):
            yield path.relative_to(self._folder)
        for role in _STATE:
            if (self._folder / f"{role}.json").exists():
                yield Path(f"{role}.json")

    # --- documents ----------------------------------------------------------------------------

    def _fetched(self, info: TargetFile) -> bytes:
        path = f"{TARGETS}/{info.get_prefixed_paths()[0]}"
        try:
            with self._fetcher.download_file(path, info.length) as file:
                content = file.read()
            info.verify_length_and_hashes(content)
        except tuf_errors.DownloadHTTPError as exc:
            raise exc.__cause__ or exc from None
        except (
            tuf_errors.LengthOrHashMismatchError,
            tuf_errors.DownloadLengthMismatchError,
        ) as exc:
            raise MixedMetadataError(
                f"{info.path}: the server sends another content than was signed", hint=_MIRROR_HINT
            ) from exc
        return content

    def _keep(self, path: Path, content: bytes) -> None:
        replace_file(path, content)
        others = [one for one in path.parent.iterdir() if one != path]
        others.sort(key=lambda one: one.stat().st_mtime)
        for old in others[: max(len(others) + 1 - KEPT_DOCUMENTS, 0)]:
            old.unlink()
        flush_folder(path.parent)


class _Fetcher(FetcherInterface):
    """Our way to the server, as python-tuf wants it.

    Attributes:
        last: the path asked for last.
        metadata: what came last of each kind of metadata.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch_file = fetch
        self.last = ""
        self.metadata: dict[str, bytes] = {}

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self._given(url, LARGEST_TARGET)

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """The file at ``url``, which is the path relative to the store.

        The interface's own method asks for a file of any length and counts while it comes; ours
        tells the server's side the limit.
        """
        content = self._given(url, max_length)
        if url.startswith(f"{METADATA}/"):
            self.metadata[url.removesuffix(".json").rpartition("/")[2].rpartition(".")[2]] = content
        yield BytesIO(content)

    def _given(self, path: str, largest: int) -> bytes:
        self.last = path
        try:
            content = self._fetch_file(path, largest)
        except NotOnServerError as exc:
            raise tuf_errors.DownloadHTTPError(str(exc), 404) from exc
        if len(content) > largest:
            raise tuf_errors.DownloadLengthMismatchError(f"{path} has more than {largest} bytes")
        return content


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bootsvc-metadata-") as scratch:
        yield Path(scratch)


@contextmanager
def _storing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageError(
            f"{folder}: what is known of the store cannot be kept: {exc.strerror or exc}",
            hint="is the data partition full, or mounted read-only?",
        ) from exc


def _kept_content(path: Path, info: TargetFile) -> bytes | None:
    content = _content_of(path)
    try:
        info.verify_length_and_hashes(content)
    except tuf_errors.LengthOrHashMismatchError:
        return None
    return content


def _content_of(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def _number_of(path: Path) -> int:
    return int(path.name.partition(".")[0])


def _version_in(content: bytes, below: str) -> int:
    """The version of metadata, or the one that it names of ``below``; 0 where there is none."""
    try:
        signed: Signed = Metadata.from_bytes(content).signed
    except tuf_errors.RepositoryError:
        return 0
    if not below:
        return signed.version
    if isinstance(signed, Timestamp):
        return signed.snapshot_meta.version
    named = signed.meta.get(f"{below}.json") if isinstance(signed, Snapshot) else None
    return named.version if named else 0
