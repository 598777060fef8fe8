"""bootsvc itself: ``bootsvc update`` on a disk file, from an image store on the web server."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bootsvc.disk.create import first_status
from bootsvc.disk.partition import plan, write_table
from bootsvc.formats.boot_status import Area
from bootsvc.storage.device import CHUNK_SIZE, DirectDevice
from bootsvc.storage.disk import disk_on
from bootsvc.storage.image_area import CopyCounts, copy_image, read_footer, read_leaves
from bootsvc.storage.image_file import open_bimg
from bootsvc.units import MIB
from qemu_lab.bench.transfer.contender import TARGET, Fetched
from qemu_lab.bench.transfer.measured import timed
from qemu_lab.bench.transfer.pairs import Pair
from qemu_lab.bench.transfer.peers import LOG, home, server_for
from qemu_lab.images.tools import run

COMMAND = (sys.executable, "-m", "bootsvc.cli")
MACHINE = "pairs"


class Bootsvc:
    """A machine with the old image in primary; a store with both images, as published.

    Its work is more than the peers': what arrived is written to a disk's staging area, read back
    in full, and asked for.
    """

    packages = ("nginx-light",)

    def __init__(self, deltas: int) -> None:
        """``deltas``: to so many earlier versions one is made."""
        self.name = "bootsvc" if deltas else "bootsvc, no delta"
        self._deltas = deltas

    def publish(self, pair: Pair) -> None:
        """A store of its own for each pair, by the commands of a publisher."""
        folder = self._folder(pair)
        if (folder / "done").exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        secrets = self._secrets(pair)
        shutil.rmtree(secrets, ignore_errors=True)
        secrets.mkdir(parents=True)
        self._run(pair, "key", "new", secrets / "image")
        self._run(pair, "store", "init", folder, "--keys", secrets / "store")
        for number, image in enumerate((pair.old, pair.new), 1):
            self._publish_one(pair, image, number)
        (folder / "done").touch()

    def _publish_one(self, pair: Pair, image: Path, number: int) -> None:
        secrets = self._secrets(pair)
        made = secrets / f"{number}.bimg"
        self._run(
            pair, "image", "make", image, "-o", made, "--key", secrets / "image.key",
            "--number", str(number), "--label", image.stem, "--compatible", MACHINE,
            *(("--parent", secrets / "1.bimg") if number > 1 else ()),
        )  # fmt: skip
        self._run(
            pair, "image", "publish", self._folder(pair), made, "--keys", secrets / "store",
            "--trust", secrets / "image.pub", "--mode", "released",
            "--deltas", str(self._deltas),
        )  # fmt: skip

    def fetch(self, pair: Pair, folder: Path) -> Fetched:
        """``bootsvc update --install``; making the machine's disk before is not counted."""
        secrets = self._secrets(pair)
        disk = folder / "disk.img"
        _machine_with(secrets / "1.bimg", disk)
        server = server_for(folder)
        settings = folder / "bootsvc.toml"
        address = f"{server.url}/bootsvc/{self._folder(pair).name}"
        settings.write_text(f'compatible = "{MACHINE}"\nstores = "{address}"\n', "utf-8")
        command: list[str | Path] = [
            *COMMAND, "update", "--install", "--disk", disk, "--keys", secrets / "image.pub",
            "--settings", settings, "--root", secrets / "store" / "root.json",
        ]  # fmt: skip
        with server.counting() as traffic:
            ran = timed(command, disk, log=folder / LOG)
        _take_out(disk, folder / TARGET)
        disk.unlink()
        return Fetched(traffic.sent, traffic.requests, ran.seconds, ran.peak_bytes)

    def _folder(self, pair: Pair) -> Path:
        return home("bootsvc") / f"{pair.name}-{self._deltas}"

    def _secrets(self, pair: Pair) -> Path:
        """Keys and image files: they are not for the web server."""
        return home("bootsvc").parents[1] / "publisher" / f"{pair.name}-{self._deltas}"

    def _run(self, pair: Pair, *words: str | Path) -> None:
        run([*COMMAND, *map(str, words)], log=self._secrets(pair) / "log.txt")


def _machine_with(image: Path, path: Path) -> None:
    """The disk file of a machine that runs ``image``, with the same in backup."""
    with open_bimg(image) as (source, footer):
        layout = plan(area_size=footer.locator.total_size + 64 * MIB)
        with path.open("xb") as file:
            file.truncate(layout.size)
        write_table(path, layout)
        leaves = read_leaves(source, footer)
        with DirectDevice(path, writable=True) as device:
            disk = disk_on(device)
            for area in (Area.PRIMARY, Area.BACKUP):
                copy_image(source, disk.areas[area], footer, leaves, CopyCounts())
            disk.status.replace(first_status(footer, disk.gpt.layout_hash(), confirmed=True))


def _take_out(disk_path: Path, target: Path) -> None:
    """The image that stands in staging, as a file."""
    with DirectDevice(disk_path, writable=False) as device, target.open("wb") as file:
        staging = disk_on(device).areas[Area.STAGING]
        size = read_footer(staging).manifest.size
        for at in range(0, size, CHUNK_SIZE):
            file.write(staging.read_at(at, min(CHUNK_SIZE, size - at)))
