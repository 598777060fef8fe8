"""A store in an S3-compatible bucket, by obstore."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO

from bootsvc.errors import NoObjectError, ObjectTooLargeError, StoreAccessError, ToolError
from bootsvc.storage.image_area import Tick, no_tick
from bootsvc.store.objects import S3_SCHEME, Arriving, StoredObject, checked_key
from bootsvc.units import MIB

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import S3Store

_PART_SIZE = 8 * MIB
"""Bytes of a part of a large file: S3's at most 10,000 parts then make 78 GiB."""

_PARTS_AT_ONCE = 4

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,62})((?:/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*)/?")

_CREDENTIALS_HINT = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of a user who may read, write and list"
)


class BucketObjects:
    """An ``ObjectStore`` over a bucket."""

    def __init__(self, name: str, bucket: S3Store) -> None:
        self.name = name
        self._bucket = bucket

    def read(self, key: str, largest: int) -> bytes:
        """See ``ObjectStore``."""
        return self.read_seen(key, largest)[0]

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """See ``ObjectStore``."""
        if not length:
            return b""
        with self._asking(key, "read"):
            data = bytes(self._bucket.get_range(checked_key(key), start=offset, length=length))
        if len(data) != length:
            raise StoreAccessError(
                f"{self.name}/{key}: ends at byte {offset + len(data)}, {offset + length} were"
                " asked for"
            )
        return data

    def write(self, key: str, data: bytes) -> None:
        """See ``ObjectStore``."""
        with self._asking(key, "written"):
            self._bucket.put(checked_key(key), data, chunk_size=_PART_SIZE)

    @contextmanager
    def arriving(self) -> Iterator[Arriving]:
        """See ``ObjectStore``; it waits in a temporary file."""
        with tempfile.TemporaryFile(prefix="bootsvc-") as file:
            yield _ArrivingObject(self, file)

    def write_stream(self, key: str, source: BinaryIO, tick: Tick) -> None:
        """Write all that ``source`` gives, in parts where it is long."""
        first = source.read(_PART_SIZE)
        if len(first) < _PART_SIZE:
            self.write(key, first)
            tick(len(first))
            return
        with self._asking(key, "written"):
            self._bucket.put(
                checked_key(key),
                _pieces(first, source, tick),
                use_multipart=True,
                chunk_size=_PART_SIZE,
                max_concurrency=_PARTS_AT_ONCE,
            )

    def read_seen(self, key: str, largest: int) -> tuple[bytes, str]:
        """See ``ObjectStore``."""
        with self._asking(key, "read"):
            answer = self._bucket.get(checked_key(key))
            size = answer.meta["size"]
            if size > largest:
                raise ObjectTooLargeError(
                    f"{self.name}/{key}: {size} bytes, at most {largest} are allowed"
                )
            data = bytes(answer.bytes())
        if len(data) != size:
            raise StoreAccessError(f"{self.name}/{key}: {len(data)} of {size} bytes came")
        return data, answer.meta["e_tag"] or ""

    def write_if(self, key: str, data: bytes, seen: str | None) -> bool:
        """See ``ObjectStore``."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: PutMode = "create" if seen is None else {"e_tag": seen}
        with self._asking(key, "written"):
            try:
                self._bucket.put(checked_key(key), data, mode=mode)
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                return False
        return True

    def size(self, key: str) -> int | None:
        """See ``ObjectStore``."""
        try:
            with self._asking(key, "read"):
                return self._bucket.head(checked_key(key))["size"]
        except NoObjectError:
            return None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See ``ObjectStore``."""
        with self._asking(prefix or ".", "listed"):
            for chunk in self._bucket.list(checked_key(prefix) if prefix else None):
                for found in chunk:
                    modified_s = int(found["last_modified"].timestamp())
                    yield StoredObject(found["path"], found["size"], modified_s)

    def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        with self._asking(key, "removed"):
            self._bucket.delete(checked_key(key))

    @contextmanager
    def _asking(self, key: str, verb: str) -> Iterator[None]:
        """What goes wrong while the bucket is asked for something is named."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        where = f"{self.name}/{key}"
        try:
            yield
        except FileNotFoundError as exc:
            if "NoSuchBucket" in str(exc):
                raise StoreAccessError(
                    f"{self.name}: there is no such bucket", hint="make it with its provider's tool"
                ) from exc
            raise NoObjectError(f"{where}: there is no such file") from exc
        except (PermissionDeniedError, UnauthenticatedError) as exc:
            raise StoreAccessError(
                f"{where}: cannot be {verb}: the server refuses", hint=_CREDENTIALS_HINT
            ) from exc
        except (BaseError, OSError, ValueError) as exc:
            raise StoreAccessError(
                f"{where}: cannot be {verb}: {_first_line(exc)}",
                hint=f"look at the server and at {_ENDPOINTS[0]}; {_CREDENTIALS_HINT}",
            ) from exc


def open_s3(where: str) -> BucketObjects:
    """The store at ``where``, ``s3://bucket/prefix``; see ``open_object_store``."""
    found = _ADDRESS.fullmatch(where)
    if found is None:
        raise StoreAccessError(
            f"{where}: not the address of a bucket", hint="it is written s3://bucket/prefix"
        )
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError as exc:
        raise ToolError(
            f"{where}: the library obstore is missing", hint="pip install 'bootsvc[store]'"
        ) from exc
    endpoint = next(filter(None, map(os.environ.get, _ENDPOINTS)), "")
    try:
        bucket = S3Store(
            found[1],
            prefix=found[2].lstrip("/") or None,
            client_options={
                # Whoever writes http:// means it. What lies in a store is signed; it is no secret.
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=15),
                "read_timeout": timedelta(seconds=60),
                "timeout": timedelta(minutes=15),  # of one part, on a slow line
            },
            retry_config={"max_retries": 5, "retry_timeout": timedelta(minutes=1)},
        )
    except (BaseError, ValueError) as exc:
        raise StoreAccessError(
            f"{where}: {_first_line(exc)}", hint="look at the variables AWS_*"
        ) from exc
    return BucketObjects(S3_SCHEME + found[1] + found[2], bucket)


class _ArrivingObject:
    """See ``Arriving``."""

    def __init__(self, bucket: BucketObjects, file: BinaryIO) -> None:
        self._bucket = bucket
        self._file = file

    def write(self, data: bytes) -> None:
        """See ``Arriving``."""
        self._file.write(data)

    def name(self, key: str, tick: Tick = no_tick) -> None:
        """See ``Arriving``."""
        self._file.seek(0)
        self._bucket.write_stream(key, self._file, tick)


def _pieces(first: bytes, rest: BinaryIO, tick: Tick) -> Iterator[bytes]:
    piece = first
    while piece:
        yield piece
        tick(len(piece))
        piece = rest.read(MIB)


def _first_line(error: Exception) -> str:
    """The error's own words, without the library's debugging text below them."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
