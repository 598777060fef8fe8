"""``bootsvc.install=SOURCE``: an image that this start has been told to install.

For machines that start over the network and for labs: the option may stand there at every start.
Where primary holds that image already, or it is on its way, nothing is done. Whatever fails is
said, and the start goes on with what it has; so it does where nothing gets on for too long,
however alive a server seems (F0.11). A key opens the console at once, unless the update is a forced
one, and another start goes on with the fetch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bootsvc.boot.download import Fetched, fetch_into_staging, read_offer
from bootsvc.boot.drivers import wake_new_hardware
from bootsvc.boot.network import Network
from bootsvc.boot.watch import STEP_S
from bootsvc.errors import BootsvcError
from bootsvc.formats.addresses import parse_network
from bootsvc.formats.boot_status import Area, AreaState, BootStatus, Request
from bootsvc.formats.url import is_url, parse_url
from bootsvc.sequence.requests import check_stageable
from bootsvc.sequence.runner import Reporter, Runner
from bootsvc.sequence.staging import UpdateRequest
from bootsvc.settings import Settings
from bootsvc.storage.image_area import read_footer


class KnockedError(Exception):
    """Somebody wants the console; not an error of ours, so that nothing is refused for it."""


class StalledError(Exception):
    """Nothing got on for too long; like the one above."""


class InstallReporter(Reporter, Protocol):
    """The runner's reporter, which also hears of waits (``watch.Watch``)."""

    on_progress: Callable[[], None]
    progressed_s: float

    def wait(self, what: str, limit_s: float | None, then: str) -> Callable[[], None]:
        """See ``watch.Watch``."""


def install_from(
    source: str,
    runner: Runner,
    settings: Settings,
    reporter: InstallReporter,
    is_knocked: Callable[[], bool],
    begins: Callable[[], None],
    network: Network | None = None,
) -> Fetched | None:
    """Fetch the image at ``source`` into staging and have the runner install it.

    Args:
        is_knocked: whether somebody wants the console; asked at each step.
        begins: called where there is an image to fetch, before it is.

    Returns:
        What was fetched; None where nothing was to be done, or it failed (which was said).
    """
    network = network or Network(reporter)
    heard = reporter.on_progress

    def heard_unless_over() -> None:
        heard()
        if is_knocked():
            raise KnockedError
        if time.monotonic() - reporter.progressed_s > settings.forced_lock_s:
            raise StalledError

    reporter.on_progress = heard_unless_over
    try:
        if runner.status is not None:
            check_stageable(runner.status)
        if is_url(source):
            parse_url(source)  # what is mistyped is said before a network is waited for
            network.bring_up(parse_network(settings.network), settings.network_wait_s)
        else:
            _await_node(source, settings.disk_wait_s, reporter)
        return _install(source, runner, reporter, begins)
    except BootsvcError as exc:
        reporter.say(f"bootsvc.install: {exc}; the start goes on without it")
        if exc.hint:
            reporter.say(exc.hint)
        return None
    except KnockedError:
        reporter.say("bootsvc.install: broken off for the console; what arrived is kept")
        return None
    except StalledError:
        reporter.end()
        reporter.say(
            f"ALARM bootsvc.install: no progress for {settings.forced_lock_s} s; the start goes on"
            " without it, the next one fetches the rest"
        )
        return None
    finally:
        reporter.on_progress = heard
        network.take_down()


def _install(
    source: str, runner: Runner, reporter: InstallReporter, begins: Callable[[], None]
) -> Fetched | None:
    reporter.stage("fetch", source=source)
    identity = read_offer(source, runner.disk, reporter).identity
    reason = _reason_to_leave(identity, runner.status, _identity_in_primary(runner))
    if reason:
        reporter.say(f"bootsvc.install: {reason}")
        return None
    begins()
    request = UpdateRequest(runner.start.fresh_id)
    try:
        fetched = fetch_into_staging(
            source, runner.disk, runner.status, runner.start.site, reporter, request
        )
    finally:
        runner.look_afresh(Area.STAGING)
    reporter.say(fetched.summary)
    return fetched


def _reason_to_leave(identity: bytes, status: BootStatus | None, in_primary: bytes) -> str:
    """Why the image need not be fetched, as a sentence; "" where it must be.

    Args:
        in_primary: identity of the image whose footer stands in primary, empty for none.
    """
    if identity == (in_primary if status is None else status.primary.identity):
        return "primary holds that image already"
    if (
        status is not None
        and status.request is Request.UPDATE
        and (status.staging.state, status.staging.identity) == (AreaState.VALID, identity)
    ):
        return "that image waits in staging already"
    return ""


def _identity_in_primary(runner: Runner) -> bytes:
    try:
        return read_footer(runner.disk.areas[Area.PRIMARY]).identity
    except BootsvcError:
        return b""


def _await_node(source: str, wait_s: float, reporter: InstallReporter) -> None:
    """A USB disk may appear seconds after the machine's own."""
    node = Path(source.partition(":")[0])
    looked = reporter.wait(f"{node}", wait_s, "the start goes on without it")
    deadline = time.monotonic() + wait_s
    while not node.exists() and time.monotonic() < deadline:
        wake_new_hardware()
        looked()
        time.sleep(STEP_S)
