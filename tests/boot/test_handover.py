"""The facts as a shell reads them, and the record of the start as a cpio archive."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.boot.cmdline import MAX_LENGTH, compose, parse_options
from bootsvc.boot.handover import CPIO_NAME, start_cpio
from bootsvc.formats.boot_status import Area
from bootsvc.formats.verity import Verity
from tests.boot.facts import HANDOVER

FACTS = {
    "complete": HANDOVER,
    "no data": replace(HANDOVER, data_node="", data_guid="", area=Area.BACKUP, is_trial=False),
    "alarm": replace(HANDOVER, alarm="io_error", overlay="kept"),
    "disk": replace(HANDOVER, root_offset=1048576, verity=Verity(3, 60, b"\x12" * 32)),
    "odd init": replace(HANDOVER, init="/sbin/init;&|<>*?()#~!é"),
}


@pytest.mark.parametrize("shell", [["dash"], ["busybox", "sh"]], ids=["dash", "busybox"])
@pytest.mark.parametrize("name", FACTS)
def test_a_shell_sources_back_what_was_written(tmp_path: Path, name: str, shell: list[str]) -> None:
    facts = FACTS[name]
    file = tmp_path / "handover.env"
    file.write_text(facts.env_text())
    subprocess.run([*shell, "-n", file], check=True)
    names = [line.partition("=")[0] for line in facts.env_text().splitlines()]
    script = f". {shlex.quote(str(file))}\n" + "".join(
        f'printf "%s\\n" "{name}=${name}"\n' for name in names
    )
    done = subprocess.run([*shell, "-euc", script], capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert found == {
        "BOOTSVC_AREA": facts.area.name.lower(),
        "BOOTSVC_IDENTITY": facts.identity.hex(),
        "BOOTSVC_TRANSACTION": facts.transaction.hex(),
        "BOOTSVC_TRIAL": "1" if facts.is_trial else "0",
        "BOOTSVC_ROOT": facts.root_node,
        "BOOTSVC_DATA": facts.data_node,
        "BOOTSVC_OVERLAY": facts.overlay,
        "BOOTSVC_INIT": facts.init,
        "BOOTSVC_CONFIRM_LIMIT_S": "300",
        "BOOTSVC_ALARM": facts.alarm,
        "BOOTSVC_SLOT": facts.slot,
        "BOOTSVC_ROOT_OFFSET": "1048576" if facts.root_offset else "",
        "BOOTSVC_VERITY": f"3:60:{'12' * 32}" if facts.verity else "",
        "BOOTSVC_MAPPED": "",
    }


def test_kernel_options_carry_the_same_facts_and_nothing_that_is_empty() -> None:
    assert HANDOVER.kernel_facts() == {
        "area": "primary",
        "identity": HANDOVER.identity.hex(),
        "transaction": HANDOVER.transaction.hex(),
        "trial": "1",
        "overlay": "volatile",
        "confirm_limit_s": "300",
        "data": f"PARTUUID={HANDOVER.data_guid}",
        "slot": "b",
    }
    bare = FACTS["no data"].kernel_facts()
    assert not {"data", "alarm"} & set(bare)
    assert all(bare.values())
    assert FACTS["alarm"].kernel_facts()["alarm"] == "io_error"
    assert FACTS["disk"].kernel_facts()["root_offset"] == "1048576"
    assert FACTS["disk"].kernel_facts()["verity"] == f"3:60:{'12' * 32}"


def test_facts_leave_most_of_the_command_line_to_the_image() -> None:
    line = compose("", HANDOVER.root_guid, HANDOVER.init, FACTS["alarm"].kernel_facts())
    assert len(line) < MAX_LENGTH // 3
    read = parse_options(line)
    assert read["bootsvc.data"] == f"PARTUUID={HANDOVER.data_guid}"


@pytest.mark.parametrize("text", ["", "x", "ab", "abc", "abcd", "é" * 5000])
def test_the_record_of_the_start_is_an_archive_that_cpio_reads(tmp_path: Path, text: str) -> None:
    document = {"schema": 1, "entries": [{"text": text}]}
    archive = start_cpio(document)
    assert len(archive) % 4 == 0
    listed = subprocess.run(
        ["cpio", "-tv", "--quiet"], input=archive, capture_output=True, check=True
    ).stdout.decode()
    assert listed.startswith("-r--r--r--")
    assert listed.split()[-1] == CPIO_NAME
    assert len(listed.splitlines()) == 1
    subprocess.run(
        ["cpio", "-i", "--quiet"], input=archive, cwd=tmp_path, check=True, capture_output=True
    )
    assert json.loads((tmp_path / CPIO_NAME).read_text()) == document
