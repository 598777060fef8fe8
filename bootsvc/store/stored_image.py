"""A version that lies in a store, to be read like an image that stands in an area."""

from __future__ import annotations

from functools import partial

from bootsvc.formats.catalogue import VersionDocument
from bootsvc.formats.tree import block_count
from bootsvc.storage.device import Device
from bootsvc.store.objects import ObjectStore
from bootsvc.transfer.assembled_image import AssembledImage
from bootsvc.transfer.fetch import FrameReader
from bootsvc.transfer.held import HeldImage
from bootsvc.transfer.plan import complete, make_plan
from bootsvc.transfer.remote import Remotes


def stored_image(store: ObjectStore, document: VersionDocument) -> HeldImage:
    """The version of ``document``; nothing is read before it is asked for.

    What is wrong with the store then is a ``RottenHereError`` that names it.
    """
    manifest = document.manifest
    name = f"number {manifest.number} ({document.identity.hex()[:12]}) in {store.name}"
    opened = partial(open_stored, store, document)
    count = block_count(manifest.size)
    return HeldImage(name, manifest.number, document.identity, count, opened)


def open_stored(store: ObjectStore, document: VersionDocument) -> tuple[Device, bytes]:
    """The image of ``document``, equal to the image file, and the digests of its blocks.

    Raises:
        FormatError, AlteredImageError: the store is damaged.
        StoreError: it cannot be read, or is damaged.
    """
    remotes = Remotes([store])
    plan = make_plan(remotes, document, (), lambda _: None, by_delta=False)
    assembly = complete(plan, remotes, lambda _: None)
    return AssembledImage(assembly, FrameReader(assembly, remotes)), assembly.leaves
