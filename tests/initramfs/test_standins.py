"""Stand-ins for standard modules behave as the real ones in everything that the updater uses."""

import dataclasses
import email.message
import email.parser
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from initramfs.contents import HERE
from qemu_lab.image_server import Faults, ImageServer


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"standin_{name}", HERE / f"standins/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STANDIN: Any = load("dataclasses")
TYPING: Any = load("typing")
HASHLIB: Any = load("hashlib")
REAL: Any = dataclasses
# The real module believes the text "ClassVar" only where that name is imported.
IMPORTED = ClassVar


def changed(box: Any) -> object:
    box.content = 5
    return box.content


def make_classes(module: Any) -> dict[str, Any]:
    @module.dataclass(frozen=True)
    class Point:
        x: int
        y: int = 0
        tags: tuple[str, ...] = ()

    @module.dataclass(frozen=True)
    class Point3(Point):
        z: int = 5
        hidden: list[int] = module.field(default_factory=list, repr=False, compare=False)

    @module.dataclass
    class Box:
        """Has a docstring."""

        content: object
        points: list[object] = module.field(default_factory=list)
        made: int = module.field(init=False, default=7)

        def __post_init__(self) -> None:
            self.points.append("post")

    @module.dataclass(frozen=True, order=True, kw_only=True)
    class Version:
        major: int
        minor: int = 0

    @module.dataclass(frozen=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return f"<{self.name}>"

    return {"Point": Point, "Point3": Point3, "Box": Box, "Version": Version, "Named": Named}


CASES: dict[str, Callable[[Any, dict[str, Any]], object]] = {
    "positional": lambda _, c: vars(c["Point"](1, 2)),
    "keywords": lambda _, c: vars(c["Point"](y=3, x=1)),
    "inherited": lambda _, c: vars(c["Point3"](1, z=9)),
    "repr": lambda _, c: repr(c["Point3"](1)).split(".")[-1],
    "own repr": lambda _, c: repr(c["Named"]("n")),
    "equal": lambda _, c: c["Point"](1) == c["Point"](1, 0),
    "unequal": lambda _, c: c["Point"](1) == c["Point"](2),
    "other class": lambda _, c: c["Point"](1) == c["Point3"](1),
    "hash": lambda _, c: hash(c["Point"](1)) == hash(c["Point"](1)) != hash(c["Point"](2)),
    "not compared": lambda _, c: c["Point3"](1, hidden=[1]) == c["Point3"](1, hidden=[2]),
    "set": lambda _, c: setattr(c["Point"](1), "x", 2),
    "delete": lambda _, c: delattr(c["Point"](1), "x"),
    "missing": lambda _, c: c["Point"](),
    "too many": lambda _, c: c["Point"](1, 2, (), 4),
    "unknown": lambda _, c: c["Point"](1, nothing=1),
    "twice": lambda _, c: c["Point"](1, x=1),
    "post init": lambda _, c: c["Box"](1).points,
    "init false": lambda _, c: c["Box"](1, made=2),
    "own list": lambda _, c: c["Box"](1).points is c["Box"](1).points,
    "unhashable": lambda _, c: hash(c["Box"](1)),
    "mutable": lambda _, c: changed(c["Box"](1)),
    "order": lambda _, c: c["Version"](major=1) < c["Version"](major=1, minor=1),
    "kw only": lambda _, c: c["Version"](1),
    "replace": lambda m, c: vars(m.replace(c["Point3"](1), x=4)),
    "replace unknown": lambda m, c: m.replace(c["Point"](1), nothing=4),
    "asdict": lambda m, c: m.asdict(c["Box"]([c["Point"](1)])),
    "fields": lambda m, c: [f.name for f in m.fields(c["Point3"])],
    "is_dataclass": lambda m, c: [m.is_dataclass(c["Box"]), m.is_dataclass(3)],
    "match_args": lambda _, c: c["Point3"].__match_args__,
    "match kw only": lambda _, c: c["Version"].__match_args__,
    "class default": lambda _, c: c["Point"].y,
    "qualname": lambda _, c: c["Point"].__init__.__name__,
    "doc": lambda _, c: c["Box"].__doc__,
    "bad order of defaults": lambda m, _: m.dataclass(
        type("X", (), {"__annotations__": {"a": int, "b": int}, "a": 1})
    ),
    "mutable default": lambda m, _: m.dataclass(
        type("X", (), {"__annotations__": {"a": list}, "a": []})
    ),
    "mixed frozen": lambda m, c: m.dataclass(type("X", (c["Point"],), {"__annotations__": {}})),
    "class variable": lambda m, _: [
        f.name
        for f in m.fields(
            m.dataclass(type("X", (), {"__annotations__": {"a": "ClassVar[int]", "b": "int"}}))
        )
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_dataclasses_behave_as_the_real_ones(case: str) -> None:
    def outcome(module: Any) -> object:
        try:
            return CASES[case](module, make_classes(module))
        except (TypeError, ValueError, AttributeError) as exc:
            return type(exc).__name__

    assert outcome(STANDIN) == outcome(REAL)


def facts(dataclasses_module: str) -> dict[str, Any]:
    program = Path(__file__).with_name("dataclass_facts.py")
    done = subprocess.run(
        [sys.executable, program, dataclasses_module],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_dataclass_of_the_updater_behaves_as_with_the_real_module() -> None:
    real = facts("-")
    assert len(real) > 20
    assert facts(str(HERE / "standins/dataclasses.py")) == real


def test_what_the_stand_in_lacks_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(NotImplementedError):
        STANDIN.dataclass(slots=True)


def test_typing_forms_can_be_written() -> None:
    assert TYPING.Optional[int] | None is not None
    assert None | TYPING.Callable[[int], str] is not None

    class Reader(TYPING.Protocol):  # type: ignore[misc]
        pass

    class Pair(TYPING.NamedTuple):  # type: ignore[misc]
        left: int
        right: int = 2

    assert issubclass(Reader, TYPING.Protocol)
    assert Pair(1) == (1, 2)
    assert Pair(1).right == 2
    assert TYPING.NewType("Lba", int)(3) == 3
    assert TYPING.cast("str", 5) == 5
    assert TYPING.final(Reader) is Reader
    with pytest.raises(NotImplementedError):
        TYPING.runtime_checkable(Reader)


@pytest.mark.parametrize("length", [0, 1, 64, 4095, 4096, 100_000])
def test_digests_are_those_of_the_real_hashlib(length: int) -> None:
    data = bytes(index % 251 for index in range(length))
    assert HASHLIB.sha256(data).digest() == hashlib.sha256(data).digest()
    fed = HASHLIB.sha256()
    fed.update(data)
    assert fed.hexdigest() == hashlib.sha256(data).hexdigest()


def test_short_texts_are_hashed_without_openssl_and_long_ones_with_it() -> None:
    own = type(HASHLIB.sha256(b"short"))
    assert type(HASHLIB.sha256(bytes(4096))) is type(hashlib.sha256())
    assert own is not type(hashlib.sha256())


def test_without_openssl_everything_is_hashed_by_pythons_own_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module: Any = load("hashlib")
    monkeypatch.setitem(sys.modules, "_hashlib", None)
    assert module.sha256(bytes(4096)).digest() == hashlib.sha256(bytes(4096)).digest()
    assert type(module.sha256(bytes(4096))) is type(module.sha256(b"short"))


FIELDS = [
    "Content-Length: 5\r\nContent-Range: bytes 0-4/5\r\n\r\n",
    "content-length:5\nX-Long: one\n\ttwo\n three\n\nbody: no field\n",
    "Location:  http://host/a:b \r\nLocation: second\r\n\r\n",
    "no field\r\nContent-Length: 5\r\n",
    "",
    "\r\n",
    "na me: x\r\n",
]


@pytest.mark.parametrize("text", FIELDS)
def test_the_fields_of_an_answer_are_those_that_the_real_parser_finds(text: str) -> None:
    parser: Any = email.parser.Parser
    real = parser(_class=email.message.Message).parsestr(text)
    found = load("email_parser").Parser(_class=load("email_message").Message).parsestr(text)
    assert found.items() == real.items()
    for name in ("content-LENGTH", "Location", "X-Long", "absent"):
        assert found.get(name) == real.get(name)
        assert found.get_all(name) == real.get_all(name)
    assert found.get("absent", "x") == "x"
    assert found.get_all("absent", ()) == ()


def test_an_image_is_fetched_with_the_stand_ins_as_with_the_real_modules(tmp_path: Path) -> None:
    """As in the initramfs: http.client above the stand-ins for email and urllib."""
    program = tmp_path / "fetch.py"
    program.write_text(FETCH)
    with ImageServer({"a": b"0123456789" * 1000}, Faults(hang_up=True)) as server:
        done = subprocess.run(
            [sys.executable, program, str(HERE / "standins"), server.url("a")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )
    assert (done.stdout, done.stderr) == ("10000 b'9012'\n", "")


FETCH = """
import importlib.util, sys

def take(name, file):
    spec = importlib.util.spec_from_file_location(name, f"{sys.argv[1]}/{file}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

import email, urllib
take("urllib.parse", "urllib_parse")
email.message = take("email.message", "email_message")
email.parser = take("email.parser", "email_parser")
from bootsvc.boot.http_file import HttpFile
from bootsvc.formats.url import parse_url

class Watch:
    def say(self, text): print(text)
    def begin(self, work, total): pass
    def tick(self, count): pass
    def end(self, counts=None): pass
    def wait(self, what, limit_s, then): return lambda: None

with HttpFile(parse_url(sys.argv[2]), 1 << 20, Watch()) as file:
    print(file.size, file.read_at(4099, 4))
"""
