"""Small signed images of random bytes, made without the image builder."""

import hashlib
import random
from dataclasses import dataclass, replace

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from bootsvc.formats.footer import Locator, Signature, build_locator
from bootsvc.formats.manifest import (
    BootFile,
    BootSection,
    Manifest,
    build_manifest,
    identity_of,
)
from bootsvc.formats.tree import build_tree, leaves_of
from bootsvc.trust.keys import SIGNATURE_CONTEXT, PublicKey
from bootsvc.units import BLOCK_SIZE, round_up

COMPATIBLE = "test"
LINEAGE = "0f5f3c63-4a53-4b3a-9c0f-2b6d3c1d0001"


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 key pair made from one byte, so that it is the same in every run."""

    seed: int

    def public(self, *, is_retired: bool = False) -> PublicKey:
        public, _ = crypto_sign_seed_keypair(bytes([self.seed]) * 32)
        return PublicKey(f"key{self.seed}", public, is_retired)

    def sign(self, message: bytes) -> Signature:
        _, secret = crypto_sign_seed_keypair(bytes([self.seed]) * 32)
        signed = crypto_sign(SIGNATURE_CONTEXT + message, secret)
        return Signature(self.public().key_id, signed[:64])


KEY = SigningKey(1)
OTHER_KEY = SigningKey(2)


@dataclass(frozen=True)
class Image:
    """An image and its footer, as its maker knows them."""

    content: bytes
    manifest: Manifest
    manifest_bytes: bytes
    locator: Locator
    tree: bytes

    @property
    def identity(self) -> bytes:
        return identity_of(self.manifest_bytes)

    @property
    def number(self) -> int:
        return self.manifest.number

    @property
    def footer(self) -> bytes:
        """Digest tree, manifest and locator: what stands at the end of an area."""
        return self.tree + padded(self.manifest_bytes) + build_locator(self.locator)

    def in_area(self, size: int) -> bytes:
        """All bytes of an area of ``size`` bytes that holds this image."""
        image = padded(self.content)
        return image + bytes(size - len(image) - len(self.footer)) + self.footer

    def as_file(self) -> bytes:
        """The bytes of the .bimg file."""
        return self.in_area(len(padded(self.content)) + len(self.footer))


def padded(data: bytes) -> bytes:
    return data + bytes(round_up(len(data), BLOCK_SIZE) - len(data))


def random_blocks(count: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(count * BLOCK_SIZE)


def like(content: bytes, changed: dict[int, int]) -> bytes:
    """``content`` with other bytes in some blocks: block number -> seed."""
    blocks = bytearray(content)
    for block, seed in changed.items():
        blocks[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE] = random_blocks(1, seed)
    return bytes(blocks)


def make_image(
    content: bytes,
    *,
    number: int = 1,
    floor: int = 0,
    compatible: str = COMPATIBLE,
    key: SigningKey = KEY,
) -> Image:
    """A sound image; its boot section names a file that nobody reads here."""
    tree, root = build_tree(leaves_of(padded(content)))
    manifest = Manifest(
        lineage=LINEAGE,
        number=number,
        label=f"{number}.0",
        compatible=compatible,
        size=len(content),
        sha256=hashlib.sha256(content).digest(),
        root=root,
        floor=floor,
        boot=BootSection("kexec", BootFile("/boot/vmlinuz", 1, bytes(32))),
    )
    return signed(content, manifest, tree, key)


def signed(content: bytes, manifest: Manifest, tree: bytes, key: SigningKey = KEY) -> Image:
    """An image with this manifest, true or not, and a good signature over it."""
    manifest_bytes = build_manifest(manifest)
    locator = Locator(
        manifest.size if len(tree) else len(content),
        len(tree),
        len(manifest_bytes),
        (key.sign(manifest_bytes),),
    )
    return Image(content, manifest, manifest_bytes, locator, tree)


def with_manifest(image: Image, key: SigningKey = KEY, **changes: object) -> Image:
    """The same bytes below a manifest that says something else, signed again."""
    manifest = replace(image.manifest, **changes)  # type: ignore[arg-type]
    manifest_bytes = build_manifest(manifest)
    locator = replace(
        image.locator,
        manifest_size=len(manifest_bytes),
        signatures=(key.sign(manifest_bytes),),
    )
    return replace(image, manifest=manifest, manifest_bytes=manifest_bytes, locator=locator)
