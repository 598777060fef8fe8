"""``bootsvc stage``: all checks first, then the staging area, then the request (DESIGN 4)."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import progress, show, show_note
from bootsvc.cli.parsing import disk_path, own_start

if TYPE_CHECKING:
    from bootsvc.os_side.machine import Machine
    from bootsvc.sequence.checks import Site
    from bootsvc.settings import Settings
    from bootsvc.storage.device import Device
    from bootsvc.storage.image_area import Footer


def run_stage(args: argparse.Namespace) -> ExitCode:
    """Check an image, put it into staging, ask for the update."""
    from bootsvc.os_side.machine import open_machine
    from bootsvc.storage.image_file import open_bimg

    accepted = load_accepted(args)
    with (
        open_bimg(args.image) as (source, footer),
        open_machine(disk_path(args), writable=True, on_wait=show_note) as machine,
    ):
        put_into_staging(machine, source, footer, args.image.name, accepted, args)
    show_next(args)
    return ExitCode.OK


@dataclass(frozen=True)
class Accepted:
    """What this machine accepts, and its settings."""

    site: Site
    settings: Settings


def load_accepted(args: argparse.Namespace) -> Accepted:
    """By ``--keys`` and ``--settings``. Raises as ``os_side.site.load_site``."""
    from bootsvc.os_side.site import load_public_keys
    from bootsvc.sequence.checks import Site
    from bootsvc.settings import DEFAULT_PATH, KEYS_DIR, load

    settings = load(args.settings or DEFAULT_PATH)
    return Accepted(Site(load_public_keys(args.keys or KEYS_DIR), settings.compatible), settings)


def put_into_staging(
    machine: Machine,
    source: Device,
    footer: Footer,
    name: str,
    accepted: Accepted,
    args: argparse.Namespace,
    *,
    spared: frozenset[bytes] = frozenset(),
) -> None:
    """Check an image, put it into staging, ask for the update unless ``--no-request``.

    Args:
        name: what messages call the image.
        spared: identities of restore points that must not go for a new one.
    """
    from bootsvc.cli.keeping import keep_before_update
    from bootsvc.sequence.checks import verify_whole
    from bootsvc.sequence.staging import StagedImage, UpdateRequest, write_staging
    from bootsvc.units import describe_size

    _check_stageable(machine, footer, name, accepted.site, args)
    with progress(f"check {name}", footer.manifest.size) as bar:
        _, leaves = verify_whole(source, accepted.site, bar.tick, footer)
    if not args.no_request:
        keep_before_update(machine, accepted.settings, footer.identity, args, spared=spared)
    image = StagedImage(source, footer, leaves)
    request = None if args.no_request else UpdateRequest(os.urandom(16), again=args.again)
    counts = write_staging(machine.disk, machine.status, image, request, progress)
    show(
        f"written {describe_size(counts.written)}, unchanged {describe_size(counts.skipped)}, "
        "read back in full"
    )
    manifest = footer.manifest
    show(f"staged: number {manifest.number}, label {manifest.label}, identity "
         f"{footer.identity.hex()[:12]}")  # fmt: skip


def show_next(args: argparse.Namespace) -> None:
    """Say what comes of an image that stands in staging now."""
    if args.no_request:
        show("nothing is asked of the next start (--no-request)")
    else:
        show("the next start checks and installs it; to start now: reboot")


def _check_stageable(
    machine: Machine, footer: Footer, name: str, site: Site, args: argparse.Namespace
) -> None:
    """Everything that can be refused without reading the whole image; nothing is written."""
    from bootsvc.errors import SequenceError
    from bootsvc.formats.boot_status import Phase
    from bootsvc.sequence.checks import check_installable
    from bootsvc.sequence.requests import check_stageable, check_staging_not_running

    status = machine.status
    check_stageable(status)
    check_staging_not_running(own_start(args))
    check_installable(footer, site, status, machine.disk.areas.values(), again=args.again)
    runs_already = status.phase is Phase.IDLE and footer.identity == status.primary.identity
    if runs_already and not args.no_request:
        raise SequenceError(
            f"{name} is the image in primary already",
            hint="there is nothing to update; --no-request keeps it in staging for repairs",
        )
