"""Prints what every dataclass of the updater does, under the real dataclasses or the stand-in.

Run as a program of its own: argument 1 is the stand-in's file, or ``-`` for the real module.
"""

import importlib.util
import json
import sys


def take_stand_in(path: str) -> None:
    """Put the stand-in where ``import dataclasses`` finds it."""
    spec = importlib.util.spec_from_file_location("dataclasses", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dataclasses"] = module
    spec.loader.exec_module(module)


def _shown(value: object) -> str:
    """``value`` in words; addresses of objects differ from run to run and are left out."""
    return str(value).partition(" at 0x")[0]


def outcome(action: object) -> str:
    """What a call gives, or the name of its error."""
    assert callable(action)
    try:
        return _shown(action())
    except Exception as exc:  # noqa: BLE001 - which error it is, is the fact
        return type(exc).__name__


def facts_of(kind: type) -> dict[str, object]:
    """Everything that the two modules could do differently for one class."""
    import dataclasses

    fields = dataclasses.fields(kind)
    values = [f"value {index}" for index in range(sum(one.init for one in fields))]
    needed = [one.name for one in fields if "_MISSING" not in type(one.default).__name__.upper()]

    def make() -> object:
        return kind(*values)

    def set_again() -> None:
        setattr(make(), first, "new")

    first = fields[0].name if fields else "no_field"
    return {
        "fields": [(f.name, f.init, f.repr, f.hash, f.compare, bool(f.kw_only)) for f in fields],
        "defaults": [(name, _shown(getattr(kind, name, "none"))) for name in needed],
        "match_args": list(getattr(kind, "__match_args__", ())),
        "vars": outcome(lambda: vars(make())),
        "repr": outcome(lambda: repr(make())),
        "equal": outcome(lambda: make() == make()),
        "unequal": outcome(lambda: make() == dataclasses.replace(make(), **{first: 0})),  # type: ignore[type-var]
        "hash": outcome(lambda: hash(make()) == hash(make())),
        "set": outcome(set_again),
        "set another": outcome(lambda: setattr(make(), "no_such_field", 1)),
        "delete": outcome(lambda: delattr(make(), first)),
        "too few": outcome(kind),
        "too many": outcome(lambda: kind(*values, 1)),
        "unknown": outcome(lambda: kind(*values, no_such_field=1)),
        "twice": outcome(lambda: kind(*values, **{first: 1})),
        "by name": outcome(
            lambda: kind(**dict(zip([f.name for f in fields if f.init], values, strict=True)))
        ),
        "init": "__init__" in vars(kind),
    }


def main() -> None:
    """Import the updater with all that it imports later, and describe its dataclasses."""
    if sys.argv[1] != "-":
        take_stand_in(sys.argv[1])
    from bootsvc import updater

    for name in (*updater.LAZY_IMPORTS, "bootsvc.disk.unattended"):
        importlib.import_module(name)
    classes = {
        f"{kind.__module__}.{kind.__qualname__}": kind
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith("bootsvc")
        for kind in vars(module).values()
        if isinstance(kind, type) and "__dataclass_fields__" in vars(kind)
    }
    sys.stdout.write(json.dumps({name: facts_of(kind) for name, kind in sorted(classes.items())}))


if __name__ == "__main__":
    main()
