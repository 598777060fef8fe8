"""Command line of the builder: ``python -m initramfs OUTPUT [options]``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from initramfs.build import PROJECT, BuildRequest, build
from initramfs.compress import CHOICES
from initramfs.errors import InitramfsError
from initramfs.modules import KernelTree
from initramfs.report import as_json, as_text


def parser() -> argparse.ArgumentParser:
    """The command line's options, each with its meaning."""
    options = argparse.ArgumentParser(
        prog="python -m initramfs",
        description="Build the updater's initramfs: no root, the same bytes every time.",
    )
    options.add_argument("output", type=Path, help="file to write")
    kernel = options.add_mutually_exclusive_group()
    kernel.add_argument("--kernel", metavar="RELEASE", help="an installed kernel, by release")
    kernel.add_argument(
        "--kernel-root", type=Path, metavar="DIR", help="tree of an extracted kernel package"
    )
    options.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="NAME",
        help="kernel modules to take, see modules.toml (default: virtio-nvme; repeatable)",
    )
    options.add_argument("--compress", choices=CHOICES, default="zstd", help="default: zstd")
    options.add_argument(
        "--hash",
        choices=("openssl", "builtin"),
        default="openssl",
        help="SHA-256 by OpenSSL (larger, faster) or by CPython's own code (default: openssl)",
    )
    options.add_argument("--config", type=Path, metavar="FILE", help="settings (bootsvc.toml)")
    options.add_argument(
        "--key",
        type=Path,
        action="append",
        default=[],
        metavar="NAME.pub",
        help="public key that may sign images (repeatable)",
    )
    options.add_argument(
        "--https", action="store_true", help="fetch from https addresses, too (0.3 MB larger)"
    )
    options.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="certificates that servers are checked against (PEM)",
    )
    options.add_argument(
        "--installer",
        type=Path,
        metavar="FILE",
        help="make it an installer: it makes disks, with this initramfs and the kernel on them",
    )
    options.add_argument("--entry", default=BuildRequest.entry, help="module with main()")
    options.add_argument(
        "--project", type=Path, default=PROJECT, help="directory of the entry's package"
    )
    options.add_argument("--python", type=Path, default=BuildRequest.python, help="interpreter")
    options.add_argument("--busybox", type=Path, metavar="FILE", help="busybox to take")
    options.add_argument("--overlay", type=Path, metavar="FILE", help="overlay.sh to take")
    options.add_argument("--json", action="store_true", help="print the table as JSON")
    options.add_argument("--quiet", action="store_true", help="print no table")
    options.add_argument(
        "--measure",
        action="store_true",
        help="also compress each group alone, and all without kernel modules (slower)",
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, or 1 with the reason on standard error."""
    chosen = parser().parse_args(arguments)
    try:
        request = _request(chosen)
        report = build(request)
        if chosen.measure and request.kernel is not None:
            report = replace(report, notes=(*report.notes, _without_modules(request)))
    except InitramfsError as exc:
        print(f"initramfs: {exc}", file=sys.stderr)
        return 1
    if chosen.json:
        print(as_json(report, chosen.measure))
    elif not chosen.quiet:
        print(as_text(report, chosen.measure))
    return 0


def _without_modules(request: BuildRequest) -> str:
    """What the same archive takes where the kernel has everything built in."""
    with tempfile.TemporaryDirectory(prefix="initramfs-") as scratch:
        bare = build(replace(request, kernel=None, output=Path(scratch) / request.output.name))
    return f"without kernel modules {bare.size:,} bytes ({bare.compression})"


def _request(chosen: argparse.Namespace) -> BuildRequest:
    kernel = None
    if chosen.kernel:
        kernel = KernelTree.installed(chosen.kernel)
    elif chosen.kernel_root:
        kernel = KernelTree.extracted(chosen.kernel_root)
    return BuildRequest(
        output=chosen.output,
        kernel=kernel,
        profiles=tuple(chosen.profile) or BuildRequest.profiles,
        entry=chosen.entry,
        project=chosen.project.resolve(),
        python=chosen.python,
        hash_backend=chosen.hash,
        compression=chosen.compress,
        config=chosen.config,
        keys=tuple(chosen.key),
        https=chosen.https,
        ca=chosen.ca,
        installer=chosen.installer,
        overlay=chosen.overlay,
        busybox=chosen.busybox,
        source_date_epoch=int(os.environ.get("SOURCE_DATE_EPOCH", "0")),
    )


if __name__ == "__main__":
    sys.exit(main())
