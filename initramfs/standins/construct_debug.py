"""Stand-in for construct.debug in the initramfs.

The real module imports pdb, inspect, traceback and, through them, ast, dis and platform: over
half of the time that ``import construct`` takes, for two interactive tools.
"""

__all__ = ["Debugger", "Probe"]


class Probe:
    """Named by ``from construct.debug import *``; cannot be used at boot."""

    def __init__(self, *args: object, **kw: object) -> None:
        """Refuse: there is nobody to look at a probe's output."""
        raise NotImplementedError("construct.Probe is not in the initramfs")


class Debugger:
    """Named by ``from construct.debug import *``; cannot be used at boot."""

    def __init__(self, subcon: object) -> None:
        """Refuse: there is no pdb here."""
        raise NotImplementedError("construct.Debugger is not in the initramfs")
