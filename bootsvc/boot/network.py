"""The wired network, for fetching an image before any OS runs: off until somebody asks for it.

Every wired interface is brought up, and the first one with a link that answers is used: by DHCP the
first that is given an address, with a fixed address the first on which the gateway answers. A link
may need a while (a switch with spanning tree passes nothing on for 30 s and more), so all of them
are asked again and again until the time is over.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from bootsvc.boot.handover import RUN_DIR
from bootsvc.boot.watch import STEP_S, Watch
from bootsvc.errors import AddressError, NoNetworkError
from bootsvc.formats.addresses import Address, Dhcp, parse_lease

SYS_NET = Path("/sys/class/net")
RESOLV_CONF = Path("/etc/resolv.conf")
DRIVERS = Path("/usr/lib/bootsvc/network-modules")
"""Names of the drivers in this initramfs: loaded here, so that a start without a network does not
pay for them."""

LEASE_SCRIPT = "/usr/lib/bootsvc/udhcpc.sh"
_ETHERNET = "1"
_GATEWAY_S = 2.0
"""How long the gateway may take to answer on one interface; on a wire it takes milliseconds."""


class Running(Protocol):
    """A program that was started."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Wait for its end."""


class Programs:
    """Starts the programs of the initramfs (busybox)."""

    def start(self, *words: str, environment: dict[str, str] | None = None) -> Running:
        """Start one; what it prints is not for the console. Raises OSError."""
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )

    def run(self, *words: str) -> str:
        """Run one to its end; what it complained about, empty where it succeeded."""
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except OSError as exc:
            return f"{words[0]}: {exc.strerror}"
        return "" if done.returncode == 0 else (done.stderr.strip() or f"{words[0]} failed")


class Network:
    """The network of one start.

    Attributes:
        address: what this machine is reached by; None where the network is off.
    """

    def __init__(
        self,
        watch: Watch,
        programs: Programs | None = None,
        *,
        sys_net: Path = SYS_NET,
        leases: Path = RUN_DIR,
        resolv_conf: Path = RESOLV_CONF,
        drivers: Path = DRIVERS,
    ) -> None:
        self.address: Address | None = None
        self._watch = watch
        self._programs = programs or Programs()
        self._sys_net = sys_net
        self._leases = leases
        self._resolv_conf = resolv_conf
        self._drivers = drivers
        self._raised: list[str] = []
        self._clients: dict[str, Running] = {}
        self._names_servers = False

    def bring_up(self, how: Dhcp | Address, wait_s: float) -> Address:
        """Get an address as ``how`` says, or give up after ``wait_s`` seconds.

        Raises:
            NoNetworkError: no interface has a link, or nobody answered; each one is named.
        """
        self.take_down()
        try:
            self._load_drivers()
            found = self._awaited(how, wait_s)
        except BaseException:
            self.take_down()
            raise
        self._stop_clients(but=found.interface)
        self.address = found
        self._watch.say(f"network: {found}")
        return found

    def take_down(self) -> None:
        """Give the network back as it was found, for the OS that is started next."""
        self._stop_clients()
        for name in self._raised:
            self._programs.run("ip", "addr", "flush", "dev", name)
            self._programs.run("ip", "link", "set", name, "down")
        self._raised.clear()
        if self._names_servers:
            self._resolv_conf.unlink(missing_ok=True)
            self._names_servers = False
        self.address = None

    def _awaited(self, how: Dhcp | Address, wait_s: float) -> Address:
        looked = self._watch.wait(_what(how), wait_s, "it is given up")
        deadline = time.monotonic() + wait_s
        while True:
            if isinstance(how, Dhcp):
                found = self._by_lease(how.interface)
            else:
                found = self._by_gateway(how, looked)
            if found is not None:
                return found
            if time.monotonic() >= deadline:
                raise self._nothing(how, wait_s)
            looked()
            time.sleep(STEP_S)

    # --- interfaces ---------------------------------------------------------------------------

    def _load_drivers(self) -> None:
        with suppress(OSError):  # a kernel with all drivers built in needs none
            names = self._drivers.read_text("ascii").split()
            for name in names:
                self._programs.run("modprobe", "-q", name)

    def _linked(self, only: str) -> list[str]:
        """Wired interfaces with a link; all of them are brought up first, for else they have none.

        Args:
            only: the name of one; "" for any.
        """
        names = [name for name in self._wired() if only in ("", name)]
        for name in names:
            if name not in self._raised:
                self._programs.run("ip", "link", "set", name, "up")
                self._raised.append(name)
        return [name for name in names if _line_of(self._sys_net / name / "carrier") == "1"]

    def _wired(self) -> list[str]:
        """Ethernet interfaces of real devices that are not wireless."""
        return sorted(
            one.name
            for one in self._sys_net.glob("*")
            if _line_of(one / "type") == _ETHERNET
            and (one / "device").exists()
            and not (one / "wireless").exists()
        )

    # --- an address by DHCP -------------------------------------------------------------------

    def _by_lease(self, only: str) -> Address | None:
        for name in self._linked(only):
            if name not in self._clients:
                self._ask_for_lease(name)
            found = self._lease_on(name)
            if found is not None:
                self._configure(found)
                return found
        return None

    def _ask_for_lease(self, name: str) -> None:
        lease = self._lease_file(name)
        lease.parent.mkdir(parents=True, exist_ok=True)
        lease.unlink(missing_ok=True)
        # It stays while the network is used, and renews the lease: -A: asks again after 3 s.
        words = ("udhcpc", "-f", "-i", name, "-s", LEASE_SCRIPT, "-t", "3", "-T", "2", "-A", "3")
        self._clients[name] = self._programs.start(
            *words, environment={"BOOTSVC_LEASE": str(lease)}
        )

    def _lease_on(self, name: str) -> Address | None:
        lease = self._lease_file(name)
        try:
            text = lease.read_text("ascii", errors="replace")
        except FileNotFoundError:
            return None
        try:
            return parse_lease(text, name)
        except AddressError as exc:
            lease.unlink()
            self._watch.say(f"network: {exc}; another answer is waited for")
            return None

    def _lease_file(self, name: str) -> Path:
        return self._leases / f"lease-{name}"

    def _stop_clients(self, *, but: str = "") -> None:
        for name in [name for name in self._clients if name != but]:
            client = self._clients.pop(name)
            client.kill()
            client.wait()
            self._lease_file(name).unlink(missing_ok=True)

    # --- a fixed address ----------------------------------------------------------------------

    def _by_gateway(self, how: Address, looked: Callable[[], None]) -> Address | None:
        for name in self._linked(how.interface):
            found = Address(how.ip, how.prefix, how.gateway, how.dns, name)
            self._configure(found)
            if how.interface or not how.gateway or self._answers(name, how.gateway, looked):
                return found
            self._programs.run("ip", "addr", "flush", "dev", name)
        return None

    def _answers(self, name: str, gateway: str, looked: Callable[[], None]) -> bool:
        try:
            asking = self._programs.start("arping", "-q", "-f", "-w", "2", "-I", name, gateway)
        except OSError:
            return True  # nobody can ask
        deadline = time.monotonic() + _GATEWAY_S + 1
        while (code := asking.poll()) is None and time.monotonic() < deadline:
            looked()
            time.sleep(STEP_S / 4)
        if code is None:
            asking.kill()
            asking.wait()
        return code == 0

    def _configure(self, address: Address) -> None:
        name = address.interface
        steps = [
            ("ip", "addr", "flush", "dev", name),
            ("ip", "addr", "add", f"{address.ip}/{address.prefix}", "dev", name),
        ]
        if address.gateway:
            steps.append(("ip", "route", "replace", "default", "via", address.gateway, "dev", name))
        for step in steps:
            problem = self._programs.run(*step)
            if problem:
                raise NoNetworkError(
                    f"{name} cannot take {address}: {problem}",
                    hint="is the gateway in the network of the address?",
                )
        # Each server is given 3 s, twice: a name that nobody knows costs no more than seconds.
        lines = [f"nameserver {server}" for server in address.dns]
        text = "\n".join([*lines, "options timeout:3 attempts:2", ""])
        self._names_servers = True
        self._resolv_conf.write_text(text, "ascii")

    # --- giving up ----------------------------------------------------------------------------

    def _nothing(self, how: Dhcp | Address, wait_s: float) -> NoNetworkError:
        wired = self._wired()
        if not wired:
            return NoNetworkError(
                "no wired network interface was found",
                hint="is its driver in the initramfs? see initramfs/modules.toml",
            )
        if how.interface and how.interface not in wired:
            return NoNetworkError(
                f"there is no interface {how.interface}", hint=f"there are: {', '.join(wired)}"
            )
        linked = self._linked(how.interface)
        who = "no DHCP server answered" if isinstance(how, Dhcp) else "the gateway did not answer"
        states = [f"{name}: {who if name in linked else 'no link'}" for name in wired]
        return NoNetworkError(
            f"no network after {wait_s:g} s ({'; '.join(states)})",
            hint="look at the cable and the switch, or give a fixed address",
        )


def _what(how: Dhcp | Address) -> str:
    where = how.interface or "any wired interface with a link"
    if isinstance(how, Dhcp):
        return f"an address by DHCP on {where}"
    return f"{where} that reaches {how.gateway}" if how.gateway else where


def _line_of(path: Path) -> str:
    """The one line of a file in /sys; "" where the driver gives none (EINVAL while it is down)."""
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""
