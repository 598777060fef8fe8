"""Runs inside the Python that goes into the initramfs: lists modules, compiles them.

Started by :mod:`initramfs.python_runtime` as a script of its own process:

- ``list``: import what is asked and tell where every module came from. The process must not
  import anything for its own purposes (no json, no pathlib), because sys.modules *is* the
  answer; so orders and answers are in ``marshal``, which every interpreter has built in.
- ``compile``: write sourceless ``.pyc`` files. In one process, in a fixed order and with
  a fixed hash seed: the bytes of marshalled code depend on which strings are shared.
"""

import marshal
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from types import ModuleType
    from typing import Any


class StandInFinder:
    """Finds the modules that are replaced by small stand-ins, before anything else does."""

    def __init__(self, files: dict[str, str]) -> None:
        """``files``: module name -> path of its stand-in."""
        self.files = files

    def find_spec(self, name: str, *_: object) -> "ModuleSpec | None":
        """Return the spec of a stand-in, or None for every other module."""
        if name not in self.files:
            return None
        spec = ModuleSpec(name, SourceFileLoader(name, self.files[name]), origin=self.files[name])
        spec.has_location = True
        return spec


def import_by_name(name: str) -> "ModuleType":
    """Import a dotted name and return the module itself."""
    __import__(name)
    return sys.modules[name]


def describe(module: object) -> "tuple[str, str, str] | None":
    """Return (name, kind, origin) of a loaded module; None when it is an alias."""
    spec = getattr(module, "__spec__", None)
    if not isinstance(module, type(sys)) or spec is None or spec.name == "__main__":
        return None
    loader = getattr(spec.loader, "__name__", type(spec.loader).__name__)
    kinds = {
        "BuiltinImporter": "builtin",
        "FrozenImporter": "frozen",
        "SourceFileLoader": "source",
        "ExtensionFileLoader": "extension",
    }
    return spec.name, kinds.get(loader, loader), str(spec.origin or "")


def list_modules(order: "dict[str, Any]") -> "dict[str, Any]":
    """Import everything asked for; returns the description of every module then loaded."""
    sys.path.extend(order["search"])
    finders: list[Any] = sys.meta_path
    finders.insert(0, StandInFinder(order["standins"]))
    table: dict[str, Any] = sys.modules
    table.update(dict.fromkeys(order["blocked"]))
    names = ["os", *order["entries"], *order["extra"]]
    for name in order["entries"]:
        names += getattr(import_by_name(name), order["lazy_attribute"], ())
    for name in names:
        import_by_name(name)
    found = {describe(module) for module in list(sys.modules.values())}
    return {
        "modules": sorted(item for item in found if item is not None),
        "stdlib": str(sys.modules["os"].__file__).rpartition("/")[0],
        "stdlib_names": sorted(sys.stdlib_module_names),
        "version": f"{sys.version_info.major}.{sys.version_info.minor}",
    }


def without_docstrings(tree: "ast.Module") -> "ast.Module":
    """Remove docstrings in place: a third of construct's bytes, read at every start.

    Assertions stay (``-OO`` would drop them). Dataclasses get one of a single
    character: without any, ``dataclass`` makes up a text by ``inspect.signature``, at every
    start and for far more than the removal saves.
    """
    import ast

    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.ClassDef) and "dataclass" in "".join(
            ast.dump(decorator) for decorator in node.decorator_list
        ):
            if is_text(node.body[0]):
                node.body[0] = ast.copy_location(ast.Expr(ast.Constant("-")), node.body[0])
                ast.fix_missing_locations(node)
            continue
        while node.body and is_text(node.body[0]):
            old = node.body.pop(0)
            if not node.body:
                node.body.append(ast.copy_location(ast.Pass(), old))
                break
    return tree


def is_text(node: "ast.stmt") -> bool:
    """Whether a statement is a bare string, as a docstring is."""
    import ast

    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def compile_files(order: "dict[str, Any]") -> "dict[str, Any]":
    """Compile (source, name in the image, output) triples; returns how many were written."""
    import ast
    from importlib.util import MAGIC_NUMBER, source_hash

    # Flag 1: validated by hash, never checked. No time stamp, so no build date in the bytes.
    unchecked_hash = (1).to_bytes(4, "little")
    for source_path, image_path, output in order["files"]:
        with open(source_path, "rb") as stream:  # noqa: PTH123 - pathlib would be one more import
            source = stream.read()
        tree = ast.parse(source, image_path)
        if order["strip_docstrings"]:
            tree = without_docstrings(tree)
        code = compile(tree, image_path, "exec", dont_inherit=True, optimize=0)
        with open(output, "wb") as stream:  # noqa: PTH123
            stream.write(MAGIC_NUMBER + unchecked_hash + source_hash(source) + marshal.dumps(code))
    return {"written": len(order["files"])}


if __name__ == "__main__":
    request = marshal.loads(sys.stdin.buffer.read())  # noqa: S302 - our own parent wrote it
    action = {"list": list_modules, "compile": compile_files}[request["action"]]
    sys.stdout.buffer.write(marshal.dumps(action(request), 2))
