"""Kernel modules: dependencies, soft dependencies, built-in and missing ones, tables."""

import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from initramfs.errors import ModuleError
from initramfs.modules import KernelTree, select

RELEASE = "6.1.0-test"


def module_file(**info: str | list[str]) -> bytes:
    """A minimal ELF relocatable file with a .modinfo section."""
    items = []
    for key, value in info.items():
        items += [f"{key}={text}" for text in (value if isinstance(value, list) else [value])]
    modinfo = "\0".join(items).encode() + b"\0"
    names = b"\0.modinfo\0.shstrtab\0"
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        1, 62, 1, 0, 0, 64 + len(modinfo) + len(names), 0, 64, 0, 0, 64, 3, 2,
    )  # fmt: skip
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 1, 1, 2, 0, 64, len(modinfo), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, 64 + len(modinfo), len(names), 0, 0, 1, 0)
    return header + modinfo + names + sections


@pytest.fixture
def tree(tmp_path: Path) -> KernelTree:
    base = tmp_path / "lib/modules" / RELEASE
    files = {
        "drivers/disk-fast.ko": module_file(
            name="disk_fast", depends="bus-core,queue", alias=["pci:v1*", "virtio:d2*"]
        ),
        "drivers/bus-core.ko": module_file(name="bus_core", depends="queue"),
        "drivers/queue.ko": module_file(name="queue", depends=""),
        "fs/strange.ko": module_file(
            name="strange", depends="lib", alias="fs-strange", softdep="pre: sum nowhere post: late"
        ),
        "lib/lib.ko": module_file(name="lib", depends=""),
        "lib/sum.ko": module_file(name="sum", depends=""),
        "lib/late.ko": module_file(name="late", depends=""),
        "fs/broken.ko": module_file(name="broken", depends="gone"),
    }
    for path, data in files.items():
        file = base / "kernel" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (base / "kernel/drivers/packed.ko.xz").write_bytes(
        lzma.compress(module_file(name="packed", depends="queue"))
    )
    (base / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\nkernel/lib/built-in-x.ko\n")
    return KernelTree.extracted(tmp_path)


def test_dependencies_come_along_and_load_before(tree: KernelTree) -> None:
    chosen = select(tree, ["disk-fast"])
    assert [module.name for module in chosen.modules] == ["bus_core", "disk_fast", "queue"]
    lines = dict(line.split(":") for line in chosen.modules_dep.splitlines())
    # Modprobe loads from right to left: queue first, then bus-core.
    assert lines["kernel/drivers/disk-fast.ko"].split() == [
        "kernel/drivers/bus-core.ko",
        "kernel/drivers/queue.ko",
    ]


def test_a_soft_dependency_becomes_a_dependency_and_one_after_does_not(tree: KernelTree) -> None:
    chosen = select(tree, ["strange"])
    assert {module.name for module in chosen.modules} == {"strange", "lib", "sum"}
    lines = dict(line.split(":") for line in chosen.modules_dep.splitlines())
    assert set(lines["kernel/fs/strange.ko"].split()) == {"kernel/lib/lib.ko", "kernel/lib/sum.ko"}


def test_aliases_of_chosen_modules_only(tree: KernelTree) -> None:
    assert select(tree, ["disk_fast"]).modules_alias == (
        "alias pci:v1* disk_fast\nalias virtio:d2* disk_fast\n"
    )
    assert "fs-strange" in select(tree, ["strange"]).modules_alias


def test_no_alias_leads_to_a_module_that_waits_until_it_is_wanted(tree: KernelTree) -> None:
    chosen = select(tree, ["disk_fast", "strange"])
    assert "disk_fast" not in chosen.aliases(but=["disk_fast"])
    assert "fs-strange" in chosen.aliases(but=["disk_fast"])
    assert "disk-fast.ko" in chosen.modules_dep


def test_builtin_and_missing_modules_are_told_apart(tree: KernelTree) -> None:
    chosen = select(tree, ["ext4", "built_in_x", "no-such"])
    assert chosen.builtin == ("ext4", "built_in_x")
    assert chosen.missing == ("no_such",)
    assert chosen.modules == ()


def test_a_dependency_that_the_kernel_lacks_is_named(tree: KernelTree) -> None:
    with pytest.raises(ModuleError, match=r"broken\.ko depends on gone"):
        select(tree, ["broken"])


def test_a_packed_module_is_unpacked_and_named_so(tree: KernelTree) -> None:
    packed = {module.name: module for module in select(tree, ["packed"]).modules}["packed"]
    assert packed.path == "kernel/drivers/packed.ko"
    assert packed.data.startswith(b"\x7fELF")


def test_an_unknown_release_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModuleError, match="no kernel"):
        KernelTree.extracted(tmp_path)
    with pytest.raises(ModuleError, match=r"9\.9\.9-none"):
        KernelTree.installed("9.9.9-none")


def assembled_module(file: Path, uses: tuple[str, ...], alias: str) -> None:
    """A module that exports its own name and uses others, as depmod sees it: by its symbols."""
    name = file.stem
    lines = ['.section .modinfo,"a"', f'.asciz "name={name}"', f'.asciz "alias={alias}"']
    lines += [f'.asciz "depends={",".join(uses)}"', '.section __ksymtab_strings,"a"']
    lines += [f'.asciz "use_{name}"', ".data", f".globl use_{name}", f"use_{name}:"]
    lines += [f".quad use_{other}" for other in uses]
    subprocess.run(["as", "--64", "-o", file], input="\n".join(lines) + "\n", text=True, check=True)


def test_tables_equal_those_of_depmod(tmp_path: Path) -> None:
    depmod = shutil.which("depmod", path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert depmod, "depmod is missing: apt-get install kmod"
    base = tmp_path / "lib/modules" / RELEASE
    (base / "kernel").mkdir(parents=True)
    for name, uses in {
        "ring": (),
        "bus": ("ring",),
        "disk": ("bus", "sums"),
        "sums": (),
        "console": ("bus",),
    }.items():
        assembled_module(base / "kernel" / f"{name}.ko", uses, f"pci:{name}*")
    for name in ("modules.builtin", "modules.order"):
        (base / name).touch()
    chosen = select(KernelTree.extracted(tmp_path), ["disk", "console"])
    subprocess.run([depmod, "-b", str(tmp_path), RELEASE], check=True, capture_output=True)

    def table(text: str) -> dict[str, set[str]]:
        rows = (line.split(":") for line in text.splitlines())
        return {name: set(needs.split()) for name, needs in rows}

    found = table(chosen.modules_dep)
    assert found["kernel/disk.ko"] == {f"kernel/{name}.ko" for name in ("bus", "ring", "sums")}
    assert found == table((base / "modules.dep").read_text())
    theirs = (base / "modules.alias").read_text().splitlines()
    assert sorted(chosen.modules_alias.splitlines()) == sorted(
        line for line in theirs if not line.startswith("#")
    )
