"""Stand-in for platform in the initramfs, for the two questions that construct asks.

The real module is a thousand lines around running ``uname`` and parsing its output.
"""


def system() -> str:
    """Name of the operating system: an initramfs is Linux."""
    return "Linux"


def python_implementation() -> str:
    """Name of the interpreter: the initramfs holds CPython."""
    return "CPython"
