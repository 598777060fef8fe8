"""Which blocks a store holds already, and where: each block is stored once (S0.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bootsvc.formats.catalogue import StoredPack, VersionDocument
from bootsvc.formats.tree import DIGEST_SIZE
from bootsvc.sequence.staging import ShowWork
from bootsvc.transfer.packs import read_all_digests, read_pack
from bootsvc.transfer.remote import Remote


@dataclass
class BlockIndex:
    """The blocks of some packs, by their digests; takes some 180 bytes of memory for each.

    Attributes:
        packs: those that are known, in order.
        digests: those of each pack's blocks.
        places: digest -> (index of the pack, number of the block in it).
    """

    packs: list[StoredPack] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    places: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def add(self, pack: StoredPack, digests: bytes) -> None:
        """Take a pack in; a block that is known already stays where it is."""
        index = len(self.packs)
        self.packs.append(pack)
        self.digests.append(digests)
        for number in range(len(digests) // DIGEST_SIZE):
            digest = digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE]
            self.places.setdefault(digest, (index, number))


def read_index(
    store: Remote, documents: Iterable[VersionDocument], show_work: ShowWork
) -> BlockIndex:
    """All blocks of the packs of ``documents``.

    Raises:
        FormatError: a pack is damaged.
        BootsvcError: the store cannot be read.
    """
    packs = {pack.identity: pack for document in documents for pack in document.packs}
    read = [read_pack(store, stored) for stored in packs.values()]
    index = BlockIndex()
    total = sum(one.header.block_count for one in read) * DIGEST_SIZE
    with show_work("read the store's digests", total) as work:
        for pack in read:
            index.add(pack.stored, read_all_digests(store, pack, work.tick))
    return index
