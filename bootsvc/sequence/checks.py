"""Whether an image is fit to be used, or to be installed here (S4.6, DESIGN 4 CHECK).

Every refusal is an error of its own, raised before anything is written to an area.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bootsvc.errors import BelowFloorError, WrongMachineError
from bootsvc.formats.boot_status import BootStatus
from bootsvc.sequence.requests import check_not_failed
from bootsvc.storage.device import Device
from bootsvc.storage.image_area import (
    Footer,
    Tick,
    check_fits,
    check_signature,
    no_tick,
    read_footer,
    read_leaves,
    verify_content,
)
from bootsvc.trust.keys import PublicKey


@dataclass(frozen=True)
class Site:
    """What this machine accepts: trusted keys and its machine type."""

    keys: tuple[PublicKey, ...]
    compatible: str


def check_installable(
    footer: Footer,
    site: Site,
    status: BootStatus | None,
    targets: Iterable[Device],
    *,
    again: bool = False,
) -> None:
    """Raise the fitting ImageError unless the image may be installed here.

    Only the footer is looked at; ``verify_whole`` reads the content.

    Args:
        status: the record, for version floor and failed images; None where it is lost.
        again: it may be one that failed here before.
    """
    check_signature(footer, site.keys, installing=True)
    manifest = footer.manifest
    if manifest.compatible != site.compatible:
        raise WrongMachineError(
            f"the image is for machine type {manifest.compatible!r}, this is {site.compatible!r}",
            hint="choose the image for this machine type",
        )
    for target in targets:
        check_fits(footer, target)
    if status is None:
        return
    if manifest.number < status.version_floor:
        raise BelowFloorError(
            f"number {manifest.number} is below the version floor {status.version_floor}",
            hint="install a newer version",
        )
    check_not_failed(status, footer.identity, again=again)


def verify_whole(
    area: Device, site: Site, tick: Tick = no_tick, footer: Footer | None = None
) -> tuple[Footer, bytes]:
    """Footer and leaves of the image in ``area`` after all of it was read and found right.

    Raises:
        ImageError, FormatError: it may not be used; see ``storage.image_area``.
        StorageError: it cannot be read.
    """
    footer = footer or read_footer(area)
    check_signature(footer, site.keys, installing=False)
    leaves = read_leaves(area, footer)
    verify_content(area, leaves, tick)
    return footer, leaves
