"""Stand-in for email.parser in the initramfs: reads the fields of an answer for http.client."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Parser:
    """Makes a message of the text of its fields."""

    def __init__(self, _class: "Any") -> None:
        self._class = _class

    def parsestr(self, text: str) -> "Any":
        """The message with the fields of ``text``; what is no field ends them."""
        fields: list[tuple[str, str]] = []
        for line in text.split("\n"):
            name, colon, value = line.partition(":")
            if line[:1] in (" ", "\t") and fields:  # goes on from the line before
                name, before = fields[-1]
                fields[-1] = name, f"{before}\n{line}"
            elif colon and name and all("!" <= char <= "~" for char in name):
                fields.append((name, value.lstrip(" \t")))
            else:
                break
        message = self._class()
        for name, value in fields:
            message.add(name, value.rstrip("\r\n"))
        return message
