"""The peers that install signed bundles: RAUC with its block hash index, SWUpdate."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zlib
from pathlib import Path

from bootsvc.units import KIB
from qemu_lab.bench.transfer.contender import TARGET, Fetched
from qemu_lab.bench.transfer.counting import Piece, cut_fixed, missing
from qemu_lab.bench.transfer.measured import PeerError, mapped, timed
from qemu_lab.bench.transfer.pairs import Pair
from qemu_lab.bench.transfer.peers import LOG, gzipped, home, over_http, server_for
from qemu_lab.images.tools import run

RAUC_BLOCK = 4 * KIB
SQUASHFS_BLOCK = 128 * KIB


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key in *folder*, made if missing."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if not (certificate.exists() and key.exists()):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-batch"]
        command += ["-subj", "/CN=bench", "-days", "3650", "-keyout", str(key)]
        command += ["-addext", "keyUsage=digitalSignature"]
        command += ["-addext", "extendedKeyUsage=emailProtection", "-out", str(certificate)]
        run(command)
    return certificate, key


class Rauc:
    """Blocks of 4 KiB that a slot has are taken from there, the others from the bundle.

    Streaming needs the kernel's nbd and device mapper. What it would fetch is therefore computed:
    each gzip block of the bundle's squashfs in which a missing block lies, and the index. Time and
    memory are those of an installation from a bundle file.
    """

    name = "RAUC adaptive"
    packages = ("rauc", "rauc-service", "dbus-daemon", "squashfs-tools", "openssl")

    def publish(self, pair: Pair) -> None:
        """The bundle."""
        bundle = self._bundle(pair)
        if bundle.exists():
            return
        certificate_file, key = certificate(home("rauc"))
        content = home("rauc") / f"content-{pair.new.stem}"
        shutil.rmtree(content, ignore_errors=True)
        content.mkdir()
        (content / "image.img").hardlink_to(pair.new)
        (content / "manifest.raucm").write_text(_MANIFEST, encoding="utf-8")
        arriving = bundle.with_name(f"arriving-{bundle.name}")
        arriving.unlink(missing_ok=True)
        signing = [f"--cert={certificate_file}", f"--key={key}"]
        # The bytes are computed for the usual level: the bundle itself may have a fast one.
        fast = "--mksquashfs-args=-comp gzip -Xcompression-level 1"
        run(["rauc", "bundle", *signing, fast, str(content), str(arriving)])
        shutil.rmtree(content)
        arriving.replace(bundle)

    def fetch(self, pair: Pair, folder: Path) -> Fetched:
        """Install into a second slot, the first holding the old image."""
        size = self._computed(pair)
        (folder / "mnt").mkdir()
        (folder / "data").mkdir()
        (folder / "slot-a").symlink_to(pair.old)
        target = folder / TARGET
        with target.open("wb") as file:
            file.truncate(pair.new.stat().st_size)
        backend = folder / "backend"
        backend.write_text(_BACKEND, encoding="utf-8")
        backend.chmod(0o755)
        config = folder / "system.conf"
        keyring, _ = certificate(home("rauc"))
        config.write_text(_SYSTEM.format(folder=folder, keyring=keyring), encoding="utf-8")
        script = _INSTALL.format(config=config, bundle=self._bundle(pair))
        command = ["dbus-run-session", "--", "sh", "-c", script]
        ran = timed(command, target, log=folder / LOG, cwd=folder)
        if "succeeded" not in ran.output:
            raise PeerError(f"rauc did not say that it succeeded: {folder / LOG}")
        note = "bytes computed (no nbd here); time and memory of a local bundle"
        return Fetched(size, None, ran.seconds, ran.peak_bytes, note)

    def _bundle(self, pair: Pair) -> Path:
        return home("rauc") / f"{pair.new.stem}.raucb"

    @staticmethod
    def _computed(pair: Pair) -> int:
        with mapped(pair.old) as old, mapped(pair.new) as new:
            before, after = cut_fixed(old, RAUC_BLOCK), cut_fixed(new, RAUC_BLOCK)
            image = squashfs_bytes(new, missing(before, after))
        index = b"".join(piece.digest for piece in after)
        return image + squashfs_bytes(memoryview(index), cut_fixed(index, SQUASHFS_BLOCK))


def squashfs_bytes(file: memoryview, pieces: list[Piece]) -> int:
    """Bytes of the compressed squashfs blocks of *file* in which *pieces* lie.

    mksquashfs compresses each block by itself, gzip at level 9, and stores it as it is where that
    saves nothing.
    """
    touched = sorted({piece.offset // SQUASHFS_BLOCK for piece in pieces})
    size = 0
    for number in touched:
        block = file[number * SQUASHFS_BLOCK : (number + 1) * SQUASHFS_BLOCK]
        size += min(len(block), len(zlib.compress(block, 9)))
    return size


class Swupdate:
    """The whole image, compressed, checked and written: nothing is reused."""

    name = "SWUpdate, whole image"
    packages = ("swupdate", "nginx-light", "cpio", "openssl")

    def publish(self, pair: Pair) -> None:
        """The signed archive; it names the place of the target, a link that the fetch sets."""
        archive = self._archive(pair)
        if archive.exists():
            return
        folder = home("swupdate") / f"content-{pair.new.stem}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "image.gz").hardlink_to(gzipped(pair.new))
        digest = hashlib.sha256((folder / "image.gz").read_bytes()).hexdigest()
        description = _DESCRIPTION.format(link=self._link(), sha256=digest)
        (folder / "sw-description").write_text(description, encoding="utf-8")
        certificate_file, key = certificate(home("swupdate"))
        command = ["openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig"]
        command += ["-signer", str(certificate_file), "-inkey", str(key), "-outform", "DER"]
        run([*command, "-nosmimecap", "-binary"], cwd=folder)
        members = b"sw-description\nsw-description.sig\nimage.gz\n"
        arriving = archive.with_name(archive.name + ".new")
        with arriving.open("wb") as file:
            pack = ["cpio", "--quiet", "-o", "-H", "crc"]
            subprocess.run(pack, input=members, stdout=file, cwd=folder, check=True)
        shutil.rmtree(folder)
        arriving.replace(archive)

    def fetch(self, pair: Pair, folder: Path) -> Fetched:
        """By the archive's address."""
        target = folder / TARGET
        with target.open("wb") as file:
            file.truncate(pair.new.stat().st_size)
        link = self._link()
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        server = server_for(folder)
        certificate_file, _ = certificate(home("swupdate"))
        download = f"-u {server.url}/swupdate/{self._archive(pair).name}"
        command = ["swupdate", "-H", "bench:1.0", "-k", str(certificate_file), "-d", download]
        try:
            return over_http(command, folder, server)
        finally:
            link.unlink()

    def _archive(self, pair: Pair) -> Path:
        return home("swupdate") / f"{pair.new.stem}.swu"

    @staticmethod
    def _link() -> Path:
        return home("swupdate") / "target"


_MANIFEST = """\
[update]
compatible=bench
version=1

[bundle]
format=plain

[image.rootfs]
filename=image.img
adaptive=block-hash-index
"""
_SYSTEM = """\
[system]
compatible=bench
bootloader=custom
mountprefix={folder}/mnt
statusfile={folder}/status.raucs
data-directory={folder}/data
bundle-formats=plain

[handlers]
bootloader-custom-backend={folder}/backend

[keyring]
path={keyring}

[slot.rootfs.0]
device={folder}/slot-a
type=raw
bootname=A

[slot.rootfs.1]
device={folder}/new.img
type=raw
bootname=B
"""
_BACKEND = """\
#!/bin/sh
case $1 in get-primary) echo A ;; get-state) echo good ;; esac
"""
# The service is waited for, so that its memory counts.
_INSTALL = """\
export DBUS_SYSTEM_BUS_ADDRESS="$DBUS_SESSION_BUS_ADDRESS"
rauc --conf={config} --override-boot-slot=A service &
service=$!
tries=0
until rauc status >/dev/null 2>&1 || [ $tries -ge 50 ]; do tries=$((tries + 1)); sleep 0.1; done
rauc install {bundle}
code=$?
kill $service
wait $service
exit $code
"""
_DESCRIPTION = """\
software = {{
    version = "1";
    hardware-compatibility: [ "1.0" ];
    images: ( {{
        filename = "image.gz";
        type = "raw";
        device = "{link}";
        compressed = "zlib";
        sha256 = "{sha256}";
    }} );
}}
"""
