"""The shell side of the updater: syntax, and the record parser of the fallback."""

import shutil
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootsvc.formats.boot_status import (
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Phase,
    StatusCode,
    build,
)
from bootsvc.formats.manifest import BootFile, BootSection, InnerPartition
from bootsvc.units import BLOCK_SIZE
from initramfs.contents import HERE
from tests.images import make_image, random_blocks, with_manifest

BUSYBOX = shutil.which("busybox")
COPY_1 = 2 * 1024 * 1024


def record(
    *,
    code: int = 1,
    area: int = 1,
    sequence: int = 1,
    version: int = 1,
    phase: int = 2,
    states: tuple[int, int] = (3, 2),
) -> bytes:
    """A record with only the fields that the shell reads, by struct alone."""
    body = struct.pack("<8sHHBBBBQ", b"BOOTSVC\0", version, 512, code, phase, area, 0, sequence)
    body = body.ljust(112, b"\0") + bytes([states[0]]).ljust(56, b"\0") + bytes([states[1]])
    body = body.ljust(508, b"\0")
    return body + struct.pack("<I", zlib.crc32(body))


def status_partition(folder: Path, copy_0: bytes, copy_1: bytes) -> Path:
    path = folder / "status"
    data = bytearray(4 * 1024 * 1024)
    data[: len(copy_0)] = copy_0
    data[COPY_1 : COPY_1 + len(copy_1)] = copy_1
    path.write_bytes(data)
    return path


def parse(folder: Path, device: Path) -> dict[str, str]:
    """Run record_read in busybox sh, with busybox's applets and no other program."""
    assert BUSYBOX, "busybox is missing: apt-get install busybox"
    bin_dir = folder / "bin"
    if not bin_dir.exists():
        bin_dir.mkdir()
        for name in ("od", "tr", "dd", "head", "tail", "gzip", "wc", "cut"):
            (bin_dir / name).symlink_to(BUSYBOX)
    script = (
        f'. {HERE / "record.sh"}\nrecord_read "{device}" "{folder}"\necho "result=$?"\n'
        'echo "area=$RECORD_AREA"\necho "code=$RECORD_CODE"\n'
        'echo "sequence=$RECORD_SEQUENCE"\necho "reason=$RECORD_REASON"\n'
        'echo "instead=$RECORD_INSTEAD"\n'
    )
    done = subprocess.run(
        [BUSYBOX, "sh", "-c", script],
        env={"PATH": str(bin_dir)},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("script", ["init", "record.sh", "overlay.sh"])
def test_scripts_are_valid_for_busybox_sh(script: str) -> None:
    assert BUSYBOX, "busybox is missing: apt-get install busybox"
    subprocess.run([BUSYBOX, "sh", "-n", HERE / script], check=True)


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-x", "-P", HERE.parent, HERE / "init", HERE / "record.sh"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def run_init(folder: Path, cmdline: str, *, no_shell: bool, more: str = "") -> list[str]:
    """Run init's own text in busybox sh with all that acts, and ``more``, replaced; returns what it
    says.

    The updater is missing, so Python "dies" and the fallback finds no record.
    """
    assert BUSYBOX, "busybox is missing: apt-get install busybox"
    (folder / "cmdline").write_text(cmdline + "\n")
    (folder / "uptime").write_text("1.00 2.00\n")
    mark = folder / "no-shell"
    if no_shell:
        mark.write_text("the console is locked with a password\n")
    text = (HERE / "init").read_text()
    for real, ours in (
        ("/usr/lib/bootsvc/record.sh", f"{HERE}/record.sh"),
        ("/etc/bootsvc/no-shell", str(mark)),
        ("/proc/cmdline", f"{folder}/cmdline"),
        ("/proc/uptime", f"{folder}/uptime"),
        ("/run/bootsvc", f"{folder}/run"),
        ("/usr/bin/python3", f"{folder}/python3"),
        ("/sys/class/block", f"{folder}/block"),
    ):
        text = text.replace(real, ours)
    acts = "wait_for_disk mount_kernel_file_systems stop_watchdog load_modules find_partitions"
    replaced = "".join(f"{name}() {{ :; }}\n" for name in acts.split())
    # A shell that is left comes back for ever, and so does waiting: the second one ends the test.
    replaced += (
        "shells=0\n"
        "one_shell() { echo CALL shell; shells=$((shells + 1)); [ $shells -lt 2 ] || end; }\n"
        "sleep() { slept=$((slept + $1)); [ $slept -lt 1000 ] || end; }\n"
        "reboot() { echo CALL reboot $* after $slept; }\n"
        "end() { trap - EXIT; exit 0; }\n"
    ) + more
    head, start, _ = text.rpartition("\nstart\n")
    (folder / "run").mkdir()
    script = folder / "init"
    script.write_text(f"{head}\n{replaced}{start}")
    done = subprocess.run(
        [BUSYBOX, "sh", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.splitlines()


def test_an_open_console_has_its_shell_when_asked_for_and_when_nothing_starts(
    tmp_path: Path,
) -> None:
    said = run_init(tmp_path, "quiet bootsvc.shell", no_shell=False)
    assert said.count("CALL shell") == 2
    assert any("a shell before the updater" in line for line in said)
    assert any("rescue shell: no partition named bootsvc-status" in line for line in said)
    assert not any("reboot" in line for line in said if line.startswith("CALL"))


@pytest.mark.parametrize("options", ["", "bootsvc.shell", "bootsvc.shell=on bootsvc.break=python"])
def test_a_locked_console_gives_nobody_a_shell_and_restarts_in_its_time(
    tmp_path: Path, options: str
) -> None:
    said = run_init(tmp_path, options, no_shell=True)
    assert "CALL shell" not in said
    assert "CALL reboot -f after 300" in said
    assert any("PYTHON DIED" in line for line in said)
    assert any("no rescue shell: the console is locked with a password" in line for line in said)
    assert any("restarts in 300 s" in line for line in said)
    assert any("bootsvc.shell is refused" in line for line in said) == ("shell" in options)


def rescue(
    folder: Path, area: str, copy: bytes, devices: str = "/dev"
) -> tuple[list[str], dict[str, str]]:
    """Start with bootsvc.rescue= on a disk with this record: what was said, what handed over."""
    status = status_partition(folder, copy, copy)
    said = run_init(
        folder,
        f"bootsvc.slot=a bootsvc.rescue={area}",
        no_shell=False,
        more=(
            f"find_partitions() {{ PARTITIONS={status}; }}\n"
            f'same_disk() {{ echo "{devices}/$2"; }}\n'
            "hand_over() { end; }\n"
        ),
    )
    handover = folder / "run/handover.env"
    lines = handover.read_text().splitlines() if handover.exists() else []
    pairs = (line.removeprefix("BOOTSVC_").split("=", 1) for line in lines)
    return said, {name: value.strip("'") for name, value in pairs}


@pytest.mark.parametrize("area", ["primary", "backup"])
def test_a_rescue_start_leaves_the_updater_out_and_can_confirm_nothing(
    tmp_path: Path, area: str
) -> None:
    said, facts = rescue(tmp_path, area, record(states=(3, 2)))
    assert not any("PYTHON DIED" in line for line in said)
    assert (facts["AREA"], facts["ROOT"]) == (area, f"/dev/bootsvc-{area}")
    assert facts["IDENTITY"] == facts["TRANSACTION"] == ""
    assert (facts["OVERLAY"], facts["DATA"]) == ("volatile", "/dev/bootsvc-data")
    assert "rescue entry" in (tmp_path / "run/alarms").read_text()


def area_with(folder: Path, boot: BootSection) -> None:
    """Make bootsvc-primary in ``folder`` an area with an image of this boot section."""
    image = make_image(random_blocks(3, seed=1))
    image = with_manifest(image, boot=boot, notes='x\n  "root_partition": {\n   "offset": 7,\n')
    (folder / "bootsvc-primary").write_bytes(image.in_area(64 * BLOCK_SIZE))
    (folder / "block/bootsvc-primary").mkdir(parents=True)
    (folder / "block/bootsvc-primary/size").write_text(f"{64 * BLOCK_SIZE // 512}\n")


PLAIN = BootSection("kexec", BootFile("/boot/vmlinuz", 1, bytes(32)))
AS_DISK = replace(PLAIN, root_partition=InnerPartition(8192, 4096), verity=True)


def test_the_shell_finds_the_root_of_a_disk_and_says_that_it_checks_no_blocks(
    tmp_path: Path,
) -> None:
    area_with(tmp_path, AS_DISK)
    said, facts = rescue(tmp_path, "primary", record(states=(3, 2)), str(tmp_path))
    assert facts["ROOT_OFFSET"] == "8192"
    assert any("ALARM the blocks of this image are not checked" in line for line in said)
    assert "not checked while it runs" in (tmp_path / "run/alarms").read_text()


@pytest.mark.parametrize("damage", ["", "no footer", "no area"])
def test_the_shell_starts_any_other_image_as_it_lies_in_the_area(
    tmp_path: Path, damage: str
) -> None:
    area_with(tmp_path, PLAIN if not damage else AS_DISK)
    if damage == "no footer":
        (tmp_path / "bootsvc-primary").write_bytes(bytes(64 * BLOCK_SIZE))
    elif damage:
        (tmp_path / "block/bootsvc-primary/size").unlink()
    said, facts = rescue(tmp_path, "primary", record(states=(3, 2)), str(tmp_path))
    assert facts["ROOT_OFFSET"] == ""
    assert not any("ALARM" in line for line in said)


@pytest.mark.parametrize(
    ("state", "words"), [(0, "primary holds no image"), (1, "primary is only half written")]
)
def test_an_area_without_a_whole_image_is_not_started_by_a_rescue(
    tmp_path: Path, state: int, words: str
) -> None:
    said, facts = rescue(tmp_path, "primary", record(code=2, area=2, states=(state, 2)))
    assert facts == {}
    assert any("rescue shell" in line and words in line for line in said)


@pytest.mark.parametrize(
    "copy", [record(code=3, phase=7, states=(2, 2)), record(code=2, area=2, states=(4, 2)), b""]
)
def test_an_image_that_was_never_proven_is_started_by_a_rescue_without_data(
    tmp_path: Path, copy: bytes
) -> None:
    _, facts = rescue(tmp_path, "primary", copy)
    assert (facts["AREA"], facts["DATA"]) == ("primary", "")


def test_a_rescue_of_anything_else_is_refused(tmp_path: Path) -> None:
    said, facts = rescue(tmp_path, "staging", record())
    assert facts == {}
    assert any("only primary and backup" in line for line in said)


@pytest.mark.parametrize(("number", "name"), [(0, "none"), (1, "primary"), (2, "backup")])
def test_the_boot_area_is_read_by_name(tmp_path: Path, number: int, name: str) -> None:
    copy = record(area=number, code=2, sequence=7)
    result = parse(tmp_path, status_partition(tmp_path, copy, copy))
    assert result["result"] == "0"
    assert result["area"] == name
    assert result["code"] == "2"
    assert result["sequence"] == "0000000000000007"


@pytest.mark.parametrize("higher_first", [True, False])
@pytest.mark.parametrize(
    ("low", "high"), [(9, 10), (255, 256), (1, 2**63 + 5), (2**63 - 1, 2**64 - 1)]
)
def test_the_copy_with_the_higher_sequence_wins(
    tmp_path: Path, low: int, high: int, higher_first: bool
) -> None:
    old, new = record(area=1, sequence=low), record(area=2, sequence=high)
    copies = (new, old) if higher_first else (old, new)
    result = parse(tmp_path, status_partition(tmp_path, *copies))
    assert result["area"] == "backup"
    assert int(result["sequence"], 16) == high


@pytest.mark.parametrize("offset", [0, 7, 12, 14, 16, 100, 507, 508, 511])
def test_a_copy_with_one_flipped_bit_is_not_believed(tmp_path: Path, offset: int) -> None:
    damaged = bytearray(record(area=2, sequence=99))
    damaged[offset] ^= 0x10
    result = parse(tmp_path, status_partition(tmp_path, bytes(damaged), record(area=1)))
    assert result["area"] == "primary"
    assert result["sequence"] == "0000000000000001"


@pytest.mark.parametrize(
    "change", [{"code": 0}, {"code": 4}, {"area": 3}, {"area": 255}, {"version": 2}]
)
def test_a_record_with_unknown_values_is_not_believed(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    result = parse(tmp_path, status_partition(tmp_path, record(**change), b""))
    assert result["result"] == "1"


@pytest.mark.parametrize("state", [0, 1, 4])
def test_an_area_that_is_not_recorded_as_whole_is_never_named(tmp_path: Path, state: int) -> None:
    # EMPTY, WRITING and BAD: the other copy, older, names a whole one.
    broken = record(area=2, sequence=9, states=(3, state))
    result = parse(tmp_path, status_partition(tmp_path, broken, record(area=1, sequence=8)))
    assert result["area"] == "primary"


@pytest.mark.parametrize("backup", [2, 3])
def test_during_a_trial_the_backup_is_booted_because_no_try_can_be_recorded(
    tmp_path: Path, backup: int
) -> None:
    copy = record(code=3, phase=7, area=1, states=(2, backup))
    result = parse(tmp_path, status_partition(tmp_path, copy, copy))
    assert result["area"] == "backup"
    assert "a try cannot be recorded" in result["instead"]


@pytest.mark.parametrize("backup", [0, 1, 4])
def test_a_trial_without_a_whole_backup_boots_what_is_on_trial(tmp_path: Path, backup: int) -> None:
    # EMPTY, WRITING and BAD: a first image has nothing behind it.
    copy = record(code=3, phase=7, area=1, states=(2, backup))
    result = parse(tmp_path, status_partition(tmp_path, copy, copy))
    assert (result["area"], result["instead"]) == ("primary", "")


def test_outside_a_trial_the_recorded_area_is_booted(tmp_path: Path) -> None:
    copy = record(code=1, phase=2, area=1)
    result = parse(tmp_path, status_partition(tmp_path, copy, copy))
    assert (result["area"], result["instead"]) == ("primary", "")


def test_no_valid_copy_is_a_reason_and_no_area(tmp_path: Path) -> None:
    result = parse(tmp_path, status_partition(tmp_path, b"", b"\xff" * 512))
    assert result["result"] == "1"
    assert "no valid copy" in result["reason"]
    assert result["area"] == ""


def test_a_partition_that_ends_early_is_no_valid_copy(tmp_path: Path) -> None:
    device = tmp_path / "status"
    device.write_bytes(record()[:511])
    assert parse(tmp_path, device)["result"] == "1"


def test_equal_sequences_with_different_bytes_are_refused(tmp_path: Path) -> None:
    result = parse(tmp_path, status_partition(tmp_path, record(area=1), record(area=2)))
    assert result["result"] == "1"
    assert "differ" in result["reason"]


@pytest.mark.parametrize(
    ("code", "phase", "area"),
    [
        ("WORKING", "IDLE", "PRIMARY"),
        ("BACKUP", "COPY", "BACKUP"),
        ("FIRST_START", "TRIAL", "PRIMARY"),
        ("WORKING", "INSTALL", "NONE"),
    ],
)
def test_the_shell_reads_what_the_library_writes(
    tmp_path: Path, code: str, phase: str, area: str
) -> None:
    status = BootStatus(
        status_code=StatusCode[code],
        phase=Phase[phase],
        boot_area=Area[area],
        sequence=123456789,
        tries_left=1,
        primary=AreaRecord(state=AreaState.WRITING if area == "BACKUP" else AreaState.VALID),
        backup=AreaRecord(state=AreaState.VALID),
    )
    data = build(status)
    result = parse(tmp_path, status_partition(tmp_path, data, data))
    assert result["area"] == ("backup" if phase == "TRIAL" else area.lower())
    assert int(result["code"]) == StatusCode[code]
    assert int(result["sequence"], 16) == 123456789


def test_a_wait_for_the_disk_is_told_once_in_five_seconds() -> None:
    """The clock of the wait is played: 0.1 s pass at every look, and the disk never comes."""
    text = (HERE / "init").read_text()
    functions = text[text.index("# Once in five seconds") : text.index("# Stay for ever")]
    played = (
        'kernel_option() { printf 12; }\nsay() { echo "$*"; }\nload_modules() { :; }\n'
        "find_partitions() { PARTITIONS=; }\nread_clock() { NOW=$((${NOW:-0} + 10)); }\n"
        "usleep() { :; }\nTRIED=/dev/null\n"
    )
    done = subprocess.run(
        [str(BUSYBOX), "sh", "-c", f"{played}{functions}\nwait_for_disk"],
        capture_output=True,
        text=True,
        check=True,
    )
    then = "then the updater starts without one"
    assert done.stdout.splitlines() == [
        f"waiting for the disk since 5 s, for 7 s more, {then}",
        f"waiting for the disk since 10 s, for 2 s more, {then}",
        "no partition named bootsvc-status after 12 s",
    ]
