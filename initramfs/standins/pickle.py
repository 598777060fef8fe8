"""Stand-in for pickle in the initramfs: construct.core imports it for ``Pickled`` alone.

Nothing that is read from a disk at boot may ever be unpickled, so its absence is no loss.
"""


def load(*args: object) -> object:
    """Refuse to load."""
    raise NotImplementedError("pickle is not in the initramfs")


def dump(*args: object) -> None:
    """Refuse to dump."""
    raise NotImplementedError("pickle is not in the initramfs")
