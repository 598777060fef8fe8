"""What the updater imports only when it is needed is named in LAZY_IMPORTS, so that the initramfs,
which carries what is imported at once and what is named there, has it when the time comes."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import bootsvc
from bootsvc.updater import LAZY_IMPORTS
from initramfs.contents import read_contents

ROOT = Path(bootsvc.__file__).parent.parent
ENTRY = "bootsvc.updater"
NOT_CARRIED = {
    "tomllib",  # settings.load, which the updater never calls: it has the settings as JSON
    "ssl",  # an option of the initramfs
}

INSTALLER = {one.module for one in read_contents().python if one.when == "installer"}
"""What an installer carries as well; the updater asks whether it is one before it imports these."""


def path_of(module: str) -> Path | None:
    """The source of a module of ours; None for any other."""
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if module.startswith("bootsvc") and path.exists():
            return path
    return None


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Each module that is imported, and whether only within a function."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    inside = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [one for one in below if path_of(one)]
            if len(modules) < len(below):
                modules.append(node.module)
            yield from ((one, node in inside) for one in modules)


def carried() -> tuple[set[str], dict[str, str]]:
    """What is imported at once or named, and what is imported later: by whom."""
    at_once, later = {ENTRY, *LAZY_IMPORTS, *INSTALLER}, {}
    todo = list(at_once)
    while todo:
        module = todo.pop()
        path = path_of(module)
        if path is None:
            continue
        for name, is_later in imports_of(path):
            if is_later:
                later[name] = module
            elif name not in at_once:
                at_once.add(name)
                todo.append(name)
    return at_once, later


def test_whatever_is_imported_later_is_carried() -> None:
    at_once, later = carried()
    missing = {
        name: by
        for name, by in later.items()
        if name not in at_once and name not in NOT_CARRIED and name != "__future__"
    }
    assert not missing, f"to be named in bootsvc.updater.LAZY_IMPORTS: {missing}"


def test_whatever_is_named_exists() -> None:
    for name in LAZY_IMPORTS:
        assert importlib.util.find_spec(name) is not None, name


def test_an_import_within_a_function_is_found() -> None:
    found = dict(imports_of(Path(__file__).parent.parent / "bootsvc" / "settings.py"))
    assert found["tomllib"]
    assert not found["bootsvc.errors"]
