"""Which Python modules go into the initramfs: exactly those that the updater imports.

``collect`` imports the entry module (and what it names in ``LAZY_IMPORTS``) in a child
process of the very interpreter that is shipped, takes ``sys.modules`` as the answer, and
refuses any module outside the standard library and the allowed packages by name. ``compile_``
turns the sources into sourceless ``.pyc`` files: with sources a start under emulation took
4.9 s instead of 1.1 s, and a zip is slower than a plain folder (LAB.md, sections 1 and 2).
"""

from __future__ import annotations

import marshal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initramfs.errors import PythonError

CHILD = Path(__file__).with_name("python_child.py")
DIST_PACKAGES = "/usr/lib/python3/dist-packages"
# What the updater may import beside the standard library (DESIGN section 6). _cffi_backend
# is how python3-nacl reaches libsodium.
ALLOWED = frozenset({"bootsvc", "construct", "crcmod", "nacl", "_cffi_backend"})
# getpath (CPython) finds the standard library by this file, although the module is frozen.
LANDMARK = "os"


@dataclass(frozen=True)
class RuntimeRequest:
    """What to collect.

    ``entries``: modules to import, each with an optional tuple ``LAZY_IMPORTS`` of the names
    that it imports later. ``search``: directories with packages (the standard library is
    always there). ``standins``: module name -> source file that replaces it. ``blocked``:
    modules that must not be found. ``extra``: modules to add whoever imports them.
    """

    entries: tuple[str, ...]
    search: tuple[Path, ...]
    standins: Mapping[str, Path]
    blocked: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    allowed: frozenset[str] = ALLOWED
    python: Path = Path("/usr/bin/python3")


@dataclass(frozen=True)
class ModuleFile:
    """One module as a file: ``source`` on this machine, ``path`` in the initramfs."""

    name: str
    source: Path
    path: str
    is_extension: bool
    is_standin: bool = False

    @property
    def package(self) -> str:
        """Top-level package or module that the file belongs to."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Runtime:
    """What ``collect`` found.

    ``version`` is "3.11"; ``inherent`` are the modules that the interpreter has built in or
    frozen, which need no file; ``stdlib_path`` is the standard library's place in the image.
    """

    version: str
    stdlib_path: str
    files: tuple[ModuleFile, ...]
    inherent: tuple[str, ...]
    stdlib_names: frozenset[str]


def collect(request: RuntimeRequest) -> Runtime:
    """Find every module file that the entries need.

    Raises PythonError: an entry does not import, or pulls in a module that is not allowed;
    the message names the module and the file it came from.
    """
    answer = _run_child(
        request.python,
        {
            "action": "list",
            "entries": list(request.entries),
            "search": [str(path) for path in request.search],
            "standins": {name: str(path) for name, path in request.standins.items()},
            "blocked": list(request.blocked),
            "extra": list(request.extra),
            "lazy_attribute": "LAZY_IMPORTS",
        },
    )
    stdlib_dir = str(answer["stdlib"])
    stdlib_path = f"/usr/lib/python{answer['version']}"
    stdlib_names = frozenset(answer["stdlib_names"])
    places = _Places(stdlib_dir, stdlib_path, tuple(str(path) for path in request.search))
    files: list[ModuleFile] = [_landmark(stdlib_dir, stdlib_path)]
    inherent: list[str] = []
    for name, kind, origin in answer["modules"]:
        _check_allowed(name, origin, kind, stdlib_names, request.allowed)
        if kind in ("builtin", "frozen"):
            inherent.append(name)
        elif name in request.standins:
            path = places.of_standin(name, stdlib_names)
            files.append(ModuleFile(name, Path(origin), path, False, is_standin=True))
        else:
            extension = kind == "extension"
            path = places.of_file(name, origin, extension)
            files.append(ModuleFile(name, Path(origin), path, extension))
    files.sort(key=lambda item: item.path)
    return Runtime(
        version=str(answer["version"]),
        stdlib_path=stdlib_path,
        files=tuple(files),
        inherent=tuple(sorted(inherent)),
        stdlib_names=stdlib_names,
    )


def compile_(
    files: Sequence[ModuleFile], python: Path, strip_docstrings: bool = True
) -> dict[str, bytes]:
    """Compile the source modules among ``files``; returns path in the image -> bytes.

    ``co_filename`` is the path in the image with the suffix ``.py``, so that a traceback on
    the serial line names the module, not a directory of the machine that built it.
    Raises PythonError: a source does not compile.
    """
    sources = [item for item in files if not item.is_extension]
    with tempfile.TemporaryDirectory(prefix="initramfs-pyc-") as scratch:
        jobs = [
            (str(item.source), item.path.removesuffix("c"), f"{scratch}/{number}.pyc")
            for number, item in enumerate(sources)
        ]
        _run_child(
            python, {"action": "compile", "files": jobs, "strip_docstrings": strip_docstrings}
        )
        outputs = [Path(output).read_bytes() for _, _, output in jobs]
    return {item.path: data for item, data in zip(sources, outputs, strict=True)}


def compile_text(source: str, path: str, python: Path) -> bytes:
    """Compile one generated source text that will be ``path`` (.pyc) in the image."""
    with tempfile.TemporaryDirectory(prefix="initramfs-pyc-") as scratch:
        file = Path(scratch) / "source.py"
        file.write_text(source, encoding="utf-8")
        return compile_((ModuleFile("__main__", file, path, False),), python)[path]


def _landmark(stdlib_dir: str, stdlib_path: str) -> ModuleFile:
    return ModuleFile(
        LANDMARK, Path(stdlib_dir) / f"{LANDMARK}.py", f"{stdlib_path}/{LANDMARK}.pyc", False
    )


@dataclass(frozen=True)
class _Places:
    """Where a module file of this machine goes in the initramfs."""

    stdlib_dir: str
    stdlib_path: str
    search: tuple[str, ...]

    def of_file(self, name: str, origin: str, extension: bool) -> str:
        tail = self._below(name, origin)
        if extension:
            return tail
        return tail.removesuffix(".py") + ".pyc"

    def _below(self, name: str, origin: str) -> str:
        if origin.startswith(self.stdlib_dir + "/"):
            return self.stdlib_path + origin.removeprefix(self.stdlib_dir)
        for directory in self.search:
            if origin.startswith(directory + "/"):
                return DIST_PACKAGES + origin.removeprefix(directory)
        raise PythonError(f"module {name} comes from {origin}, outside of every search directory")

    def of_standin(self, name: str, stdlib_names: frozenset[str]) -> str:
        base = self.stdlib_path if name.partition(".")[0] in stdlib_names else DIST_PACKAGES
        return f"{base}/{name.replace('.', '/')}.pyc"


def _check_allowed(
    name: str, origin: str, kind: str, stdlib_names: frozenset[str], allowed: frozenset[str]
) -> None:
    top = name.partition(".")[0]
    if top not in stdlib_names and top not in allowed:
        listed = ", ".join(sorted(allowed))
        raise PythonError(
            f"module {name} ({origin}) may not go into the initramfs: only the standard library "
            f"and {listed} may; remove the import or make it lazy outside the updater"
        )
    if kind not in ("builtin", "frozen", "source", "extension"):
        raise PythonError(f"module {name} ({origin}) has an unknown loader: {kind}")


def _run_child(python: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Run python_child.py with a clean environment (see its docstring for why marshal)."""
    environment = {"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"}
    # -P and -s keep this directory and the user's packages out; -I would do so as well, but
    # it would also ignore the fixed hash seed.
    # no_debug_ranges leaves column numbers out of the .pyc files, a quarter of their bytes:
    # a traceback needs the source to show them, and there is none in the image.
    command = [str(python), "-S", "-s", "-P", "-B", "-X", "no_debug_ranges", str(CHILD)]
    try:
        done = subprocess.run(
            command,
            input=marshal.dumps(order, 2),
            capture_output=True,
            env=environment,
            cwd="/",
            check=False,
        )
    except OSError as exc:
        raise PythonError(f"{python} cannot be run ({exc}): install python3") from exc
    if done.returncode != 0:
        trace = done.stderr.decode(errors="replace").strip()
        last = trace.splitlines()[-1] if trace else f"exit code {done.returncode}"
        raise PythonError(
            f"{python} could not {order['action']} the updater's modules: {last}\n{trace}"
        )
    answer: dict[str, Any] = marshal.loads(done.stdout)  # noqa: S302 - our own child wrote it
    return answer
