"""Which Python modules are collected, and what is refused."""

import importlib.util
import marshal
import subprocess
from pathlib import Path

import pytest

from initramfs.contents import HERE, read_contents
from initramfs.errors import PythonError
from initramfs.python_runtime import (
    DIST_PACKAGES,
    ModuleFile,
    Runtime,
    RuntimeRequest,
    collect,
    compile_,
)

PYTHON = Path("/usr/bin/python3")
STANDINS = {item.module: HERE / item.source for item in read_contents().standins}


def project(folder: Path, **modules: str) -> Path:
    """A directory with a package bootsvc that has the given modules."""
    package = folder / "bootsvc"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name, text in modules.items():
        (package / f"{name}.py").write_text(text)
    return folder


def collected(
    folder: Path, entry: str = "bootsvc.entry", *, blocked: tuple[str, ...] = ()
) -> Runtime:
    return collect(
        RuntimeRequest(
            entries=(entry,),
            search=(folder, Path(DIST_PACKAGES)),
            standins=STANDINS,
            blocked=blocked,
        )
    )


def names(runtime: Runtime) -> set[str]:
    return {item.name for item in runtime.files}


def test_only_what_is_imported_is_collected(tmp_path: Path) -> None:
    found = names(collected(project(tmp_path, entry="import struct\n")))
    assert {"bootsvc", "bootsvc.entry", "struct", "os", "encodings.utf_8"} <= found
    assert not {"json", "re", "tempfile", "importlib.util"} & found


def test_lazy_imports_are_collected_although_nothing_imported_them(tmp_path: Path) -> None:
    text = "LAZY_IMPORTS = ('json', 'bootsvc.later')\ndef main():\n    import json\n"
    found = names(collected(project(tmp_path, entry=text, later="import fractions\n")))
    assert {"json", "json.decoder", "bootsvc.later", "fractions"} <= found


def test_an_import_outside_the_allowed_set_is_refused_by_name(tmp_path: Path) -> None:
    folder = project(tmp_path, entry="import intruder.inner\n")
    (tmp_path / "intruder").mkdir()
    (tmp_path / "intruder/__init__.py").write_text("")
    (tmp_path / "intruder/inner.py").write_text("")
    with pytest.raises(PythonError, match=r"module intruder .*may not go into the initramfs"):
        collected(folder)


def test_an_import_that_fails_is_shown_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(PythonError, match="No module named 'nowhere_at_all'"):
        collected(project(tmp_path, entry="import nowhere_at_all\n"))


def test_construct_comes_without_its_debugger(tmp_path: Path) -> None:
    runtime = collected(project(tmp_path, entry="import construct\n"))
    found = {item.name: item for item in runtime.files}
    assert found["construct.debug"].is_standin
    assert found["construct.debug"].path == f"{DIST_PACKAGES}/construct/debug.pyc"
    assert not {"pdb", "inspect", "ast", "dis", "traceback"} & set(found)


def test_hash_code_of_openssl_stays_out_when_blocked(tmp_path: Path) -> None:
    folder = project(tmp_path, entry="import hashlib\nhashlib.sha256(b'')\n")
    assert "_hashlib" in names(collected(folder))
    assert "_hashlib" not in names(collected(folder, blocked=("_hashlib",)))


def test_compiled_files_carry_the_path_of_the_image_and_no_build_date(tmp_path: Path) -> None:
    folder = project(
        tmp_path, entry='"""Docstring."""\ndef main():\n    """Other."""\n    assert 0\n'
    )
    item = ModuleFile("bootsvc.entry", folder / "bootsvc/entry.py", "/usr/lib/x/entry.pyc", False)
    data = compile_((item,), PYTHON)[item.path]
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert data[4:8] == b"\x01\0\0\0"  # checked by hash, and never: no time stamp inside
    code = marshal.loads(data[16:])  # noqa: S302 - made here
    assert code.co_filename == "/usr/lib/x/entry.py"
    assert b"Docstring" not in data
    assert b"Other" not in data
    assert b"AssertionError" not in data
    assert str(tmp_path).encode() not in data
    scope: dict[str, object] = {}
    exec(code, scope)  # noqa: S102
    with pytest.raises(AssertionError):
        scope["main"]()  # type: ignore[operator]  # assertions stay


def test_compiling_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = project(tmp_path, entry="import construct\nx = {'a', 'b', 'c'}\n")
    files = collected(folder).files
    assert compile_(files, PYTHON) == compile_(files, PYTHON)


def test_the_collected_files_are_enough_to_import_everything(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    text = "import construct, crcmod, hashlib, json, ctypes, tomllib, mmap, fcntl, dataclasses\n"
    runtime = collected(project(tmp_path / "project", entry=text))
    compiled = compile_(runtime.files, PYTHON)
    root = tmp_path / "root"
    for item in runtime.files:
        place = root / item.path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(item.source.read_bytes() if item.is_extension else compiled[item.path])
    (root / runtime.stdlib_path.lstrip("/") / "lib-dynload").mkdir(exist_ok=True)
    # A file, as the updater is one: Python 3.13 imports more for -c than for a file.
    script = root / "script.py"
    script.write_text(
        f"import sys; sys.path[:] = [p for p in sys.path if p.startswith({str(root)!r})]\n"
        f"sys.path.append({str(root / DIST_PACKAGES.lstrip('/'))!r})\n"
        "import bootsvc.entry\n"
        "print(len([m for m in sys.modules.values() if getattr(m, '__file__', None)"
        f" and not m.__file__.startswith({str(root)!r})]))\n"
    )
    done = subprocess.run(
        [PYTHON, "-S", "-s", "-P", "-B", script],
        env={"PYTHONHOME": str(root / "usr")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"
