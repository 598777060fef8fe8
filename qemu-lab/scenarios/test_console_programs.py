"""Programs at the updater's console, over the port that speaks JSON."""

import pytest

from qemu_lab import Bad, ExpectationError, Machine, Stage
from qemu_lab.images import products
from qemu_lab.images.products import ProbeImage
from qemu_lab.subject import ProbeMaker, Subject

pytestmark = pytest.mark.vm

V1, V2 = ProbeImage(1), ProbeImage(2)


def connected(
    probe: ProbeMaker,
    *options: str,
    update: ProbeImage | None = None,
    has_port: bool = True,
) -> Subject:
    """A machine whose updater the lab can drive; QEMU starts it itself, which is quicker."""
    base = Machine(
        kernel=products.kernel("cloud").vmlinuz,
        initrd=products.updater("cloud"),
        append=" ".join((products.CONSOLE, products.QUICK, "quiet panic=10", *options)),
        updater_port=has_port,
    )
    return probe(V1, update=update, base=base)


def test_a_program_holds_a_start_verifies_an_area_and_starts_the_backup_once(
    probe: ProbeMaker,
) -> None:
    machine = connected(probe)
    machine.power_on()
    updater = machine.vm.updater
    facts = updater.hold()
    assert facts["next"] == "start primary"
    assert facts["status"]["phase"] == "idle"
    assert facts["areas"]["primary"]["number"] == 1
    record = machine.record()
    verified = updater.perform("verify", area="primary").require()
    assert verified.facts == {"primary": "verified"}
    assert updater.facts()["areas"]["primary"]["check"] == "verified"
    assert updater.perform("boot-once", area="backup").then == "boot"
    machine.runs(1, area="backup")
    assert machine.record().raw == record.raw
    machine.restart()
    machine.runs(1)


@pytest.mark.thorough
def test_what_is_no_request_hurts_nothing_and_the_start_goes_on_when_asked(
    probe: ProbeMaker,
) -> None:
    machine = connected(probe)
    machine.power_on()
    updater = machine.vm.updater
    updater.hold()
    updater.send(b"reboot\n" + b"[" * 4000 + b"\n" + b"x" * 200_000 + b'\n\xff\n{"do":7}\n')
    updater.send(b'{"do":"perform","action":"reboot","arguments":{"now":["yes"]}}\n')
    with pytest.raises(ExpectationError, match="no such request"):
        updater.ask("facts", do="reboot")
    assert len(updater.told("error")) == 7
    outcome = updater.perform("verify", area="primry")
    assert not outcome.is_done
    assert updater.perform("go-on").is_done
    machine.runs(1)
    assert not updater.noise


@pytest.mark.thorough
def test_a_program_that_never_reads_delays_no_update(probe: ProbeMaker) -> None:
    machine = connected(probe, update=V2)
    machine.vm.updater.is_read = False
    machine.power_on()
    machine.runs(1)
    machine.stage()
    machine.restart()
    for stage in (Stage.CHECK, Stage.COPY, Stage.TRIAL):
        machine.wait(stage)
    machine.runs(2, trial=True)


def test_a_program_follows_an_update_that_nobody_holds(probe: ProbeMaker) -> None:
    machine = connected(probe, update=V2)
    machine.power_on()
    machine.runs(1)
    machine.stage()
    machine.restart()
    machine.runs(2, trial=True)
    updater = machine.vm.updater
    names = [stage["name"] for stage in updater.told("stage")]
    assert [name for name in names if name in ("check", "copy", "trial", "handover")] == [
        "check",
        "copy",
        "trial",
        "handover",
    ]
    copied = next(work for work in updater.told("worked") if work["work"] == "copy")
    assert copied["written"] > 0
    phases = [(one["phase"], one["phases"]) for one in updater.told("progress")]
    assert phases
    assert all(0 < phase <= of for phase, of in phases)


@pytest.mark.thorough
def test_a_machine_that_halts_is_driven_from_outside(probe: ProbeMaker) -> None:
    machine = connected(probe)
    for area in ("bootsvc-primary", "bootsvc-backup"):
        _, size = machine.range_of(area)
        machine.damage(area, size - 4096, bytes(4096))
    machine.power_on()
    updater = machine.vm.updater
    with machine.vm.console.expecting(Bad.HALT):
        machine.wait(Stage.HALT)
        assert updater.facts()["problem"]
        verified = updater.perform("verify", area="all").require()
        assert "verified" not in verified.facts.values()
        assert not updater.perform("boot-once", area="backup").is_done
        assert updater.perform("power-off").then == "power-off"
        machine.vm.wait_off(30)


@pytest.mark.thorough
def test_a_program_that_hangs_up_leaves_a_machine_that_goes_on_by_itself(
    probe: ProbeMaker,
) -> None:
    machine = connected(probe, "bootsvc.console_idle_s=5")
    machine.power_on()
    updater = machine.vm.updater
    updater.hold()
    assert 0 < updater.told("stays")[-1]["goes_on_in_s"] <= 5
    updater.detach()
    machine.runs(1)


@pytest.mark.thorough
def test_json_takes_the_place_of_peoples_text_on_the_console_itself(probe: ProbeMaker) -> None:
    options = ("bootsvc.json=console", "bootsvc.console_wait_s=5")
    machine = connected(probe, *options, has_port=False)
    machine.power_on()
    console = machine.vm.console
    console.wait_for_text('{"tell":"hello","schema":1', 90)
    console.send('{"do":"hold","id":"1"}\n')
    console.wait_for_text('"id":"1"}', 30)
    console.send('{"do":"perform","action":"verify","arguments":{"area":"backup"},"id":"2"}\n')
    console.wait_for_text('"action":"verify","is_done":true', 60)
    console.send('{"do":"perform","action":"go-on"}\n')
    machine.runs(1)
    assert "stage=handover" not in console.transcript.path.read_text()
