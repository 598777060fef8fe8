"""GRUB's configuration: one text for BIOS and UEFI machines. Pure.

The default entry starts the updater of the proven slot, or, once, of a slot that is marked to be
tried. The mark is taken away before that slot is started. A slot is started only if both its files
have their sums, so a damaged one falls through to the other with nobody there. What the marks
mean stands in ``formats.updater_slots``, the whole story in ``ESP.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootsvc.errors import SettingsError
from bootsvc.formats.updater_slots import CRCS, FOLDER, INITRAMFS, KERNEL, PROVEN, TRY
from bootsvc.trust.grub_password import check_stored

FIXED_OPTIONS = "gpt rdinit=/init panic=10"
"""What the updater's kernel always gets: `gpt` makes Linux use the spare partition table where the
first is gone, `panic` ends the endless halt that is Debian's default (LAB 8, 9)."""

SUPERUSER = "bootsvc"
"""Whom GRUB asks the password of, where the menu is locked."""

RESTART_S = 60
"""How long a person has to press a key where neither slot can be started."""

_START = f"""\
# The slot that proved itself. Where nobody can say, the one that was not tried last: both are
# started only if they are whole.
function read_marks {{
    set slot=
    set try=
    set tried=
    load_env --file /{FOLDER}/{PROVEN} slot
    load_env --file /{FOLDER}/{TRY} try tried
    if [ "$slot" != a -a "$slot" != b ]; then
        if [ "$tried" = a ]; then set slot=b; else set slot=a; fi
    fi
    if [ "$slot" = a ]; then set other=b; else set other=a; fi
    set first=$slot
}}

# A slot that is to be tried comes first, once: where the mark cannot be taken away, not at all.
function take_mark {{
    if [ "$try" = a -o "$try" = b ]; then
        set tried=$try
        set try=
        if save_env --file /{FOLDER}/{TRY} try tried; then
            set first=$tried
            if [ "$first" = a ]; then set other=b; else set other=a; fi
            echo "bootsvc: slot $first is tried, this once"
        fi
    fi
}}

# load SLOT OPTION: true if the slot is whole and was loaded.
function load {{
    if hashsum --hash crc32 --prefix /{FOLDER}/$1 --check /{FOLDER}/$1/{CRCS}; then
        echo "bootsvc: starting the updater's slot $1"
        if [ "$grub_platform" = pc ]; then
            linux16 /{FOLDER}/$1/{KERNEL} @OPTIONS@ bootsvc.slot=$1 $2
            initrd16 /{FOLDER}/$1/{INITRAMFS}
        else
            linux /{FOLDER}/$1/{KERNEL} @OPTIONS@ bootsvc.slot=$1 $2
            initrd /{FOLDER}/$1/{INITRAMFS}
        fi
    else
        echo "bootsvc: slot $1 is empty or damaged"
        false
    fi
}}

# start OPTION: the first slot, or else the other one.
function start {{
    if load $first $1; then
        true
    elif load $other $1; then
        true
    else
        echo "bootsvc: neither slot of the updater can be started: a restart in {RESTART_S} s"
        sleep --interruptible {RESTART_S}
        reboot
    fi
}}
"""


@dataclass(frozen=True)
class MenuEntry:
    """One line of the boot menu.

    Attributes:
        title: what the menu shows.
        commands: what is run, in GRUB's language; see the functions above.
        is_free: anybody may start it, also where the menu is locked.
    """

    title: str
    commands: tuple[str, ...]
    is_free: bool = True


ENTRIES = (
    MenuEntry("bootsvc updater", ("read_marks", "take_mark", "start")),
    MenuEntry("bootsvc updater, other slot", ("read_marks", "load $other")),
    MenuEntry(
        "Rescue: image in primary, without the updater",
        ("read_marks", "start bootsvc.rescue=primary"),
    ),
    MenuEntry(
        "Rescue: image in backup, without the updater",
        ("read_marks", "start bootsvc.rescue=backup"),
    ),
    MenuEntry(
        "Shell before the updater",
        ("read_marks", "start bootsvc.shell"),
        is_free=False,
    ),
)
"""The first one is started by default."""


def check_options(options: str) -> str:
    """Return kernel options in one line, fit to stand in GRUB's configuration.

    Raises:
        SettingsError: a character that GRUB's shell would take for its own.
    """
    words = options.split()
    for word in words:
        bad = set(word) & set("'\"\\$;|&<>{}`")
        if bad or not word.isprintable():
            raise SettingsError(f"kernel option {word!r}: GRUB's shell would read {sorted(bad)}")
    return " ".join(words)


def menu_config(options: str, *, seconds: int, password: str = "") -> str:
    """Return grub.cfg: consoles on the serial line and the screen, and the menu.

    Under BIOS kernels are started with ``linux16``, that is by the kernel's own 16-bit entry:
    GRUB's 32-bit ``linux`` first moves all the memory that the kernel asks for (54 MB with Debian's
    6.1) byte by byte, which takes 2.4 of 6.5 seconds in emulation (GRUB 2.06).

    Args:
        options: kernel options of the updater, beside `FIXED_OPTIONS`.
        seconds: how long Esc calls up the menu. 0 starts at once.
        password: opens GRUB's editor and command line, as `trust.grub_password` stores it; empty
            leaves them open to everybody at the console.

    Raises:
        SettingsError: an option that cannot stand there, or a password that is not stored so.
    """
    words = f"{check_options(options)} {FIXED_OPTIONS}".strip()
    # A hidden menu would wait three seconds even where the timeout is 0 (Debian's 2.06, measured).
    style = "countdown" if seconds else "menu"
    lines = [
        "# Starts the updater. Made by `bootsvc disk create`.",
        # UEFI firmware shows its console on a serial line by itself: twice would be too much.
        'if [ "$grub_platform" = pc ]; then',
        "    if serial --unit=0 --speed=115200; then",
        "        terminal_input serial console",
        "        terminal_output serial console",
        "    fi",
        "fi",
        "set default=0",
        f"set timeout_style={style}",
        f"set timeout={seconds}",
        *_lock(password),
        "",
        _START.replace("@OPTIONS@", words),
    ]
    for entry in ENTRIES:
        free = " --unrestricted" if entry.is_free else ""
        lines += [
            f"menuentry '{entry.title}'{free} {{",
            *(f"    {command}" for command in entry.commands),
            "}",
        ]
    return "\n".join(lines) + "\n"


def _lock(password: str) -> list[str]:
    if not password:
        return []
    return [f"set superusers={SUPERUSER}", f"password_pbkdf2 {SUPERUSER} {check_stored(password)}"]
