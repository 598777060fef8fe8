"""Stand-in for email.message in the initramfs: the fields of an HTTP answer, for http.client.

The real package decodes letters: twenty modules for what is here one list.
"""


class Message:
    """Fields in their order; names are compared without regard to case."""

    def __init__(self) -> None:
        self._fields: list[tuple[str, str]] = []

    def add(self, name: str, value: str) -> None:
        """Append a field."""
        self._fields.append((name, value))

    def get_all(self, name: str, failobj: object = None) -> object:
        """The values of every field ``name``; ``failobj`` where there is none."""
        found = [value for key, value in self._fields if key.lower() == name.lower()]
        return found or failobj

    def get(self, name: str, failobj: object = None) -> object:
        """The value of the first field ``name``; ``failobj`` where there is none."""
        for key, value in self._fields:
            if key.lower() == name.lower():
                return value
        return failobj

    def items(self) -> list[tuple[str, str]]:
        """All fields."""
        return list(self._fields)
