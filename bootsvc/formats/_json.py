"""JSON that others wrote: read with types and bounds, so that every error names its field."""

from __future__ import annotations

import json
import re

from bootsvc.errors import FieldError, FormatError

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def parse_json(data: bytes, what: str) -> JsonFields:
    """The JSON object in ``data``, UTF-8.

    Raises:
        FormatError: not JSON, or a key stands twice in an object.
        FieldError: JSON, but not an object.
    """
    try:
        # Decoded here: from bytes, json would take UTF-16 and UTF-32 as well.
        document = json.loads(data.decode(), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as exc:
        raise FormatError(f"{what}: not JSON: {exc}") from exc
    return JsonFields(document, what)


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


class JsonFields:
    """Typed, bounded reading of a JSON object; every error is a FieldError with the field's path.

    Attributes:
        document: the object; ``where`` is its path, for messages.
    """

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise FieldError(f"{where}: not an object")
        self.document: dict[str, object] = document
        self.where = where

    def _bad(self, key: str, wanted: str) -> FieldError:
        return FieldError(f"{self.where}: {key}: {wanted} expected")

    def has(self, key: str) -> bool:
        """Whether the field is there, and not null."""
        return self.document.get(key) is not None

    def integer(self, key: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self.document.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self._bad(key, f"a whole number from {low} to {high}")
        return value

    def text(self, key: str, longest: int) -> str:
        """Text of at most ``longest`` characters."""
        value = self.document.get(key)
        if not isinstance(value, str) or len(value) > longest:
            raise self._bad(key, f"text of at most {longest} characters")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise self._bad(key, "text without lone surrogates")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of the words in ``allowed``."""
        value = self.text(key, 64)
        if value not in allowed:
            raise self._bad(key, " or ".join(allowed))
        return value

    def file_path(self, key: str) -> str:
        """An absolute path without anything that a shell or a mount could read otherwise."""
        value = self.text(key, 1024)
        plain = value.isprintable() and not any(char in value for char in " '\"\\$`")
        if not (plain and value.startswith("/")) or ".." in value.split("/"):
            raise self._bad(key, "an absolute path without '..', spaces or quotes")
        return value

    def digest(self, key: str) -> bytes:
        """A SHA-256, 32 bytes."""
        return self.raw(key, 32)

    def raw(self, key: str, size: int) -> bytes:
        """``size`` bytes."""
        value = self.text(key, 2 * size)
        if len(value) != 2 * size or not all(char in "0123456789abcdef" for char in value):
            raise self._bad(key, f"{2 * size} lower-case hexadecimal digits")
        return bytes.fromhex(value)

    def uuid(self, key: str) -> str:
        """A UUID in lower case."""
        value = self.text(key, 36)
        if not _UUID.fullmatch(value):
            raise self._bad(key, "a UUID in lower case")
        return value

    def inner(self, key: str) -> JsonFields:
        """The object in the field."""
        return JsonFields(self.document.get(key), f"{self.where}: {key}")

    def inner_list(self, key: str, longest: int) -> list[JsonFields]:
        """The objects of a list of at most ``longest``; none where the field is not there."""
        value = self.document.get(key, [])
        if not isinstance(value, list) or len(value) > longest:
            raise self._bad(key, f"a list of at most {longest}")
        return [JsonFields(one, f"{self.where}: {key}[{at}]") for at, one in enumerate(value)]
