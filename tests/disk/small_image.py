"""Makes small signed image files whose content is arbitrary bytes."""

import hashlib
from pathlib import Path

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from bootsvc.formats.footer import Locator, Signature, build_locator
from bootsvc.formats.manifest import BootFile, BootSection, Manifest, build_manifest
from bootsvc.formats.tree import build_tree, leaves_of
from bootsvc.trust.keys import SIGNATURE_CONTEXT
from bootsvc.units import BLOCK_SIZE, round_up


def padded(data: bytes) -> bytes:
    return data + bytes(round_up(len(data), BLOCK_SIZE) - len(data))


def write_image(path: Path, content: bytes, *, number: int = 1, floor: int = 0) -> Manifest:
    """Write `content` as a signed .bimg file; its boot section names files that nobody reads."""
    tree, root = build_tree(leaves_of(padded(content)))
    manifest = Manifest(
        lineage="0f5f3c63-4a53-4b3a-9c0f-2b6d3c1d0001",
        number=number,
        label=f"{number}.0",
        compatible="test",
        size=len(content),
        sha256=hashlib.sha256(content).digest(),
        root=root,
        floor=floor,
        boot=BootSection("kexec", BootFile("/boot/vmlinuz", 1, bytes(32))),
    )
    signed = build_manifest(manifest)
    public, secret = crypto_sign_seed_keypair(bytes(32))
    signature = crypto_sign(SIGNATURE_CONTEXT + signed, secret)[:64]
    key_id = hashlib.sha256(public).digest()[:8]
    locator = Locator(len(content), len(tree), len(signed), (Signature(key_id, signature),))
    path.write_bytes(padded(content) + tree + padded(signed) + build_locator(locator))
    return manifest
