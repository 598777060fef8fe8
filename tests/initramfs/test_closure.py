"""Shared libraries of ELF files, against what the loader itself says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from initramfs.closure import facts_of, is_elf, libraries_of, with_links
from initramfs.errors import ClosureError

PYTHON = Path("/usr/bin/python3")


def loaded_by_ldd(program: Path) -> set[Path]:
    output = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {Path(found).resolve() for found in re.findall(r"(/\S+) \(0x", output)}


def test_closure_of_python_equals_what_ldd_shows() -> None:
    ours = {path.resolve() for path in libraries_of([PYTHON])}
    assert ours == loaded_by_ldd(PYTHON)
    assert any(path.name.startswith("libc.so") for path in ours)
    assert any(path.name.startswith("ld-linux") for path in ours)


def test_libraries_of_libraries_are_found() -> None:
    # An extension module names libsodium or libffi; libc comes only through these and Python.
    extension = next(Path("/usr/lib/python3").rglob("_sodium.abi3.so"))
    names = {path.name for path in libraries_of([extension])}
    assert any(name.startswith("libsodium.so.") for name in names)
    assert "libc.so.6" in names


def test_a_versioned_link_brings_its_real_file() -> None:
    libraries = with_links(libraries_of([PYTHON]))
    links = [path for path in libraries if path.is_symlink()]
    assert all(link.resolve() in {path.resolve() for path in libraries - {link}} for link in links)


def test_a_script_needs_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert not is_elf(script)
    assert libraries_of([script]) == frozenset()


def test_a_missing_library_is_named_with_the_file_that_wants_it(tmp_path: Path) -> None:
    # In an empty system nothing is found: the error names library, user and folders.
    with pytest.raises(ClosureError, match=r"python3 needs the (library \S+|loader)"):
        libraries_of([PYTHON], root=tmp_path)


def test_another_systems_libraries_are_found_below_its_root(tmp_path: Path) -> None:
    for library in with_links(libraries_of([PYTHON])):
        place = tmp_path / str(library).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library.resolve(), place)
    found = libraries_of([PYTHON], root=tmp_path)
    assert found
    assert all(path.is_relative_to(tmp_path) for path in found)


def test_a_damaged_file_is_an_error_of_ours(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"\x7fELF" + b"\xff" * 20)
    with pytest.raises(ClosureError, match="damaged"):
        facts_of(damaged)
