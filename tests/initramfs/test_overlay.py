"""overlay.sh against directories, in a mount namespace of its own.

Directories stand for the area and for data, so neither root nor a block device is needed:
an ordinary user gets a user namespace, root only a mount namespace. Each case runs one
shell script in such a namespace, which prints what the test then looks at.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

OVERLAY = Path(__file__).resolve().parents[2] / "initramfs" / "overlay.sh"
IDENTITY = "ab" * 32
OTHER_IDENTITY = "cd" * 32
TRANSACTION = "12" * 16
SHELLS = [["busybox", "sh"], ["dash"]]


@dataclass
class Machine:
    """A directory that plays a machine: its area, its data, its /run and its console."""

    base: Path
    shell: list[str]
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("area/etc/ssh", "data", "run", "root"):
            (self.base / name).mkdir(parents=True)
        (self.base / "area/etc/hostname").write_text("published\n")
        (self.base / "area/version").write_text("1\n")
        self.variables = {
            "BOOTSVC_RUN": str(self.base / "run"),
            "BOOTSVC_LOG": str(self.base / "console"),
            "BOOTSVC_ROOT": str(self.base / "area"),
            "BOOTSVC_DATA": str(self.base / "data"),
            "BOOTSVC_OVERLAY": "volatile",
            "BOOTSVC_IDENTITY": IDENTITY,
            "BOOTSVC_TRANSACTION": TRANSACTION,
            "BOOTSVC_TRIAL": "0",
        }

    def start(self, then: str = ":", *, before: str = "", **changed: str) -> str:
        """Run overlay.sh as a start would, then the commands of *then* in the new root."""
        script = (
            f"cd {self.base}\n{before}\n{' '.join(self.shell)} {OVERLAY} {self.base}/root"
            f" || {{ echo FAILED $?; exit 0; }}\ncd root\n{then}\n"
        )
        return self.in_namespace(script, **changed)

    def in_namespace(self, script: str, **changed: str) -> str:
        """Run a shell script where mounts are private and allowed; returns what it printed."""
        unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        environment = {**os.environ, **self.variables, **changed}
        done = subprocess.run(
            [*unshare, "sh", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def console(self) -> str:
        """All that was said on the console so far."""
        path = self.base / "console"
        return path.read_text() if path.exists() else ""

    @property
    def used(self) -> dict[str, str]:
        """overlay.env: what the last start really set up."""
        lines = (self.base / "run/overlay.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture(params=SHELLS, ids=[" ".join(shell) for shell in SHELLS])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """A fresh machine, once for each shell that the script must run under."""
    return Machine(tmp_path, request.param)


def test_volatile_overlay_takes_writes_and_leaves_the_area_alone(machine: Machine) -> None:
    out = machine.start("cat version; echo 2 >version; cat version; >../run/lower/x || echo ro")
    assert out == "1\n2\nro\n"
    assert (machine.base / "area/version").read_text() == "1\n"
    assert machine.start("cat version") == "1\n"
    assert machine.used["BOOTSVC_OVERLAY_USED"] == "volatile"
    assert "ALARM" not in machine.console


def test_kept_overlay_shows_the_writes_of_the_start_before(machine: Machine) -> None:
    machine.start("echo 2 >version", BOOTSVC_OVERLAY="kept")
    assert machine.start("cat version", BOOTSVC_OVERLAY="kept") == "2\n"
    assert (machine.base / f"data/overlays/{IDENTITY}/upper/version").read_text() == "2\n"
    assert (machine.base / "area/version").read_text() == "1\n"
    assert machine.used["BOOTSVC_OVERLAY_USED"] == "kept"


def test_kept_overlay_of_one_image_is_never_attached_to_another(machine: Machine) -> None:
    machine.start("echo 2 >version", BOOTSVC_OVERLAY="kept")
    out = machine.start("cat version", BOOTSVC_OVERLAY="kept", BOOTSVC_IDENTITY=OTHER_IDENTITY)
    assert out == "1\n"


@pytest.mark.parametrize("identity", ["", "../../x", IDENTITY[:-1], IDENTITY[:-1] + "G"])
def test_kept_overlay_needs_a_proper_identity(machine: Machine, identity: str) -> None:
    assert machine.start("cat version", BOOTSVC_OVERLAY="kept", BOOTSVC_IDENTITY=identity) == "1\n"
    assert machine.used["BOOTSVC_OVERLAY_USED"] == "volatile"
    assert "ALARM kept overlay without a proper image identity" in machine.console


def test_absent_data_costs_an_alarm_but_not_the_start(machine: Machine) -> None:
    assert machine.start("cat version", BOOTSVC_DATA="", BOOTSVC_OVERLAY="kept") == "1\n"
    assert "ALARM no data partition" in machine.console
    assert machine.used["BOOTSVC_OVERLAY_USED"] == "volatile"
    assert machine.used["BOOTSVC_DATA_USED"] == "0"
    assert (machine.base / "run/alarms").read_text().count("\n") == 2


def test_damaged_data_costs_an_alarm_but_not_the_start(machine: Machine) -> None:
    garbage = machine.base / "garbage"
    garbage.write_bytes(b"\xa5" * 65536)
    assert machine.start("cat version", BOOTSVC_DATA=str(garbage)) == "1\n"
    assert "cannot be mounted (damaged?)" in machine.console


def test_full_data_is_not_used_and_is_not_left_mounted(machine: Machine) -> None:
    out = machine.start(
        "cat version; ls ../run/data",
        before="mount -t tmpfs -o size=64k small data",
        BOOTSVC_OVERLAY="kept",
    )
    assert out == "1\n"
    assert "ALARM data partition" in machine.console
    assert "takes no writes (full or failing)" in machine.console
    assert machine.used["BOOTSVC_DATA_USED"] == "0"


def test_identity_files_are_taken_from_data_that_is_full(machine: Machine) -> None:
    filled = "mkdir -p data/identity/current/etc; echo mine >data/identity/current/etc/hostname"
    out = machine.start(
        "cat etc/hostname; ls ../run/data",
        before=f"mount -t tmpfs -o size=64k small data; {filled}",
        BOOTSVC_TRIAL="1",
    )
    assert out == "mine\n"
    assert machine.used["BOOTSVC_DATA_USED"] == "0"
    assert machine.used["BOOTSVC_IDENTITY_DIR"] == ""


def test_data_that_refuses_writes_is_not_used(machine: Machine) -> None:
    out = machine.start("cat version", before="mount -t tmpfs -o ro small data")
    assert out == "1\n"
    assert "takes no writes" in machine.console


def test_area_that_does_not_mount_ends_with_code_one(machine: Machine) -> None:
    assert machine.start(BOOTSVC_ROOT=str(machine.base / "nothing")) == "FAILED 1\n"
    assert "ALARM the area" in machine.console


def test_identity_files_go_into_every_version(machine: Machine) -> None:
    current = machine.base / "data/identity/current/etc"
    (current / "ssh").mkdir(parents=True)
    (current / "hostname").write_text("mine\n")
    (current / "ssh/ssh_host_ed25519_key").write_text("secret\n")
    (current / "ssh/ssh_host_ed25519_key").chmod(0o600)
    (current / "shadow").write_text("not listed\n")
    out = machine.start("cat etc/hostname etc/ssh/*; stat -c %a etc/ssh/*; ls etc/shadow || :")
    assert out == "mine\nsecret\n600\n"
    assert machine.used["BOOTSVC_IDENTITY_DIR"] == f"{machine.base}/run/data/identity/current"


def test_identity_file_can_be_replaced_by_renaming(machine: Machine) -> None:
    current = machine.base / "data/identity/current/etc"
    current.mkdir(parents=True)
    (current / "hostname").write_text("mine\n")
    assert machine.start("echo new >etc/n; mv etc/n etc/hostname; cat etc/hostname") == "new\n"


def test_the_images_own_list_decides_what_identity_is(machine: Machine) -> None:
    current = machine.base / "data/identity/current/etc"
    current.mkdir(parents=True)
    (current / "hostname").write_text("mine\n")
    (current / "site.conf").write_text("site\n")
    (machine.base / "area/etc/bootsvc").mkdir()
    listed = "# ours\n/etc/site.conf\n../data/identity/*\n"
    (machine.base / "area/etc/bootsvc/identity.list").write_text(listed)
    assert machine.start("cat etc/hostname etc/site.conf") == "published\nsite\n"
    assert "'../data/identity/*' leads out of the root" in machine.console


def test_identity_file_below_a_linked_directory_is_left_out(machine: Machine) -> None:
    current = machine.base / "data/identity/current/etc/ssh"
    current.mkdir(parents=True)
    (current / "ssh_host_key").write_text("secret\n")
    (machine.base / "area/etc/ssh").rmdir()
    (machine.base / "area/etc/ssh").symlink_to(machine.base / "elsewhere")
    (machine.base / "elsewhere").mkdir()
    machine.start()
    assert list((machine.base / "elsewhere").iterdir()) == []
    assert "a directory above it is a link" in machine.console


def _identity(machine: Machine) -> Path:
    current = machine.base / "data/identity/current/etc"
    current.mkdir(parents=True, exist_ok=True)
    (current / "hostname").write_text("mine\n")
    return machine.base / "data/identity"


def test_trial_works_on_a_copy_of_the_identity_files(machine: Machine) -> None:
    identity = _identity(machine)
    save = f"echo changed >../run/data/identity/trial-{TRANSACTION}/etc/hostname"
    assert machine.start(f"cat etc/hostname; {save}", BOOTSVC_TRIAL="1") == "mine\n"
    assert (identity / "current/etc/hostname").read_text() == "mine\n"
    # The second try of the same trial goes on with the same copy.
    assert machine.start("cat etc/hostname", BOOTSVC_TRIAL="1") == "changed\n"


def test_failed_trial_takes_its_identity_copy_with_it(machine: Machine) -> None:
    identity = _identity(machine)
    machine.start(f"echo x >../run/data/identity/trial-{TRANSACTION}/x", BOOTSVC_TRIAL="1")
    assert machine.start("cat etc/hostname", BOOTSVC_IDENTITY=OTHER_IDENTITY) == "mine\n"
    assert sorted(path.name for path in identity.iterdir()) == ["current"]
    assert not (identity / "current/x").exists()


def test_confirmed_trial_that_was_cut_before_the_rename_is_adopted(machine: Machine) -> None:
    identity = _identity(machine)
    save = f"echo changed >../run/data/identity/trial-{TRANSACTION}/etc/hostname"
    machine.start(save, BOOTSVC_TRIAL="1")
    assert machine.start("cat etc/hostname") == "changed\n"
    assert sorted(path.name for path in identity.iterdir()) == ["current"]


def test_adopting_after_the_confirm_makes_the_trial_copy_current(machine: Machine) -> None:
    identity = _identity(machine)
    save = f"echo changed >../run/data/identity/trial-{TRANSACTION}/etc/hostname"
    adopt = f"{' '.join(machine.shell)} {OVERLAY} --adopt"
    machine.start(f"{save}; {adopt} && {adopt}", BOOTSVC_TRIAL="1")
    assert sorted(path.name for path in identity.iterdir()) == ["current"]
    assert (identity / "current/etc/hostname").read_text() == "changed\n"


def test_trial_start_is_marked_and_an_ordinary_one_is_not(machine: Machine) -> None:
    machine.start()
    assert not (machine.base / "run/trial").exists()
    machine.start(BOOTSVC_TRIAL="1")
    assert (machine.base / "run/trial").exists()


def test_start_of_the_fallback_leaves_every_trial_copy_alone(machine: Machine) -> None:
    identity = _identity(machine)
    machine.start(BOOTSVC_TRIAL="1")
    machine.start(BOOTSVC_TRANSACTION="", BOOTSVC_IDENTITY="")
    assert (identity / f"trial-{TRANSACTION}").is_dir()


def test_cut_between_the_two_renames_of_an_adoption_loses_nothing(machine: Machine) -> None:
    identity = _identity(machine)
    (identity / "current").rename(identity / "current.old")
    assert machine.start("cat etc/hostname") == "mine\n"
    assert sorted(path.name for path in identity.iterdir()) == ["current"]


def test_no_room_for_the_trial_copy_leaves_the_current_files_in_use(machine: Machine) -> None:
    big = "head -c 400000 /dev/zero >data/identity/current/etc/hostname"
    out = machine.start(
        "wc -c <etc/hostname; ls ../run/data/identity",
        before=f"mount -t tmpfs -o size=700k small data; mkdir -p data/identity/current/etc; {big}",
        BOOTSVC_TRIAL="1",
    )
    assert out == "400000\ncurrent\n"
    assert "ALARM no room for the trial's copy" in machine.console


def _handover(machine: Machine, options: str) -> tuple[str, str]:
    (machine.base / "cmdline").write_text(options + "\n")
    code = machine.in_namespace(
        f"{' '.join(machine.shell)} {OVERLAY} --from-cmdline; echo $?",
        BOOTSVC_CMDLINE=str(machine.base / "cmdline"),
    )
    written = machine.base / "run/handover.env"
    return code.strip(), written.read_text() if written.exists() else ""


def test_kernel_options_become_the_handover_file(machine: Machine) -> None:
    code, text = _handover(
        machine,
        "console=ttyS0 root=/dev/vda4 ro panic=10 bootsvc.area=primary "
        f"bootsvc.identity={IDENTITY} bootsvc.transaction={TRANSACTION} bootsvc.trial=1 "
        "bootsvc.data=/dev/vda7 bootsvc.overlay=kept bootsvc.confirm_limit_s=60 bootsvc.slot=b "
        f"bootsvc.root_offset=1048576 bootsvc.verity=9:20:{IDENTITY} glob=/*",
    )
    assert code == "0"
    assert text.splitlines() == [
        "BOOTSVC_AREA='primary'",
        f"BOOTSVC_IDENTITY='{IDENTITY}'",
        f"BOOTSVC_TRANSACTION='{TRANSACTION}'",
        "BOOTSVC_TRIAL='1'",
        "BOOTSVC_ROOT='/dev/vda4'",
        "BOOTSVC_DATA='/dev/vda7'",
        "BOOTSVC_OVERLAY='kept'",
        "BOOTSVC_INIT='/sbin/init'",
        "BOOTSVC_CONFIRM_LIMIT_S='60'",
        "BOOTSVC_ALARM=''",
        "BOOTSVC_SLOT='b'",
        "BOOTSVC_ROOT_OFFSET='1048576'",
        f"BOOTSVC_VERITY='9:20:{IDENTITY}'",
    ]


def test_start_without_the_area_option_is_none_of_ours(machine: Machine) -> None:
    assert _handover(machine, "root=/dev/vda4 ro quiet") == ("1", "")


def test_quote_in_the_options_writes_no_handover_file(machine: Machine) -> None:
    code, text = _handover(machine, "root=/dev/vda4 bootsvc.area=x';reboot;'")
    assert (code, text) == ("1", "")
    assert "ALARM quote in the kernel options" in machine.console


# --- what is laid over the area ------------------------------------------------------------------


def _mapped(machine: Machine, stand_ins: str, **variables: str) -> list[str]:
    """What map_area comes to for /dev/vda4 with these commands in place of the real ones."""
    functions = OVERLAY.read_text().rpartition("\ncase ${1:-} in")[0]
    script = machine.base / "functions.sh"
    script.write_text(
        f"{functions}\nPATH=/none\nmodprobe() {{ :; }}\n{stand_ins}\n"
        'map_area /dev/vda4 && echo "mapped $mapped" || echo refused\n'
    )
    out = machine.in_namespace(" ".join([*machine.shell, str(script)]), **variables)
    return out.splitlines()


def test_a_plain_image_is_mounted_as_it_lies_in_the_area(machine: Machine) -> None:
    assert _mapped(machine, "") == ["mapped /dev/vda4"]
    assert _mapped(machine, "", BOOTSVC_MAPPED="/dev/dm-1") == ["mapped /dev/dm-1"]


def test_a_partition_of_the_area_is_shown_by_a_read_only_loop_device(machine: Machine) -> None:
    asked = 'losetup() { [ "$*" = "-r -o 1048576 /dev/loop7 /dev/vda4" ] || echo /dev/loop7; }'
    assert _mapped(machine, asked, BOOTSVC_ROOT_OFFSET="1048576") == ["mapped /dev/loop7"]
    none = "losetup() { return 1; }"
    assert _mapped(machine, none, BOOTSVC_ROOT_OFFSET="1048576") == ["refused"]
    assert "no loop device for the partition at byte 1048576" in machine.console


@pytest.mark.parametrize(
    ("stand_in", "verity"),
    [
        ("", f"9:20:{IDENTITY}"),
        ("dmsetup() { return 1; }", f"9:20:{IDENTITY}"),
        ("dmsetup() { :; }", f"9:20:{IDENTITY}"),
        ("dmsetup() { echo 0; }", "9:20:short"),
    ],
    ids=["no dmsetup", "kernel refuses", "no device", "no digest"],
)
def test_an_image_whose_blocks_cannot_be_checked_is_not_mounted_unchecked(
    machine: Machine, stand_in: str, verity: str
) -> None:
    assert _mapped(machine, stand_in, BOOTSVC_VERITY=verity) == ["refused"]
    assert "ALARM /dev/vda4: its blocks cannot be checked" in machine.console
