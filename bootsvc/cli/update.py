"""``bootsvc plan`` and ``bootsvc update``: this machine and its image store."""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.keeping import keep_before_update
from bootsvc.cli.output import progress, show, show_json, show_note
from bootsvc.cli.parsing import (
    RUN_DIR,
    Groups,
    add_keys,
    add_settings,
    disk_path,
    is_own_disk,
    new_disk_command,
    own_start,
)
from bootsvc.cli.store_content import match
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.formats.catalogue import Catalogue, CatalogueEntry
    from bootsvc.os_side.machine import Machine
    from bootsvc.os_side.store_client import StoreClient
    from bootsvc.os_side.updating import PlannedUpdate
    from bootsvc.sequence.checks import Site
    from bootsvc.settings import Settings
    from bootsvc.storage.image_area import CopyCounts

PLAN_TEXT = """\
Reads the store's catalogue, and a recipe of some kilobytes; writes nothing.

strategies: stop (nothing to do), incremental (one move along the chain), full (several moves, or
none that is known), rollback (an earlier version that is here). Whatever its name, only blocks that
are nowhere on this machine are fetched.

examples:
  bootsvc plan                 how to come to the newest version that this machine is offered
  bootsvc plan 7 --json | jq .fetch_size
"""

UPDATE_TEXT = """\
Without an option it does the next step only:
  step 1  fetch the version into staging, block by block -> waiting for installation
  step 2  ask the next start to install it               -> waiting for restart
  step 3  restart
What was fetched when it was cut off, by anything, is not fetched again.

examples:
  bootsvc update               the next step to the newest version that this machine is offered
  bootsvc update --restart     all steps
  bootsvc update 7 --install   number 7 up to waiting for restart
"""


def add_commands(groups: Groups) -> None:
    """Add ``plan`` and ``update``."""
    plan = new_disk_command(
        groups, "plan", "show how this machine would come to another version", PLAN_TEXT
    )
    _add_common(plan)
    plan.add_argument("--json", action="store_true", help="for programs")
    plan.set_defaults(run=run_plan)

    update = new_disk_command(
        groups, "update", "update this machine from its image store", UPDATE_TEXT
    )
    _add_common(update)
    update.add_argument(
        "--again", action="store_true", help="take it although it failed on this machine before"
    )
    how_far = update.add_mutually_exclusive_group()
    how_far.add_argument(
        "--install", action="store_true", help="go on until it waits for the restart"
    )
    how_far.add_argument("--restart", action="store_true", help="go on, and restart")
    update.set_defaults(run=run_update)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "version",
        metavar="VERSION",
        nargs="?",
        help="number, label, or identity's beginning (default: the newest that is offered)",
    )
    add_keys(parser)
    add_settings(parser)
    parser.add_argument(
        "--root",
        metavar="FILE",
        type=Path,
        help="root metadata of the store (default: /etc/bootsvc/root.json)",
    )


def run_plan(args: argparse.Namespace) -> ExitCode:
    """Show strategy, moves, reason and bytes before anything is done (S2.18)."""
    from bootsvc.os_side.machine import open_machine

    with open_machine(disk_path(args), writable=False) as machine, _store(args) as store:
        catalogue, goal = _goal(machine, store, args)
        planned = _plan(machine, store, catalogue, goal, args)
        read = store.client.throttle.total
    if args.json:
        show_json(_document(planned, read))
    else:
        show(_text(planned, read))
    return ExitCode.OK


def run_update(args: argparse.Namespace) -> ExitCode:
    """Do the next step, or all up to the one that is asked for (S0.18-S0.20)."""
    from bootsvc.os_side.freed_memory import give_back_freed_buffers
    from bootsvc.os_side.machine import open_machine
    from bootsvc.sequence.update_status import UpdateStatus, update_state

    give_back_freed_buffers()
    with (
        open_machine(disk_path(args), writable=True, on_wait=show_note) as machine,
        _store(args) as store,
    ):
        state = update_state(machine.status).status
        if state is not UpdateStatus.WAITING_FOR_RESTART:
            catalogue, goal = _goal(machine, store, args)
            if not _advance(machine, store, catalogue, goal, args):
                show(f"number {goal.number}, label {goal.label}, runs already; nothing to do")
                return ExitCode.OK
        status = machine.disk.status.read()
        state = update_state(status).status
    show(f"update status: {state}")
    if state is UpdateStatus.WAITING_FOR_RESTART:
        if args.restart:
            subprocess.run(["systemctl", "reboot"], check=True)
        else:
            show("the next start checks and installs it; to start now: reboot")
    return ExitCode.OK


def _advance(
    machine: Machine,
    store: _Store,
    catalogue: Catalogue,
    goal: CatalogueEntry,
    args: argparse.Namespace,
) -> bool:
    """Step 1, step 2, or both; False where the goal runs already."""
    from bootsvc.formats.boot_status import AreaState, Phase
    from bootsvc.os_side.updating import fetch_goal
    from bootsvc.sequence.requests import check_staging_not_running, update_requested

    status = machine.status
    if status.phase is Phase.IDLE and status.primary.identity == goal.identity:
        return False
    staged = status.staging
    is_staged = staged.state is AreaState.VALID and staged.identity == goal.identity
    if not is_staged:
        check_staging_not_running(own_start(args))
    if is_staged or args.install or args.restart:
        keep_before_update(machine, store.settings, goal.identity, args)
    if is_staged:
        requested = update_requested(status, staged, os.urandom(16), again=args.again)
        machine.disk.status.replace(requested)
        return True
    updated = fetch_goal(
        machine,
        store.client,
        goal.identity,
        lambda without, by_delta: _plan(
            machine, store, catalogue, goal, args, without=without, by_delta=by_delta
        ),
        store.site,
        progress,
        show_note,
        is_requested=args.install or args.restart,
        again=args.again,
    )
    show(
        f"number {goal.number}, label {goal.label}, stands in staging, read back in full: fetched"
        f" {describe_size(store.client.throttle.total)}, taken from this machine"
        f" {describe_size(updated.local)}, there already {describe_size(updated.resumed)}"
    )
    for name, tally in store.client.remotes.tallies.items():
        if tally.bad:
            show_note(f"bootsvc: {name} sent wrong blocks {tally.bad} times")
    return True


# --- the store ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Store:
    client: StoreClient
    settings: Settings
    site: Site


@contextmanager
def _store(args: argparse.Namespace) -> Iterator[_Store]:
    """The store of this machine's settings."""
    from bootsvc.os_side.site import load_public_keys
    from bootsvc.os_side.store_client import ROOT_PATH, open_store
    from bootsvc.sequence.checks import Site
    from bootsvc.settings import DEFAULT_PATH, KEYS_DIR, load
    from bootsvc.units import KIB

    settings = load(args.settings or DEFAULT_PATH)
    site = Site(load_public_keys(args.keys or KEYS_DIR), settings.compatible)
    rate = settings.store_rate_kib_s * KIB
    data = _data_folder(args)
    with open_store(settings.stores, args.root or ROOT_PATH, data, rate, _Notes()) as client:
        yield _Store(client, settings, site)


def _data_folder(args: argparse.Namespace) -> Path:
    """Where this machine keeps what it has seen: data, or memory where it has none."""
    from bootsvc.os_side.restore_points import usable_data

    data = usable_data(RUN_DIR) if is_own_disk(args) else None
    if data is None:
        show_note("bootsvc: no data partition takes writes: an old state of the store would pass")
        RUN_DIR.mkdir(exist_ok=True)
    return data or RUN_DIR


def _goal(
    machine: Machine, store: _Store, args: argparse.Namespace
) -> tuple[Catalogue, CatalogueEntry]:
    from bootsvc.os_side.store_client import offered
    from bootsvc.os_side.updating import running_manifest

    catalogue = store.client.catalogue(running_manifest(machine).lineage)
    if args.version:
        return catalogue, match(catalogue.versions, args.version)
    return catalogue, offered(
        catalogue.versions,
        store.site.compatible,
        int(time.time()),
        machine.status,
        takes_tests=store.settings.take_test_versions,
    )


def _plan(
    machine: Machine,
    store: _Store,
    catalogue: Catalogue,
    goal: CatalogueEntry,
    args: argparse.Namespace,
    *,
    without: frozenset[str] = frozenset(),
    by_delta: bool = True,
) -> PlannedUpdate:
    from bootsvc.os_side.held_points import held_points
    from bootsvc.os_side.restore_points import usable_data
    from bootsvc.os_side.updating import plan_update

    data = usable_data(RUN_DIR) if is_own_disk(args) else None
    return plan_update(
        machine,
        store.client,
        catalogue,
        goal,
        held_points(data) if data else (),
        without=without,
        by_delta=by_delta,
    )


class _Notes:
    """A watch (``boot.watch``) that only says what is worth a line."""

    def say(self, text: str) -> None:
        show_note(f"bootsvc: {text}")

    def begin(self, work: str, total: int) -> None:
        pass

    def tick(self, count: int) -> None:
        pass

    def end(self, counts: CopyCounts | None = None) -> None:
        pass

    def wait(self, _what: str, _limit_s: float | None, _then: str) -> Callable[[], None]:
        return lambda: None


# --- words --------------------------------------------------------------------------------------


def _text(planned: PlannedUpdate, read: int) -> str:
    decision, plan, goal = planned.decision, planned.plan, planned.goal
    moves = "no way along the chain is known" if decision.moves is None else f"{decision.moves}"
    way = f"by the delta from {plan.base.name}" if plan.base else "blocks as they are"
    lines = [
        ("goal", f"number {goal.number}, label {goal.label} ({goal.identity.hex()[:12]})"),
        ("strategy", f"{decision.strategy.value}: {decision.words()}"),
        ("moves", f"{moves}{', back' if decision.is_back else ''}"),
        ("to fetch", f"{describe_size(plan.fetch_size)} of {describe_size(goal.size)}, {way}"),
        ("from here", describe_size(plan.local_size)),
        ("read so far", f"{describe_size(read)}, to know this"),
    ]
    return "\n".join(f"{name:<13} {words}" for name, words in lines)


def _document(planned: PlannedUpdate, read: int) -> dict[str, object]:
    decision, plan, goal = planned.decision, planned.plan, planned.goal
    return {
        "schema": 1,
        "goal": {
            "identity": goal.identity.hex(),
            "number": goal.number,
            "label": goal.label,
            "size": goal.size,
        },
        "strategy": decision.strategy.value,
        "reason": decision.reason.name.lower(),
        "reason_text": decision.words(),
        "moves": decision.moves,
        "is_back": decision.is_back,
        "fetch_size": plan.fetch_size,
        "local_size": plan.local_size,
        "read_size": read,
        "delta_base": plan.base.identity.hex() if plan.base else None,
    }
