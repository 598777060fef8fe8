"""Where an image store lies: a folder that a web server shows, or an S3 bucket."""

from __future__ import annotations

from pathlib import Path

from bootsvc.store.objects import S3_SCHEME, ObjectStore


def open_object_store(where: str, *, create: bool = False) -> ObjectStore:
    """The store at ``where``: a folder, or ``s3://bucket/prefix``.

    Args:
        create: make the folder if it is not there. Buckets are made by their provider's tools.

    Raises:
        StoreAccessError: there is no such folder, or the address is no bucket's.
    """
    if where.startswith(S3_SCHEME):
        from bootsvc.store.s3_objects import open_s3

        return open_s3(where)
    from bootsvc.store.local_objects import open_folder

    return open_folder(Path(where), create=create)
