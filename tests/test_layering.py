"""The layers of the code base, and what each may import (DESIGN section 6)."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bootsvc

ROOT = Path(bootsvc.__file__).parent
IMPURE = {
    "os",
    "io",
    "time",
    "datetime",
    "socket",
    "subprocess",
    "pathlib",
    "logging",
    "random",
    "secrets",
}
PURE_PARTS = (
    "formats",
    "trust",
    "sequence/states.py",
    "sequence/actions.py",
    "sequence/conditions.py",
    "sequence/decide.py",
    "sequence/reconstruction.py",
    "sequence/records.py",
    "sequence/requests.py",
    "chains/check_chain.py",
    "chains/strategy.py",
    "console/actions.py",
    "console/facts.py",
    "console/front_end.py",
    "console/messages.py",
    "console/outbox.py",
    "console/keys.py",
    "console/menu.py",
    "console/pages.py",
    "console/plan.py",
    "console/protocol.py",
    "console/render.py",
    "console/reports.py",
    "console/texts.py",
)
UPDATER_PARTS = (
    "boot",
    "sequence",
    "storage",
    "trust",
    "formats",
    "settings.py",
    "errors.py",
    "units.py",
)
UPDATER_MAY_IMPORT = {"bootsvc", "construct", "crcmod", "nacl"} | set(sys.stdlib_module_names)
STORE_FORMATS = {"formats/compression.py", "formats/pack.py", "formats/recipe.py"}
"""What only publishers and the running OS read: the updater has no zstd (by a contract)."""


def sources(parts: tuple[str, ...]) -> Iterator[Path]:
    """Yield the source files of `parts` (files or folders below bootsvc/) that exist."""
    for part in parts:
        path = ROOT / part
        if path.is_dir():
            yield from sorted(path.rglob("*.py"))
        elif path.exists():
            yield path


def imported(source: str) -> set[str]:
    """Return the top-level names that `source` imports, anywhere in it (type checking apart)."""
    names: set[str] = set()
    tree = ast.parse(source)
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def file_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*sources(PURE_PARTS)], ids=file_id)
def test_pure_module_reaches_no_device_clock_or_network(path: Path) -> None:
    source = path.read_text()
    assert not imported(source) & IMPURE
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input"}


@pytest.mark.parametrize("path", [*sources(UPDATER_PARTS)], ids=file_id)
def test_updater_imports_only_what_its_initramfs_carries(path: Path) -> None:
    if file_id(path) not in STORE_FORMATS:
        assert imported(path.read_text()) <= UPDATER_MAY_IMPORT


def test_import_finder_sees_nested_and_renamed_imports() -> None:
    source = "def f():\n    import os.path as p\n    from time import sleep\nimport zlib"
    assert imported(source) == {"os", "time", "zlib"}


def test_import_finder_leaves_out_imports_for_types_only() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pathlib import Path\n"
    assert imported(source) == {"typing"}
