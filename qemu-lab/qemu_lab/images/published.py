"""An image store with the good Debian images, as ``bootsvc image publish`` makes it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from qemu_lab.images import cache, products
from qemu_lab.images.signed import NUMBERS, DebianImage
from qemu_lab.images.tools import BUILD, PROJECT, run, step

STORES = BUILD / "stores"
LEVEL = "6"
"""Of zstd: a squashfs is packed already, and publishing is not what is looked at here."""


@dataclass(frozen=True)
class Store:
    """A store in a folder, and its keys in another.

    Attributes:
        root: what machines are given to believe it.
    """

    folder: Path
    keys: Path

    @property
    def root(self) -> Path:
        """The root metadata."""
        return self.keys / "root.json"

    @property
    def files(self) -> dict[str, Path]:
        """What a web server shows of it."""
        return {
            path.relative_to(self.folder).as_posix(): path
            for path in self.folder.rglob("*")
            if path.is_file()
        }


def debian_store(method: str) -> Store:
    """The store of all good Debian images for one back end, vouched for as of now.

    Raises:
        ImageBuildError: a command failed.
    """
    images = [DebianImage(name, method) for name in NUMBERS]
    top = STORES / f"debian-{method}"
    store = Store(top / "www", top / "keys")
    key = cache.key_of(
        [
            "store 1",
            LEVEL,
            *(cache.note_of(one.path) for one in images),
            *(PROJECT / "bootsvc" / one for one in ("formats", "store", "transfer")),
        ]
    )
    with cache.locked(top):
        if not cache.is_fresh(store.root, key):
            _publish(store, images)
            cache.mark(store.root, key)
        _bootsvc("store", "refresh", store.folder, "--keys", store.keys)
    return store


def _publish(store: Store, images: list[DebianImage]) -> None:
    shutil.rmtree(store.folder.parent, ignore_errors=True)
    store.folder.parent.mkdir(parents=True)
    _bootsvc("store", "init", store.folder, "--keys", store.keys)
    for image in images:
        with step(f"publish {image.name}"):
            _bootsvc(
                "image", "publish", store.folder, image.path, "--keys", store.keys,
                "--trust", products.PUBLIC_KEY, "--mode", "released", "--level", LEVEL,
            )  # fmt: skip


def _bootsvc(*words: str | Path) -> str:
    return run([sys.executable, "-m", "bootsvc.cli", *map(str, words)], cwd=PROJECT)
