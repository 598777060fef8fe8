"""Stand-in for typing in the initramfs: names that can be imported and written, no more.

The real module builds a hundred generic aliases at import, for type checkers and for
programs that look at annotations at run time. The updater does neither.
"""

TYPE_CHECKING = False


class _Form:
    """Stands for every special form and alias: ``Optional[x]``, ``Callable[..., x] | None``."""

    def __getitem__(self, _: object) -> "_Form":
        return self

    def __or__(self, _: object) -> "_Form":
        return self

    __ror__ = __or__

    def __call__(self, *args: object, **_: object) -> object:
        # Decorators (final, overload) return what they got; TypeVar("T") gives a form.
        return args[0] if args and callable(args[0]) else self


class Generic:
    """Base of generic classes."""

    def __class_getitem__(cls, _: object) -> type:
        return cls


class Protocol(Generic):
    """Base of protocols; isinstance() with one is not supported."""


class _NamedTupleMaker(type):
    """Turns the body of a class that derives from NamedTuple into a collections.namedtuple."""

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
        if not bases:
            return type.__new__(mcs, name, bases, body)
        from collections import namedtuple

        annotated: object = body.get("__annotations__", {})
        names = list(annotated) if isinstance(annotated, dict) else []
        defaults = [body[item] for item in names if item in body]
        made = namedtuple(name, names, defaults=defaults)  # type: ignore[misc]  # noqa: PYI024
        for key, value in body.items():
            if key not in names and key not in ("__annotations__", "__qualname__", "__module__"):
                setattr(made, key, value)
        return made


class NamedTuple(metaclass=_NamedTupleMaker):
    """Base of named tuples."""


def NewType(_: str, kind: type) -> type:  # noqa: N802 - the real name
    """Return the type itself: a new type exists for checkers only."""
    return kind


def cast(_: object, value: object) -> object:
    """Return the value."""
    return value


def runtime_checkable(_: type) -> type:
    """Refuse: isinstance() with a protocol would always say no here."""
    raise NotImplementedError("the initramfs' typing has no runtime_checkable")


def __getattr__(name: str) -> _Form:
    if name.startswith("_") or name in ("TypedDict", "get_type_hints"):
        raise AttributeError(f"the initramfs' typing has no {name}")
    return _Form()
