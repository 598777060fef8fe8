"""The site's settings: defaults here, the site's values in one TOML file, a few as kernel options
(DESIGN 9). The table in ``SETTINGS.md`` beside this file documents each of them.

The initramfs carries the same values as JSON: its builder has read the TOML, because reading
TOML costs the updater a twelfth of its start, and JSON it needs for manifests anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from bootsvc.errors import AddressError, PasswordError, SettingsError
from bootsvc.sequence.states import Policy

DEFAULT_PATH = Path("/etc/bootsvc/bootsvc.toml")
BUILT_IN_PATH = Path("/etc/bootsvc/bootsvc.json")
"""The settings as the initramfs carries them."""
KEYS_DIR = Path("/etc/bootsvc/keys")
NO_SHELL_PATH = Path("/etc/bootsvc/no-shell")
"""Stands beside the built-in settings where these lock the console or refuse its shell; the shell
of the initramfs, which reads no settings, gives nobody a prompt then."""
INSTALLER_DIR = Path("/usr/lib/bootsvc/installer")
"""What an updater carries that can make disks: the updater that goes on them, and GRUB."""


@dataclass(frozen=True)
class Settings:
    """All settings with their defaults; units stand in the names.

    Attributes:
        compatible: the machine type; only images made for it are installed.
        tries: trial starts that a new image gets (S4.13).
        restore: copy the backup over primary after a failed image.
        restore_retries: restores that may fail by I/O before backup stays the working image.
        crash_limit: crashes of a confirmed image after which the backup takes over, 0 = never.
        watchdog_s: hardware watchdog armed before a trial start, 0 = none.
        work_watchdog_s: hardware watchdog while the updater itself works: how long it may make no
            progress, 0 = none.
        confirm_limit_s: how long a trial may run unconfirmed.
        disk_wait_s: how long the updater waits for its disk to appear.
        console_wait_s: how long every start waits for a key that opens the console, 0 = not at all.
        console_idle_s: how long an open console waits for an answer before the start goes on, 0 =
            for ever.
        progress_s: between two lines of progress where nobody is known to look.
        console_locked_while_updating: an update is a forced one: progress is visible, and no key
            stops it (F0.11).
        forced_lock_s: how long a forced update, or any fetch of bootsvc.install, may make no
            progress before it is given up, or the machine restarts.
        console_password: opens the technician's console, as `trust.password` stores it; empty = the
            console is open, "nobody" = it opens to nobody.
        console_shell: a shell may be opened from the console, and where nothing can be started.
        grub_password: of GRUB's superuser, as `trust.grub_password` stores it; empty = everybody at
            the boot menu may change what is started. Read when a disk is made.
        network: how the machine gets its address when an image is fetched, see `formats.addresses`.
        network_wait_s: how long that may take.
        mirror: address of the folder in which images stand on a server, "" = none.
        stores: addresses of the image store that updates come from, the preferred one first, with
            commas between them; "" = none.
        store_rate_kib_s: KiB a second that fetching from a store may take, 0 = no limit.
        take_test_versions: versions that are published as a test are offered to this machine.
        area_mib: size of each image area of a disk that an installer makes, 0 = a quarter of what
            the disk has, at most 4 GiB.
        restore_points: so many restore points are kept in data; of more, the oldest go.
        keep_before_update: the image in backup, which an update overwrites, is kept as a restore
            point first, where there is room.
    """

    compatible: str = "generic"
    tries: int = 3
    restore: bool = True
    restore_retries: int = 3
    crash_limit: int = 5
    watchdog_s: int = 60
    work_watchdog_s: int = 300
    confirm_limit_s: int = 300
    disk_wait_s: int = 10
    console_wait_s: int = 2
    console_idle_s: int = 300
    progress_s: int = 5
    console_locked_while_updating: bool = False
    forced_lock_s: int = 600
    console_password: str = ""
    console_shell: bool = True
    grub_password: str = ""
    network: str = "dhcp"
    network_wait_s: int = 60
    mirror: str = ""
    stores: str = ""
    store_rate_kib_s: int = 0
    take_test_versions: bool = False
    area_mib: int = 0
    restore_points: int = 3
    keep_before_update: bool = True

    @property
    def policy(self) -> Policy:
        """The part that decisions depend on."""
        return Policy(self.tries, self.restore, self.restore_retries, self.crash_limit)


RANGES = {
    "tries": (1, 20),
    "restore_retries": (0, 20),
    "crash_limit": (0, 100),
    "watchdog_s": (0, 2000),
    "work_watchdog_s": (0, 2000),
    "confirm_limit_s": (10, 86400),
    "disk_wait_s": (0, 600),
    "console_wait_s": (0, 60),
    "console_idle_s": (0, 86400),
    "progress_s": (1, 60),
    "forced_lock_s": (10, 2000),
    "network_wait_s": (1, 600),
    "store_rate_kib_s": (0, 10_000_000),
    "area_mib": (0, 1 << 20),
    "restore_points": (1, 100),
}
"""Lowest and highest value of each number."""

KERNEL_OPTIONS = (
    "tries",
    "restore",
    "watchdog_s",
    "work_watchdog_s",
    "confirm_limit_s",
    "disk_wait_s",
    "console_wait_s",
    "console_idle_s",
    "progress_s",
    "console_locked_while_updating",
    "network",
    "network_wait_s",
    "mirror",
    "area_mib",
)
"""The settings that may be changed for one start as ``bootsvc.NAME=VALUE``."""

_DEFAULTS = Settings()
_ADDRESSES = ("network", "mirror", "stores")

_MOST_DIGITS = 18
"""Far more than any range needs; ``int`` refuses some thousands with an error of its own."""

_MOST_SHOWN = 80
"""Characters of a wrong value that a message repeats."""


def load(path: Path = DEFAULT_PATH) -> Settings:
    """The settings in the TOML file at ``path``; the defaults where there is no file.

    Raises:
        SettingsError: not TOML, an unknown key, or a value out of range.
    """
    import tomllib  # not for the updater: see above

    return _load(path, tomllib.loads)


def load_built_in(path: Path = BUILT_IN_PATH) -> Settings:
    """The settings that were built into the initramfs; the defaults where there are none.

    Raises:
        SettingsError: an unknown key, a value out of range, or a damaged file.
    """
    import json

    return _load(path, json.loads)


def after_damage(path: Path = BUILT_IN_PATH, no_shell: Path = NO_SHELL_PATH) -> Settings:
    """What serves where ``load_built_in`` has raised: the defaults, and never an open console where
    the site had it locked.

    Where the site had a lock, its password is kept if it can still be read; else the console opens
    to nobody in this start. The machine starts all the same.
    """
    if not no_shell.exists():
        return _DEFAULTS
    import json

    from bootsvc.trust.password import NOBODY

    locked = replace(_DEFAULTS, console_password=NOBODY, console_shell=False)
    try:
        password = json.loads(path.read_text("utf-8"))["console_password"]
        return changed(locked, {"console_password": password or NOBODY}, str(path))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, SettingsError):
        return locked


def _load(path: Path, parse: Callable[[str], object]) -> Settings:
    try:
        values = parse(path.read_text("utf-8"))
    except FileNotFoundError:
        return _DEFAULTS
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be read: {exc}") from exc
    except (ValueError, RecursionError) as exc:  # not UTF-8, not TOML, not JSON; or nested too deep
        raise SettingsError(f"{path}: {exc}", hint="see the example in SETTINGS.md") from exc
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: not a table of settings")
    return changed(_DEFAULTS, values, str(path))


def changed(settings: Settings, values: Mapping[str, object], where: str) -> Settings:
    """``settings`` with ``values`` put in.

    Raises:
        SettingsError: an unknown key (the nearest right one is named), a value out of range, or a
            password that is none.
    """
    known = {one.name: getattr(_DEFAULTS, one.name) for one in fields(Settings)}
    for key, value in values.items():
        if key not in known:
            raise SettingsError(
                f"{where}: unknown setting {_shown(key)}", hint=_nearest(key, known)
            )
        if type(value) is not type(known[key]):
            wanted = type(known[key]).__name__
            raise SettingsError(f"{where}: {key} must be of type {wanted}, not {_shown(value)}")
        low, high = RANGES.get(key, (0, 0))
        if key in RANGES and not (isinstance(value, int) and low <= value <= high):
            raise SettingsError(
                f"{where}: {key} must lie between {low} and {high}, not {_shown(value)}"
            )
        if key.endswith("_password") and isinstance(value, str) and value:
            _check_password(key, value, where)
        if (
            key in ("network", "mirror", "stores")
            and isinstance(value, str)
            and value != known[key]
        ):
            _check_address(key, value, where)
    return replace(settings, **values)  # type: ignore[arg-type]  # types were checked above


def _check_password(key: str, stored: str, where: str) -> None:
    from bootsvc.trust import grub_password, password  # for a locked console only

    try:
        if key == "grub_password":
            grub_password.check_stored(stored)
        elif stored != password.NOBODY:
            password.parse_stored(stored)
    except PasswordError as exc:
        raise SettingsError(f"{where}: {key}: {exc}", hint=exc.hint) from exc


def _check_address(key: str, text: str, where: str) -> None:
    from bootsvc.formats import addresses, url  # for a machine with a network of its own

    try:
        if key == "network":
            addresses.parse_network(text)
        else:
            for address in text.split(","):
                url.parse_url(address.strip())
    except AddressError as exc:
        raise SettingsError(f"{where}: {key}: {exc}", hint=exc.hint) from exc


def with_kernel_options(settings: Settings, options: Mapping[str, str]) -> Settings:
    """``settings`` with what ``bootsvc.*`` kernel options change.

    Raises:
        SettingsError: a value that is not a number, not on/off, or no address.
    """
    values: dict[str, object] = {}
    for key in KERNEL_OPTIONS:
        text = options.get(f"bootsvc.{key}")
        if text is None:
            continue
        if isinstance(getattr(_DEFAULTS, key), str):
            values[key] = text
        elif isinstance(getattr(_DEFAULTS, key), bool):
            if text not in ("on", "off"):
                raise SettingsError(f"kernel option bootsvc.{key}: on or off, not {text!r}")
            values[key] = text == "on"
        elif text.isdecimal() and len(text) <= _MOST_DIGITS:
            values[key] = int(text)
        else:
            raise SettingsError(f"kernel option bootsvc.{key}: a number, not {_shown(text)}")
    return changed(settings, values, "kernel option")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of thousands of digits; lists in lists in lists
        return "a value too large to show"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _nearest(key: str, known: Mapping[str, object]) -> str:
    import difflib

    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
