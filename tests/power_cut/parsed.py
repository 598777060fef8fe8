"""Parsing and building are pure and slow: equal bytes are parsed once, equal records built once.

Product code stays as it is. While a start runs, the functions that it calls are replaced by ones
that remember what the very function that stood there gave. Whoever changes what such a function
itself relies on has to ``forget`` first; every walk over a scenario begins with that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from unittest.mock import patch

from bootsvc.errors import BootsvcError
from bootsvc.storage import image_area, status_store

PURE = (
    (status_store, "parse"),
    (status_store, "build"),
    (image_area, "parse_locator"),
    (image_area, "parse_manifest"),
)
"""Modules of product code, and the pure functions that they call."""

REMEMBERED = 20_000


@contextmanager
def parsed_once() -> Iterator[None]:
    """The pure functions remember within the with statement, and from one to the next."""
    with ExitStack() as stack:
        for module, name in PURE:
            own = getattr(module, name)
            stack.enter_context(patch.object(module, name, partial(_remembered, own)))
        yield


def forget() -> None:
    """Remember nothing of what was parsed and built so far."""
    _result.cache_clear()


def _remembered(function: Callable[[object], object], argument: object) -> object:
    result = _result(function, argument)
    if isinstance(result, BootsvcError):
        raise result.with_traceback(None)
    return result


@lru_cache(maxsize=REMEMBERED)
def _result(function: Callable[[object], object], argument: object) -> object:
    """What ``function`` gives, or the error that it raises."""
    try:
        return function(argument)
    except BootsvcError as exc:
        return exc
