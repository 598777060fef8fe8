"""How this machine comes to another version of its store: what is planned, and step 1 of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bootsvc.chains.check_chain import Version
from bootsvc.chains.strategy import Client, Cost, Decision, Server, Strategy, decide
from bootsvc.errors import BootsvcError, RottenHereError, StoreDamagedError, UpdateError
from bootsvc.formats.boot_status import Area
from bootsvc.formats.catalogue import Catalogue, CatalogueEntry
from bootsvc.formats.manifest import Manifest
from bootsvc.os_side.machine import Machine
from bootsvc.os_side.store_client import StoreClient
from bootsvc.sequence.checks import Site, check_installable
from bootsvc.sequence.requests import check_stageable
from bootsvc.sequence.staging import ShowWork, UpdateRequest
from bootsvc.storage.image_area import read_footer
from bootsvc.transfer.block_update import USUAL, AtOnce, Updated, update_staging
from bootsvc.transfer.held import HeldImage, held_in
from bootsvc.transfer.plan import Plan, complete, make_plan

AREAS = (Area.PRIMARY, Area.BACKUP)


@dataclass(frozen=True)
class PlannedUpdate:
    """What an update would do.

    Attributes:
        goal: the version that is to be here.
        decision: strategy, moves, reason and bytes (S2.18).
        plan: where each block comes from.
    """

    goal: CatalogueEntry
    decision: Decision
    plan: Plan


def running_manifest(machine: Machine) -> Manifest:
    """The manifest of the image that the machine works with: primary's, or backup's where primary
    is no use.

    Raises:
        UpdateError: neither has a footer.
    """
    status = machine.status
    for area in AREAS:
        try:
            footer = read_footer(machine.disk.areas[area])
        except BootsvcError:
            continue
        if footer.identity == status.area(area).identity:
            return footer.manifest
    raise UpdateError(
        "neither primary nor backup holds the image that the record names",
        hint="see: bootsvc verify",
    )


def plan_update(
    machine: Machine,
    client: StoreClient,
    catalogue: Catalogue,
    goal: CatalogueEntry,
    more_held: Sequence[HeldImage] = (),
    *,
    without: frozenset[str] = frozenset(),
    by_delta: bool = True,
) -> PlannedUpdate:
    """Find out how to come to ``goal``; fetches its recipe and headers, writes nothing.

    Args:
        more_held: images of this machine beside those in its areas: restore points. They are asked
            only where the areas do not give all.
        without: names of images here that gave wrong blocks.

    Raises:
        UpdateError: the store does not have it any more.
        FreshnessError, NetworkError, StoreDamagedError: the store cannot be read, or believed.
    """
    document = client.document(goal.identity)
    if document is None:
        raise UpdateError(f"the store names number {goal.number} and does not have it")
    areas = {one.name.lower(): machine.disk.areas[one] for one in AREAS}
    good = held_in((name, area) for name, area in areas.items() if name not in without)
    held = list(good)
    plan = make_plan(client.remotes, document, held, client.document, by_delta=by_delta)
    more_held = [one for one in more_held if one.name not in without]
    if plan.fetch_size and more_held:
        held += more_held
        plan = make_plan(client.remotes, document, held, client.document, by_delta=by_delta)
    decision = _decide(machine, catalogue, goal, plan, held)
    return PlannedUpdate(goal, decision, plan)


def _decide(
    machine: Machine,
    catalogue: Catalogue,
    goal: CatalogueEntry,
    plan: Plan,
    held: Sequence[HeldImage],
) -> Decision:
    versions = tuple(Version(one.identity, one.parent, one.number) for one in catalogue.versions)
    known = {one.identity: one for one in versions}
    status = machine.status
    area = Area.PRIMARY if any(status.primary.identity) else Area.BACKUP
    current = status.area(area).identity
    here = tuple(known.get(one.identity) or Version(one.identity, None, one.number) for one in held)

    def cost(strategy: Strategy, _path: tuple[bytes, ...]) -> Cost:
        return Cost(0 if strategy is Strategy.STOP else plan.fetch_size, goal.size)

    return decide(Server(versions, goal.identity), Client(current, here), cost)


def fetch_goal(
    machine: Machine,
    client: StoreClient,
    goal: bytes,
    replan: Callable[[frozenset[str], bool], PlannedUpdate],
    site: Site,
    show_work: ShowWork,
    say: Callable[[str], None],
    *,
    is_requested: bool,
    again: bool = False,
    at_once: AtOnce = USUAL,
) -> Updated:
    """Step 1: make staging hold the goal.

    An image of this machine that gives wrong blocks is left out, and so is a delta that does;
    what was fetched until then stays.

    Args:
        goal: its identity.
        replan: ``plan_update`` for given images to leave out, by a delta or without.
        is_requested: the next start is asked to install it (step 2).

    Raises:
        ImageError: it may not be installed here; nothing was written.
        StoreDamagedError, NetworkError: no remote gives right blocks.
        StorageError: the disk failed.
    """
    without: frozenset[str] = frozenset()
    by_delta = True
    client.remotes.spool.begin(goal)
    while True:
        planned = replan(without, by_delta)
        check_stageable(machine.status)
        check_installable(
            planned.plan.footer, site, machine.status, machine.disk.areas.values(), again=again
        )
        client.fresh.rest()
        request = UpdateRequest(os.urandom(16), again=again) if is_requested else None
        try:
            with show_work("fetch digests", planned.plan.digests_size) as work:
                assembly = complete(planned.plan, client.remotes, work.tick)
            return update_staging(
                machine.disk,
                machine.disk.status.read(),
                assembly,
                client.remotes,
                request,
                show_work,
                at_once=at_once,
            )
        except RottenHereError as exc:
            say(f"{exc}; the image there is left out")
            without |= {exc.name}
        except StoreDamagedError as exc:
            if planned.plan.base is None:
                raise
            say(f"{exc}: fetched without the delta")
            by_delta = False
