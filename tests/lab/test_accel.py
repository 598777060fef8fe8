"""The choice of acceleration, from outcomes that no host has to show."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import qemu_lab
from qemu_lab.accel import OVERRIDE_VARIABLE, Choice, Outcome, choose, decide, probe_boot_sector

WORKED = Outcome(True, "R....L" + "+" * 20, 0.4)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(available=False), "cannot be opened"),
        (Outcome(True, "", 5.0), "did not run within 5.0 s"),
        (Outcome(True, "R", 5.0), "stopped after 0 timer ticks"),
        (Outcome(True, "R..", 5.0), "stopped after 2 timer ticks"),
        (Outcome(True, "R....", 5.0), "0 of 20 rounds"),
        (Outcome(True, "R....L+", 5.0), "1 of 20 rounds"),
        (Outcome(True, "", 0.1, 1, "Could not access KVM\n"), "status 1: Could not access KVM"),
    ],
)
def test_kvm_is_not_trusted_without_a_guest_that_worked(outcome: Outcome, words: str) -> None:
    choice = decide(outcome)
    assert choice.name == "tcg"
    assert words in choice.reason


def test_kvm_is_taken_when_a_guest_has_worked() -> None:
    assert decide(WORKED).name == "kvm"


@pytest.mark.parametrize("name", ["kvm", "tcg"])
def test_the_override_wins_without_a_probe(name: str, tmp_path: Path) -> None:
    def probe() -> Outcome:
        raise AssertionError("probed in spite of the override")

    assert choose({OVERRIDE_VARIABLE: name}, probe, tmp_path / "c").name == name


def test_an_override_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hvf"):
        choose({OVERRIDE_VARIABLE: "hvf"}, lambda: WORKED, tmp_path / "c")


def test_the_choice_is_kept_until_the_host_boots_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[int] = []

    def probe() -> Outcome:
        probes.append(1)
        return WORKED

    cache = tmp_path / "deep" / "accel.json"
    monkeypatch.setattr("qemu_lab.accel._host_identity", lambda: "boot 1")
    first = choose({}, probe, cache)
    assert choose({}, probe, cache) == first == Choice("kvm", first.reason)
    assert len(probes) == 1
    choose({OVERRIDE_VARIABLE: "probe"}, probe, cache)
    assert len(probes) == 2
    monkeypatch.setattr("qemu_lab.accel._host_identity", lambda: "boot 2")
    choose({}, probe, cache)
    assert len(probes) == 3


@pytest.mark.parametrize("text", ["", "{}", '{"host": "h", "choice": {"odd": 1}}', "[1]"])
def test_a_cache_that_cannot_be_read_is_probed_again(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qemu_lab.accel._host_identity", lambda: "h")
    cache = tmp_path / "accel.json"
    cache.write_text(text)
    assert choose({}, lambda: WORKED, cache).name == "kvm"
    assert '"kvm"' in cache.read_text()


def test_the_probe_is_a_boot_sector() -> None:
    sector = probe_boot_sector()
    assert len(sector) == 512
    assert sector[510:] == b"\x55\xaa"


def test_the_probe_is_what_its_source_says(tmp_path: Path) -> None:
    source = Path(qemu_lab.__file__).parent / "guest" / "probe.S"
    subprocess.run(["as", "--64", "-o", tmp_path / "probe.o", source], check=True)
    link = ["ld", "-Ttext=0x7c00", "--oformat", "binary", "-o", "probe.bin", "probe.o"]
    subprocess.run(link, check=True, cwd=tmp_path)
    code = (tmp_path / "probe.bin").read_bytes()
    assert probe_boot_sector() == code.ljust(510, b"\0") + b"\x55\xaa"
