"""Stand-in for dataclasses in the initramfs: the same classes without generating code.

The real module imports inspect (and with it ast, dis, tokenize) and compiles the source of
three to six methods for every class at every start. Here the methods are ordinary functions
that walk the list of fields: a class costs next to nothing, an instance a little more.

What the updater uses is here and behaves the same (tests/initramfs/test_standins.py compares
both); everything else is refused when a class is made, which the builder notices because it
imports the updater with the stand-ins.
"""

FIELDS = "__dataclass_fields__"
PARAMS = "__dataclass_params__"
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class FrozenInstanceError(AttributeError):
    """A field of a frozen instance was to be changed."""


class _Missing:
    """Marks a default that was not given."""


MISSING = _Missing()


class _KwOnly:
    """As an annotation: the fields after it are given by keyword."""


KW_ONLY = _KwOnly()


class Field:
    """One field of a class, as ``fields`` returns it."""

    def __init__(
        self,
        default: object,
        default_factory: "Any",
        init: bool,
        repr: bool,  # noqa: A002 - the names are the real module's
        hash: "bool | None",  # noqa: A002
        compare: bool,
        kw_only: "Any",
        metadata: "Any",
    ) -> None:
        self.name = ""
        self.type: object = None
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.hash = hash
        self.compare = compare
        self.kw_only = kw_only
        self.metadata = metadata or {}


def field(
    *,
    default: object = MISSING,
    default_factory: "Any" = MISSING,
    init: bool = True,
    repr: bool = True,  # noqa: A002
    hash: "bool | None" = None,  # noqa: A002
    compare: bool = True,
    metadata: "Any" = None,
    kw_only: "Any" = MISSING,
) -> "Any":
    """Describe a field that needs more than an annotation."""
    if default is not MISSING and default_factory is not MISSING:
        raise ValueError("cannot specify both default and default_factory")
    return Field(default, default_factory, init, repr, hash, compare, kw_only, metadata)


def dataclass(
    cls: "Any" = None,
    /,
    *,
    init: bool = True,
    repr: bool = True,  # noqa: A002
    eq: bool = True,
    order: bool = False,
    unsafe_hash: bool = False,
    frozen: bool = False,
    match_args: bool = True,
    kw_only: bool = False,
    slots: bool = False,
    weakref_slot: bool = False,
) -> "Any":
    """Turn a class into a dataclass; with options first, return the decorator."""
    if slots or weakref_slot or unsafe_hash or not match_args:
        raise NotImplementedError("the initramfs' dataclasses have no slots and no unsafe_hash")

    def wrap(target: "Any") -> "Any":
        return _process(target, init, repr, eq, order, frozen, kw_only)

    return wrap if cls is None else wrap(cls)


def _process(
    cls: "Any",
    init: bool,
    repr: bool,  # noqa: A002
    eq: bool,
    order: bool,
    frozen: bool,
    kw_only: bool,
) -> "Any":
    table: dict[str, Field] = {}
    for base in cls.__mro__[-1:0:-1]:
        inherited = base.__dict__.get(FIELDS)
        if inherited is None:
            continue
        table.update(inherited)
        if base.__dict__[PARAMS] != frozen:
            kinds = ("non-frozen", "frozen") if frozen else ("frozen", "non-frozen")
            raise TypeError(f"cannot inherit {kinds[1]} dataclass from a {kinds[0]} one")
    table.update(_own_fields(cls, kw_only))
    setattr(cls, FIELDS, table)
    setattr(cls, PARAMS, frozen)
    everything = tuple(table.values())
    positional = tuple(item for item in everything if item.init and not item.kw_only)
    _check_defaults(positional)
    methods: dict[str, Any] = {}
    if init:
        methods["__init__"] = _make_init(cls, everything, positional)
    if repr:
        methods["__repr__"] = _make_repr(tuple(item.name for item in everything if item.repr))
    if eq:
        compared = tuple(item.name for item in everything if item.compare)
        methods["__eq__"] = _make_eq(compared)
        if order:
            methods.update(_make_order(compared))
    for name, method in methods.items():
        if name not in cls.__dict__:
            method.__qualname__ = f"{cls.__qualname__}.{name}"
            setattr(cls, name, method)
        elif name not in ("__init__", "__repr__", "__eq__"):
            raise TypeError(f"cannot overwrite attribute {name} in class {cls.__name__}")
    _set_hash(cls, everything, eq, frozen)
    if frozen:
        cls.__setattr__ = _refuse_set
        cls.__delattr__ = _refuse_delete
    if "__match_args__" not in cls.__dict__:
        names = tuple(item.name for item in positional)
        setattr(cls, "__match_args__", names)  # noqa: B010 - mypy allows no assignment
    cls.__replace__ = replace
    if not cls.__doc__:
        cls.__doc__ = cls.__name__
    return cls


def _own_fields(cls: "Any", kw_only: bool) -> "dict[str, Field]":
    # Only the class's own; inspect.get_annotations is what this module is here to avoid.
    annotations = cls.__dict__.get("__annotations__", {})  # noqa: RUF063
    found: dict[str, Field] = {}
    for name, kind in annotations.items():
        words = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
        if kind is KW_ONLY or words in ("KW_ONLY", "dataclasses.KW_ONLY"):
            kw_only = True
            continue
        if words.startswith(("ClassVar", "typing.ClassVar")):
            continue
        if words.startswith(("InitVar", "dataclasses.InitVar")):
            raise NotImplementedError("the initramfs' dataclasses have no InitVar")
        default = cls.__dict__.get(name, MISSING)
        item = default if isinstance(default, Field) else field(default=default)
        if item.default.__class__.__hash__ is None:
            raise ValueError(f"mutable default {type(item.default)} for field {name}")
        item.name, item.type = name, kind
        item.kw_only = kw_only if item.kw_only is MISSING else item.kw_only
        found[name] = item
        if item.default is not MISSING:
            setattr(cls, name, item.default)
        elif isinstance(default, Field):
            delattr(cls, name)
    return found


def _check_defaults(positional: "tuple[Field, ...]") -> None:
    seen = False
    for item in positional:
        if item.default is not MISSING or item.default_factory is not MISSING:
            seen = True
        elif seen:
            raise TypeError(f"non-default argument {item.name!r} follows default argument")


def _make_init(
    cls: "Any", everything: "tuple[Field, ...]", positional: "tuple[Field, ...]"
) -> "Callable[..., None]":
    names = tuple(item.name for item in positional)
    has_post_init = hasattr(cls, "__post_init__")
    is_plain = len(positional) == len(everything) and not has_post_init

    def __init__(self: "Any", *args: object, **given: object) -> None:  # noqa: N807
        values = self.__dict__
        if is_plain and not given and len(args) == len(names):
            values.update(zip(names, args, strict=True))  # the usual case, several times faster
            return
        if len(args) > len(names):
            raise TypeError(
                f"{cls.__name__}.__init__() takes {len(names) + 1} positional arguments "
                f"but {len(args) + 1} were given"
            )
        for name, value in zip(names, args, strict=False):
            if name in given:
                raise TypeError(f"{cls.__name__}.__init__() got multiple values for {name!r}")
            given[name] = value
        for item in everything:
            name = item.name
            if item.init and name in given:
                values[name] = given.pop(name)
            elif item.default_factory is not MISSING:
                values[name] = item.default_factory()
            elif item.default is not MISSING:
                values[name] = item.default
            elif item.init:
                raise TypeError(f"{cls.__name__}.__init__() missing argument: {name!r}")
        if given:
            raise TypeError(f"{cls.__name__}.__init__() got an unexpected argument {min(given)!r}")
        if has_post_init:
            self.__post_init__()

    return __init__


def _make_repr(names: "tuple[str, ...]") -> "Callable[[Any], str]":
    def __repr__(self: "Any") -> str:  # noqa: N807
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({values})"

    return __repr__


def _values(instance: "Any", names: "tuple[str, ...]") -> "tuple[Any, ...]":
    return tuple([getattr(instance, name) for name in names])


def _make_eq(names: "tuple[str, ...]") -> "Callable[[Any, Any], Any]":
    def __eq__(self: "Any", other: "Any") -> "Any":  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _values(self, names) == _values(other, names)

    return __eq__


def _make_order(names: "tuple[str, ...]") -> "dict[str, Callable[[Any, Any], Any]]":
    def method(name: str) -> "Callable[[Any, Any], Any]":
        def compare(self: "Any", other: "Any") -> "Any":
            if other.__class__ is not self.__class__:
                return NotImplemented
            return getattr(_values(self, names), name)(_values(other, names))

        return compare

    return {name: method(name) for name in ("__lt__", "__le__", "__gt__", "__ge__")}


def _set_hash(cls: "Any", everything: "tuple[Field, ...]", eq: bool, frozen: bool) -> None:
    # Python itself puts __hash__ = None into a class body that defines __eq__ alone.
    own = cls.__dict__.get("__hash__", MISSING)
    if not eq or not (own is MISSING or (own is None and "__eq__" in cls.__dict__)):
        return
    if not frozen:
        cls.__hash__ = None
        return
    names = tuple(
        item.name for item in everything if (item.compare if item.hash is None else item.hash)
    )

    def __hash__(self: "Any") -> int:  # noqa: N807
        return hash(_values(self, names))

    cls.__hash__ = __hash__


def _refuse_set(_: object, name: str, __: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(_: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def fields(thing: "Any") -> "tuple[Field, ...]":
    """Return the fields of a dataclass or of an instance of one."""
    try:
        return tuple(getattr(thing, FIELDS).values())
    except AttributeError:
        raise TypeError("must be called with a dataclass type or instance") from None


def is_dataclass(thing: "Any") -> bool:
    """Whether ``thing`` is a dataclass or an instance of one."""
    return hasattr(thing if isinstance(thing, type) else type(thing), FIELDS)


def replace(thing: "Any", /, **changes: object) -> "Any":
    """Return a new instance with some fields changed."""
    for item in fields(thing):
        if item.init:
            changes.setdefault(item.name, getattr(thing, item.name))
        elif item.name in changes:
            raise TypeError(f"field {item.name} is declared with init=False")
    return thing.__class__(**changes)


def asdict(thing: "Any") -> "dict[str, Any]":
    """Return the fields as a dict; dataclasses inside lists, tuples and dicts as well."""
    return {item.name: _plain(getattr(thing, item.name)) for item in fields(thing)}


def _plain(value: "Any") -> "Any":
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)([_plain(item) for item in value])
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value
