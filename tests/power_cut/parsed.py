"""Parsing is pure and slow: equal bytes are parsed once.

Product code stays as it is. While a start runs, the parsers that it calls are replaced by ones that
remember; what they remember belongs to the very function that was there before, so a changed
parser answers for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from unittest.mock import patch

from bootsvc.errors import BootsvcError
from bootsvc.storage import image_area, status_store

PARSERS = ((status_store, "parse"), (image_area, "parse_locator"), (image_area, "parse_manifest"))
"""Modules of product code, and the pure parsers that they call."""

REMEMBERED = 20_000


@contextmanager
def parsed_once() -> Iterator[None]:
    """Parsers remember within the with statement, and from one to the next."""
    with ExitStack() as stack:
        for module, name in PARSERS:
            own = getattr(module, name)
            stack.enter_context(patch.object(module, name, partial(_parse, own)))
        yield


def _parse(parser: Callable[[bytes], object], data: bytes) -> object:
    result = _result(parser, data)
    if isinstance(result, BootsvcError):
        raise result.with_traceback(None)
    return result


@lru_cache(maxsize=REMEMBERED)
def _result(parser: Callable[[bytes], object], data: bytes) -> object:
    """What ``parser`` gives, or the error that it raises."""
    try:
        return parser(data)
    except BootsvcError as exc:
        return exc
