"""The wired network: which interface is taken, what is given back, and what is said in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootsvc.boot.network import Network, Programs
from bootsvc.errors import NoNetworkError
from bootsvc.formats.addresses import Address, Dhcp
from tests.boot.watching import BrokenOffError, Watching

LEASE = "ip=10.0.2.15\nmask=24\nrouter=10.0.2.2\ndns=10.0.2.3\n"
FIXED = Address("10.0.2.77", 24, "10.0.2.2", ("10.0.2.3",))


class Ended:
    """A program that has ended."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        raise AssertionError("it has ended already")

    def wait(self) -> int:
        return self.code


class Client:
    """udhcpc: runs until it is killed."""

    def __init__(self) -> None:
        self.is_killed = False

    def poll(self) -> int | None:
        return -9 if self.is_killed else None

    def kill(self) -> None:
        self.is_killed = True

    def wait(self) -> int:
        assert self.is_killed
        return -9


class Hardware(Programs):
    """Interfaces in a folder like /sys/class/net, and the programs that work on them.

    Attributes:
        leases: what a DHCP server answers, by interface; ``gateways``: where arping is answered.
        failing: words of a program that fails.
    """

    def __init__(self, folder: Path) -> None:
        self.sys_net = folder / "net"
        self.sys_net.mkdir()
        self.ran: list[str] = []
        self.leases: dict[str, str] = {}
        self.gateways: set[str] = set()
        self.clients: dict[str, Client] = {}
        self.failing = ""

    def add(self, name: str, *, link: bool = True, kind: str = "1", wireless: bool = False) -> None:
        folder = self.sys_net / name
        folder.mkdir()
        (folder / "type").write_text(f"{kind}\n")
        (folder / "device").mkdir()
        if link:
            (folder / "carrier").write_text("1\n")
        if wireless:
            (folder / "wireless").mkdir()

    def start(self, *words: str, environment: dict[str, str] | None = None) -> Client | Ended:
        if words[0] == "arping":
            return Ended(0 if words[words.index("-I") + 1] in self.gateways else 1)
        assert words[0] == "udhcpc"
        assert environment is not None
        name = words[words.index("-i") + 1]
        if name in self.leases:
            Path(environment["BOOTSVC_LEASE"]).write_text(self.leases[name])
        self.clients[name] = Client()
        return self.clients[name]

    def run(self, *words: str) -> str:
        self.ran.append(" ".join(words))
        return f"{words[0]}: no" if self.failing and self.failing in self.ran[-1] else ""


@pytest.fixture
def hardware(tmp_path: Path) -> Hardware:
    return Hardware(tmp_path)


@pytest.fixture
def watch() -> Watching:
    return Watching()


@pytest.fixture
def network(tmp_path: Path, hardware: Hardware, watch: Watching) -> Network:
    return Network(
        watch,
        hardware,
        sys_net=hardware.sys_net,
        leases=tmp_path / "run",
        resolv_conf=tmp_path / "resolv.conf",
        drivers=tmp_path / "network-modules",
    )


def test_the_first_interface_that_is_given_an_address_is_used(
    hardware: Hardware, network: Network, watch: Watching, tmp_path: Path
) -> None:
    for name in ("eth0", "eth1", "eth2"):
        hardware.add(name, link=name != "eth0")
    hardware.leases = {"eth0": LEASE, "eth2": LEASE}
    address = network.bring_up(Dhcp(), wait_s=5)
    assert address == Address("10.0.2.15", 24, "10.0.2.2", ("10.0.2.3",), "eth2")
    assert network.address == address
    assert "eth0" not in hardware.clients, "it has no link"
    assert hardware.clients["eth1"].is_killed
    assert not hardware.clients["eth2"].is_killed, "it renews the lease"
    assert "ip addr add 10.0.2.15/24 dev eth2" in hardware.ran
    assert "ip route replace default via 10.0.2.2 dev eth2" in hardware.ran
    assert (tmp_path / "resolv.conf").read_text() == (
        "nameserver 10.0.2.3\noptions timeout:3 attempts:2\n"
    )
    assert watch.said == ["network: 10.0.2.15/24,gateway=10.0.2.2,dns=10.0.2.3,interface=eth2"]
    what = "an address by DHCP on any wired interface with a link"
    assert watch.waits == [(what, 5, "it is given up")]


def test_name_servers_that_were_set_by_others_are_left_alone(
    network: Network, tmp_path: Path
) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.9\n")
    network.take_down()
    assert (tmp_path / "resolv.conf").read_text() == "nameserver 192.0.2.9\n"


def test_what_is_no_wired_interface_is_left_alone(hardware: Hardware, network: Network) -> None:
    hardware.add("lo", kind="772")
    hardware.add("wlan0", wireless=True)
    hardware.add("eth0")
    (hardware.sys_net / "eth0/device").rmdir()  # a bridge, a tunnel
    with pytest.raises(NoNetworkError, match="no wired network interface was found") as caught:
        network.bring_up(Dhcp(), wait_s=0)
    assert "modules.toml" in caught.value.hint
    assert hardware.ran == []


def test_a_named_interface_is_the_only_one_that_is_touched(
    hardware: Hardware, network: Network
) -> None:
    hardware.add("eth0")
    hardware.add("eth1")
    hardware.leases = {"eth0": LEASE, "eth1": LEASE}
    assert network.bring_up(Dhcp("eth1"), wait_s=5).interface == "eth1"
    assert not any("eth0" in line for line in hardware.ran)


def test_drivers_are_loaded_before_anything_is_looked_for(
    hardware: Hardware, network: Network, tmp_path: Path
) -> None:
    (tmp_path / "network-modules").write_text("virtio_net\ne1000e\n")
    hardware.add("eth0")
    hardware.leases = {"eth0": LEASE}
    network.bring_up(Dhcp(), wait_s=5)
    assert hardware.ran[:2] == ["modprobe -q virtio_net", "modprobe -q e1000e"]


def test_an_answer_that_is_no_address_is_said_and_another_one_awaited(
    hardware: Hardware, network: Network, watch: Watching
) -> None:
    hardware.add("eth0")
    hardware.leases = {"eth0": "ip=$(reboot)\nmask=24\n"}
    with pytest.raises(NoNetworkError, match="eth0: no DHCP server answered"):
        network.bring_up(Dhcp(), wait_s=0.3)
    assert watch.said == [
        "network: lease on eth0: '$(reboot)' is no IPv4 address; another answer is waited for"
    ]


def test_a_fixed_address_goes_to_the_interface_on_which_the_gateway_answers(
    hardware: Hardware, network: Network
) -> None:
    hardware.add("eth0")
    hardware.add("eth1")
    hardware.gateways = {"eth1"}
    assert network.bring_up(FIXED, wait_s=5).interface == "eth1"
    assert hardware.ran.count("ip addr flush dev eth0") == 2, "before and after it was tried"


@pytest.mark.parametrize(
    "how", [Address("10.0.2.77", 24), Address("10.0.2.77", 24, "10.0.2.2", (), "eth0")], ids=str
)
def test_without_a_gateway_or_with_a_name_the_link_is_enough(
    hardware: Hardware, network: Network, how: Address
) -> None:
    hardware.add("eth0")
    assert network.bring_up(how, wait_s=0).interface == "eth0"


def test_giving_up_names_every_interface_and_gives_all_back(
    hardware: Hardware, network: Network, tmp_path: Path
) -> None:
    hardware.add("eth0", link=False)
    hardware.add("eth1")
    with pytest.raises(NoNetworkError) as caught:
        network.bring_up(Dhcp(), wait_s=0.3)
    assert str(caught.value) == (
        "no network after 0.3 s (eth0: no link; eth1: no DHCP server answered)"
    )
    assert hardware.clients["eth1"].is_killed
    assert {"ip link set eth0 down", "ip link set eth1 down"} <= set(hardware.ran)
    with pytest.raises(NoNetworkError, match="eth1: the gateway did not answer"):
        network.bring_up(FIXED, wait_s=0)
    assert not (tmp_path / "resolv.conf").exists()
    assert network.address is None


def test_an_interface_that_is_not_there_is_answered_with_those_that_are(
    hardware: Hardware, network: Network
) -> None:
    hardware.add("eth0")
    with pytest.raises(NoNetworkError, match="no interface eth7") as caught:
        network.bring_up(Dhcp("eth7"), wait_s=0)
    assert caught.value.hint == "there are: eth0"


def test_a_gateway_outside_of_the_network_is_refused_in_words(
    hardware: Hardware, network: Network
) -> None:
    hardware.add("eth0")
    hardware.failing = "route replace"
    with pytest.raises(NoNetworkError, match=r"eth0 cannot take 10\.0\.2\.77/24.*ip: no"):
        network.bring_up(FIXED, wait_s=0)
    assert hardware.ran[-1] == "ip link set eth0 down"


def test_it_can_be_broken_off_and_then_gives_all_back(
    hardware: Hardware, network: Network, watch: Watching
) -> None:
    hardware.add("eth0")
    watch.breaks_off_after = 1
    with pytest.raises(BrokenOffError):
        network.bring_up(Dhcp(), wait_s=60)
    assert hardware.clients["eth0"].is_killed
    assert hardware.ran[-1] == "ip link set eth0 down"


def test_taking_it_down_leaves_the_machine_as_it_was_found(
    hardware: Hardware, network: Network, tmp_path: Path
) -> None:
    hardware.add("eth0")
    hardware.leases = {"eth0": LEASE}
    network.bring_up(Dhcp(), wait_s=5)
    network.take_down()
    assert network.address is None
    assert hardware.clients["eth0"].is_killed
    assert hardware.ran[-2:] == ["ip addr flush dev eth0", "ip link set eth0 down"]
    assert list((tmp_path / "run").iterdir()) == []
    assert not (tmp_path / "resolv.conf").exists()
    ran = len(hardware.ran)
    network.take_down()
    assert len(hardware.ran) == ran


def test_programs_say_what_they_complain_about() -> None:
    programs = Programs()
    assert programs.run("true") == ""
    assert programs.run("false") == "false failed"
    assert programs.run("sh", "-c", "echo no carrier >&2; exit 2") == "no carrier"
    assert programs.run("/no/such/program") == "/no/such/program: No such file or directory"
    assert programs.start("sh", "-c", 'exit "$X"', environment={"X": "3"}).wait() == 3
