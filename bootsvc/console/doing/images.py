"""An image is installed from elsewhere: a USB disk, a second disk, a server; and how that is
reached. Which image may be installed is the sequence's business, whoever asks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bootsvc.console.actions import LOOK, Outcome, Then
from bootsvc.console.doing.disks import named_or_numbered
from bootsvc.formats.boot_status import Area, Phase
from bootsvc.formats.describe import next_start
from bootsvc.sequence import by_hand
from bootsvc.sequence.staging import UpdateRequest
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.boot.download import Fetched
    from bootsvc.boot.sources import FoundImage
    from bootsvc.console.perform import Session
    from bootsvc.formats.addresses import Address


def install(session: Session, answers: Mapping[str, str]) -> Outcome:
    """List what could be installed from, or put an image into staging and have it installed."""
    answer = answers["source"]
    if answer == LOOK:
        return _look_around(session)
    source = _full_source(session, named_or_numbered(session, "install", answer))
    return _install_from(session, source)


def _install_from(session: Session, source: str) -> Outcome:
    runner = session.used_runner
    if runner.status is not None or not session.problem:
        runner.check_askable()
    failed = runner.status.failed if runner.status else ()
    fetched = _fetch(session, source)
    if _is_stuck(session) and runner.status is not None:
        with session.breakable():
            by_hand.install_over_nothing(runner)
    manifest, identity = fetched.footer.manifest, fetched.footer.identity
    lines = [f"{fetched.summary}."]
    if identity in failed:
        lines.append("It failed on this machine before, and is tried once more because you ask.")
    if runner.status is not None:
        lines.append(f"Next: {next_start(runner.status)}.")
    return Outcome(
        is_done=True,
        lines=tuple(lines),
        then=Then.GO_ON,
        facts=(
            ("number", manifest.number),
            ("label", manifest.label),
            ("identity", identity.hex()),
            ("fetched", fetched.fetched),
        ),
    )


def _fetch(session: Session, source: str) -> Fetched:
    """Put the image into staging, verified and read back; asked for, unless nothing can be."""
    from bootsvc.boot.download import fetch_into_staging
    from bootsvc.formats.url import is_url, parse_url

    is_on_server = is_url(source)
    if is_on_server:
        parse_url(source)  # a mistyped address waits for no network
    runner, is_stuck = session.used_runner, _is_stuck(session)
    # Whoever names an image wants it, even if it failed here before.
    request = None if is_stuck else UpdateRequest(os.urandom(16), again=True)
    status = None if is_stuck else runner.status
    try:
        with session.breakable():
            if is_on_server and _address_of(session) is None:
                _bring_up(session, session.settings.network)
            return fetch_into_staging(
                source, runner.disk, status, runner.start.site, session.reporter, request
            )
    finally:
        runner.look_afresh(Area.STAGING)


def _is_stuck(session: Session) -> bool:
    """The machine has halted in a phase that takes no request: nothing it holds can be started, so
    nothing is lost by installing over it. HALT itself takes requests, as every settled phase."""
    status = session.used_runner.status
    return status is None or (bool(session.problem) and status.phase is not Phase.HALT)


# --- where from ---------------------------------------------------------------------------------


def _look_around(session: Session) -> Outcome:
    from bootsvc.boot.sources import find_images

    runner = session.used_runner
    found = find_images(runner.disk.device.name, runner.start.site.keys)
    session.listed["install"] = tuple(one.source for one in found)
    failed = runner.status.failed if runner.status else ()
    lines = [f"{number}: {_described(one, failed)}" for number, one in enumerate(found, 1)]
    if lines:
        lines.append("To install one: install and its number, or an address http://...")
    else:
        lines.append("No image was found on another disk. An address http://... can be typed.")
    return Outcome(
        is_done=True,
        lines=tuple(lines),
        facts=(("images", [{"source": one.source, "number": one.number} for one in found]),),
    )


def _described(image: FoundImage, failed: tuple[bytes, ...]) -> str:
    if image.problem:
        return f"{image.source}: {image.problem}"
    known = ", failed here before" if image.identity in failed else ""
    return (
        f"{image.source}: number {image.number} ({image.label}), {describe_size(image.size)}, "
        f"signed by {image.signed_by}{known}"
    )


def _full_source(session: Session, source: str) -> str:
    """A bare name is looked for on the mirror, where there is one."""
    if session.mirror and "/" not in source:
        return f"{session.mirror.rstrip('/')}/{source}"
    return source


# --- the network --------------------------------------------------------------------------------


def set_address(session: Session, answers: Mapping[str, str]) -> Outcome:
    """Bring the network up, in this start only."""
    with session.breakable():
        address = _bring_up(session, answers["address"])
    line = f"The network is up: {address}. The next start asks again."
    return Outcome(is_done=True, lines=(line,), facts=(("address", str(address)),))


def set_mirror(session: Session, answers: Mapping[str, str]) -> Outcome:
    """Remember where images come from, in this start only."""
    from bootsvc.formats.url import parse_url

    session.mirror = str(parse_url(answers["url"]))
    line = f"In this start, install NAME takes {session.mirror.rstrip('/')}/NAME."
    return Outcome(is_done=True, lines=(line,), facts=(("mirror", session.mirror),))


def _address_of(session: Session) -> Address | None:
    return session.network.address if session.network else None


def _bring_up(session: Session, how: str) -> Address:
    from bootsvc.boot.network import Network
    from bootsvc.formats.addresses import parse_network

    wanted = parse_network(how)
    if session.network is None:
        session.network = Network(session.reporter)
    return session.network.bring_up(wanted, session.settings.network_wait_s)
