"""What the updater handed over, as the running OS reads it."""

from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.boot.cmdline import compose
from bootsvc.formats.boot_status import Area
from bootsvc.os_side.started import parse_cmdline, parse_env, read_this_start
from tests.boot import facts

HANDOVER = replace(facts.HANDOVER, alarm="io_error")


def test_handover_file_is_read_as_the_updater_writes_it() -> None:
    found = parse_env(HANDOVER.env_text())
    assert found is not None
    assert found.started.area is Area.PRIMARY
    assert found.started.identity == HANDOVER.identity
    assert found.started.transaction == HANDOVER.transaction
    assert found.is_trial
    assert found.root == "/dev/vda4"
    assert found.alarm == "io_error"
    assert found.slot == "b"


def test_kernel_options_are_read_as_the_updater_composes_them() -> None:
    found = parse_cmdline(
        compose("quiet", HANDOVER.root_guid, HANDOVER.init, HANDOVER.kernel_facts())
    )
    assert found is not None
    assert found.started.identity == HANDOVER.identity
    assert found.started.transaction == HANDOVER.transaction
    assert found.is_trial
    assert found.root == f"PARTUUID={HANDOVER.root_guid}"
    assert found.slot == "b"


@pytest.mark.parametrize(
    "change",
    [
        ("BOOTSVC_AREA='primary'", "BOOTSVC_AREA='elsewhere'"),
        ("BOOTSVC_AREA='primary'", ""),
        (HANDOVER.identity.hex(), HANDOVER.identity.hex()[:-1]),
        (HANDOVER.identity.hex(), "zz" * 32),
        (HANDOVER.transaction.hex(), ""),
        ("'300'", "'300"),
    ],
)
def test_incomplete_or_damaged_facts_are_no_facts(change: tuple[str, str]) -> None:
    text = HANDOVER.env_text()
    assert change[0] in text
    assert parse_env(text.replace(*change)) is None


@pytest.mark.parametrize("area", ["primary", "backup", "staging"])
def test_a_system_knows_whichever_area_it_was_started_from(area: str) -> None:
    found = parse_env(HANDOVER.env_text().replace("'primary'", f"'{area}'"))
    assert found is not None
    assert found.started.area is Area[area.upper()]


def test_plain_start_of_another_system_has_no_facts(tmp_path: Path) -> None:
    cmdline = tmp_path / "cmdline"
    cmdline.write_text("BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet\n")
    assert read_this_start(tmp_path / "none", cmdline) is None


def test_handover_file_goes_before_the_kernel_options(tmp_path: Path) -> None:
    env, cmdline = tmp_path / "handover.env", tmp_path / "cmdline"
    env.write_text(HANDOVER.env_text().replace("'primary'", "'backup'"))
    cmdline.write_text(compose("", HANDOVER.root_guid, HANDOVER.init, HANDOVER.kernel_facts()))
    found = read_this_start(env, cmdline)
    assert found is not None
    assert found.started.area is Area.BACKUP
    env.unlink()
    found = read_this_start(env, cmdline)
    assert found is not None
    assert found.started.area is Area.PRIMARY
