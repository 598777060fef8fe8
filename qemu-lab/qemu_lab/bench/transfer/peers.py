"""The peers that fetch over HTTP or apply a delta: casync, zsync, zchunk and others."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from qemu_lab.bench.transfer.contender import PUBLISHED, TARGET, Fetched
from qemu_lab.bench.transfer.measured import Ran, WebServer, timed
from qemu_lab.bench.transfer.pairs import Pair
from qemu_lab.images.tools import run

LOG = "output.txt"


def over_http(command: Sequence[str | Path], folder: Path, server: WebServer) -> Fetched:
    """Run a program that fetches from *server* and makes the new image in *folder*."""
    with server.counting() as traffic:
        ran = timed(command, folder / TARGET, log=folder / LOG, cwd=folder)
    return Fetched(traffic.sent, traffic.requests, ran.seconds, ran.peak_bytes)


def server_for(folder: Path) -> WebServer:
    """A server of what is published, its own files in *folder*."""
    return WebServer(PUBLISHED, folder)


def home(name: str) -> Path:
    """The folder of one peer's published files."""
    folder = PUBLISHED / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made_once(product: Path, command: Sequence[str | Path], log: str) -> None:
    """Run *command*, which makes *product*, unless it is there.

    The command must name ``product`` with ``.new`` appended.
    """
    if product.exists():
        return
    arriving = product.with_name(product.name + ".new")
    run([str(word) for word in command], log=product.with_name(log))
    arriving.replace(product)


class Casync:
    """Content-defined chunks of 16 to 256 KiB, 64 on average, the old image as seed."""

    name = "casync"
    packages = ("casync", "nginx-light")

    def publish(self, pair: Pair) -> None:
        """Chunk store and index; the store is shared by all images."""
        index = self._index(pair)
        if index.exists():
            return
        # casync takes the kind of index from the end of its name.
        arriving = index.with_name(f"arriving-{index.name}")
        store = f"--store={home('casync')}/store.castr"
        run(["casync", "make", store, str(arriving), str(pair.new)])
        arriving.replace(index)

    def fetch(self, pair: Pair, folder: Path) -> Fetched:
        """Extract by the index's address."""
        server = server_for(folder)
        command = ["casync", "extract", f"--store={server.url}/casync/store.castr"]
        command += [f"--seed={pair.old}", f"{server.url}/casync/{self._index(pair).name}", TARGET]
        return over_http(command, folder, server)

    def _index(self, pair: Pair) -> Path:
        return home("casync") / f"{pair.new.stem}.caibx"


class Zsync:
    """Fixed blocks with a rolling checksum, found at any byte of the old image."""

    packages = ("zsync", "nginx-light")

    def __init__(self, block: int) -> None:
        self.name = f"zsync -b {block}"
        self._block = block

    def publish(self, pair: Pair) -> None:
        """The index; the image itself lies beside it."""
        image = home("images") / pair.new.name
        if not image.exists():
            image.hardlink_to(pair.new)
        index = self._index(pair)
        arriving = index.with_name(index.name + ".new")
        command = ["zsyncmake", "-b", str(self._block), "-u", f"/images/{pair.new.name}"]
        made_once(index, [*command, "-o", arriving, pair.new], "zsyncmake.log")

    def fetch(self, pair: Pair, folder: Path) -> Fetched:
        """By the index's address."""
        server = server_for(folder)
        index = f"{server.url}/zsync/{self._index(pair).name}"
        return over_http(["zsync", "-q", "-i", pair.old, "-o", TARGET, index], folder, server)

    def _index(self, pair: Pair) -> Path:
        return home("zsync") / f"{pair.new.stem}-{self._block}.zsync"


class Zchunk:
    """Content-defined chunks in one file, fetched by ranges; the old image must be such a file."""

    name = "zchunk"
    packages = ("zchunk", "nginx-light")

    def publish(self, pair: Pair) -> None:
        """Both images as zchunk files."""
        for image in (pair.old, pair.new):
            product = self._file(image)
            arriving = product.with_name(product.name + ".new")
            made_once(product, ["zck", "-o", arriving, image], "zck.log")

    def fetch(self, pair: Pair, folder: Path) -> Fetched:
        """Fetch the new zchunk file, then unpack it: both count as making the image."""
        server = server_for(folder)
        name = self._file(pair.new).name
        with server.counting() as traffic:
            command = ["zckdl", "-s", str(self._file(pair.old)), f"{server.url}/zchunk/{name}"]
            fetch = timed(command, log=folder / LOG, cwd=folder)
        unpack = timed(["unzck", name], log=folder / "unzck.txt", cwd=folder)
        (folder / Path(name).stem).replace(folder / TARGET)
        return Fetched(
            traffic.sent,
            traffic.requests,
            fetch.seconds + unpack.seconds,
            max(fetch.peak_bytes, unpack.peak_bytes),
            f"unzck {unpack.seconds:.1f} s of it; the old image is kept as a zchunk file",
        )

    def _file(self, image: Path) -> Path:
        return home("zchunk") / f"{image.name}.zck"


class Xdelta:
    """A delta from exactly one old image to the new one, made when the new one is published."""

    packages = ("xdelta3",)

    def __init__(self, level: int, window: str) -> None:
        self.name = f"xdelta3 -{level} -B {window}"
        self._options = [f"-{level}", "-B", {"1G": str(2**30), "64M": str(2**26)}[window]]

    def publish(self, pair: Pair) -> None:
        """The delta."""
        delta = self._delta(pair)
        arriving = delta.with_name(delta.name + ".new")
        command = ["xdelta3", "-e", "-f", *self._options, "-s"]
        made_once(delta, [*command, pair.old, pair.new, arriving], "xdelta3.log")

    def fetch(self, pair: Pair, folder: Path) -> Fetched:
        """Apply it; its size is what crosses the wire."""
        delta = self._delta(pair)
        window = self._options[1:]
        command = ["xdelta3", "-d", "-f", *window, "-s", str(pair.old), str(delta), TARGET]
        ran = timed(command, folder / TARGET, log=folder / LOG, cwd=folder)
        note = "delta of this one pair; applied from a file"
        return Fetched(delta.stat().st_size, 1, ran.seconds, ran.peak_bytes, note)

    def _delta(self, pair: Pair) -> Path:
        options = "".join(self._options)
        return home("xdelta3") / f"{pair.old.stem}-{pair.new.stem}{options}.vcdiff"


class Rsync:
    """Two processes that talk to each other: the server must run rsync, not serve files."""

    name = "rsync --inplace"
    packages = ("rsync",)

    def publish(self, pair: Pair) -> None:
        """Nothing: the server reads the image itself."""

    def fetch(self, pair: Pair, folder: Path) -> Fetched:
        """Into a copy of the old image, whose making is not counted."""
        target = folder / TARGET
        run(["cp", "--sparse=always", str(pair.old), str(target)])
        command = ["rsync", "--inplace", "--no-whole-file", "--ignore-times", "--stats"]
        command += ["--compress", str(pair.new), str(target)]
        ran = timed(command, target, log=folder / LOG)
        size = sum(_number(ran, f"Total bytes {way}: ([0-9,]+)") for way in ("sent", "received"))
        return Fetched(size, None, ran.seconds, ran.peak_bytes, "both ends on this machine")


class Bmaptool:
    """The whole image, gzip, without its holes: what an update costs where nothing is reused."""

    name = "bmaptool, whole image"
    packages = ("bmap-tools", "nginx-light")

    def publish(self, pair: Pair) -> None:
        """Compressed image and block map."""
        gzipped(pair.new)
        bmap = self._bmap(pair)
        arriving = bmap.with_name(bmap.name + ".new")
        made_once(bmap, ["bmaptool", "create", "-o", arriving, pair.new], "bmaptool.log")

    def fetch(self, pair: Pair, folder: Path) -> Fetched:
        """Copy by the image's address."""
        server = server_for(folder)
        bmap = f"{server.url}/bmaptool/{self._bmap(pair).name}"
        image = f"{server.url}/images/{gzipped(pair.new).name}"
        return over_http(["bmaptool", "copy", "--bmap", bmap, image, TARGET], folder, server)

    def _bmap(self, pair: Pair) -> Path:
        return home("bmaptool") / f"{pair.new.stem}.bmap"


def gzipped(image: Path) -> Path:
    """The whole image as a gzip file below ``PUBLISHED``, made once."""
    product = home("images") / f"{image.name}.gz"
    if not product.exists():
        arriving = product.with_name(product.name + ".new")
        with arriving.open("wb") as file:
            subprocess.run(["gzip", "-6", "-c", image], stdout=file, check=True)
        arriving.replace(product)
    return product


def _number(ran: Ran, pattern: str) -> int:
    found = re.search(pattern, ran.output)
    return int(found.group(1).replace(",", "")) if found else 0
