"""Every contender on every pair, one after the other."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from qemu_lab.bench.transfer.bundles import Rauc, Swupdate
from qemu_lab.bench.transfer.contender import TARGET, Contender
from qemu_lab.bench.transfer.measured import PeerError, dd_seconds, equal, version_of
from qemu_lab.bench.transfer.ours import Bootsvc
from qemu_lab.bench.transfer.pairs import Pair
from qemu_lab.bench.transfer.peers import Bmaptool, Casync, Rsync, Xdelta, Zchunk, Zsync
from qemu_lab.bench.transfer.results import Result, peers_table
from qemu_lab.errors import LabError
from qemu_lab.images.tools import say

CONTENDERS: tuple[Contender, ...] = (
    Casync(),
    Zsync(2048),
    Zsync(4096),
    Zchunk(),
    Rauc(),
    Swupdate(),
    Bmaptool(),
    Xdelta(1, "1G"),
    Xdelta(1, "64M"),
    Rsync(),
    Bootsvc(deltas=1),
    Bootsvc(deltas=0),
)
"""In the order of the table. A further one needs only to be named here."""


def chosen(names: Sequence[str] | None) -> list[Contender]:
    """The contenders of these names, all without any.

    Raises:
        LabError: there is none of such a name.
    """
    known = {one.name: one for one in CONTENDERS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise LabError(f"no contender is named {unknown[0]}: one of {', '.join(known)}")
    return [known[name] for name in names or known]


def packages(contenders: Sequence[Contender]) -> list[str]:
    """Debian packages that they and the measuring need, each once."""
    return sorted({"time", *(name for one in contenders for name in one.packages)})


def measure(contenders: Sequence[Contender], pairs: Sequence[Pair], scratch: Path) -> list[Result]:
    """Publish, fetch and compare; one that cannot run is in the table with its reason."""
    results = []
    for contender in contenders:
        for pair in pairs:
            say(f"{contender.name}: {pair.name} ...")
            folder = scratch / "fetch"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            results.append(_one(contender, pair, folder))
            say(peers_table(results[-1:]).splitlines()[-1])
            shutil.rmtree(folder)
    return results


def _one(contender: Contender, pair: Pair, folder: Path) -> Result:
    try:
        lacking = [name for name in packages([contender]) if version_of(name) == "missing"]
        if lacking:
            raise PeerError(f"apt-get install {' '.join(lacking)}")
        contender.publish(pair)
        # The cache has the old image then: times are without the disk's first reading.
        subprocess.run(["cat", pair.old], stdout=subprocess.DEVNULL, check=True)
        dd = dd_seconds(pair.new, folder / "dd.img")
        (folder / "dd.img").unlink()
        got = contender.fetch(pair, folder)
        if not equal(folder / TARGET, pair.new):
            raise PeerError(f"made another image than {pair.new.name}")
    except (LabError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split())
        return Result(contender.name, pair.name, note=f"not run: {reason}")
    return Result(
        contender.name,
        pair.name,
        got.size,
        got.requests,
        got.seconds,
        dd,
        got.peak_bytes,
        got.note,
    )
