"""files.toml and modules.toml: every entry has a reason, wrong entries are named."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from initramfs.contents import FILES_TOML, MODULES_TOML, read_contents, read_profiles
from initramfs.errors import ContentsError

HERE = FILES_TOML.parent


def entries_of(value: Any) -> list[dict[str, Any]]:
    """Every table in a list of tables, however deep."""
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    if isinstance(value, dict):
        return [entry for item in value.values() for entry in entries_of(item)]
    return []


@pytest.mark.parametrize("path", [FILES_TOML, MODULES_TOML])
def test_every_entry_has_a_reason_of_its_own_words(path: Path) -> None:
    entries = entries_of(tomllib.loads(path.read_text()))
    assert len(entries) > 15
    for entry in entries:
        assert len(entry.get("reason", "")) > 3, entry


def test_an_entry_without_a_reason_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "files.toml"
    file.write_text('[[directory]]\npath = "/srv"\n')
    with pytest.raises(ContentsError, match="directory /srv has no reason"):
        read_contents(file)


def test_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "files.toml"
    file.write_text('[[directory]]\npath = "/srv"\nreason = "because"\ncolour = "red"\n')
    with pytest.raises(ContentsError, match=r"directory /srv: .*colour"):
        read_contents(file)


def test_a_profile_has_all_of_those_it_includes() -> None:
    profiles = read_profiles()
    names = {choice.name for choice in profiles["pc"].modules}
    assert {choice.name for choice in profiles["virtio-nvme"].modules} < names


def test_a_module_is_loaded_at_its_device_or_with_the_network_and_at_no_other_time(
    tmp_path: Path,
) -> None:
    file = tmp_path / "modules.toml"
    file.write_text(
        '[profiles.a]\ntitle = "x"\n[[profiles.a.module]]\n'
        'name = "net"\nreason = "because"\nwhen = "later"\n'
    )
    with pytest.raises(ContentsError, match="profile a: net: when = 'later'"):
        read_profiles(file)
    drivers = {one.name for one in read_profiles()["pc"].modules if one.when == "network"}
    assert {"virtio_net", "e1000", "e1000e", "igb", "r8169", "tg3"} == drivers


def test_a_profile_that_includes_itself_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "modules.toml"
    file.write_text('[profiles.a]\ntitle = "x"\nincludes = ["a"]\n')
    with pytest.raises(ContentsError, match="includes itself"):
        read_profiles(file)


def test_a_watchdog_survives_kexec_and_can_be_stopped_before_it() -> None:
    # kexec's reboot notifier would stop it; with nowayout an ordinary start could not.
    choices = {choice.name: choice for choice in read_profiles()["pc"].modules}
    assert choices["watchdog"].options == "stop_on_reboot=0"
    for name in ("i6300esb", "iTCO_wdt", "sp5100_tco"):
        assert not choices[name].options


def test_stand_ins_and_scripts_exist() -> None:
    contents = read_contents()
    for standin in contents.standins:
        assert (HERE / standin.source).is_file(), standin
    for script in contents.scripts:
        assert (HERE / script.source).is_file(), script


def test_every_command_of_the_scripts_is_an_applet() -> None:
    offered = {name for applets in read_contents().applets for name in applets.names}
    builtin = subprocess.run(
        ["bash", "-c", "compgen -b -k"], capture_output=True, text=True, check=True
    ).stdout.split()
    for script in ("init", "record.sh", "overlay.sh"):
        text = (HERE / script).read_text()
        functions = set(re.findall(r"^([a-z_]+)\(\)", text, re.MULTILINE))
        used = set(
            re.findall(
                r"(?:^|\||&&|then|do|if|!|\$\()\s*([a-z][a-z0-9_]+)(?= )", text, re.MULTILINE
            )
        )
        programs = {word for word in used if any(Path(d, word).exists() for d in ("/bin", "/sbin"))}
        assert programs, script
        # In the image's own initrd, where overlay.sh runs as well: the updater needs no program.
        elsewhere = {"dmsetup"}
        assert programs - functions - set(builtin) - elsewhere <= offered, script
