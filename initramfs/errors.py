"""Errors of the builder: each names the thing, the place and the next step.

InitramfsError
  CpioError         a path or value that a newc archive cannot hold
  ClosureError      a shared library that was not found
  PythonError       a module outside the allowed set, or one that does not import
  ModuleError       a kernel tree or kernel module that is not there
  ContentsError     files.toml, modules.toml or a file they name is wrong
  CompressionError  the compressor is missing or failed
"""


class InitramfsError(Exception):
    """Anything that stops a build."""


class CpioError(InitramfsError):
    """A path or a value that a newc archive cannot hold, or two entries at one path."""


class ClosureError(InitramfsError):
    """An ELF file names a shared library or interpreter that was not found."""


class PythonError(InitramfsError):
    """A module outside the allowed set, or one that cannot be imported or compiled."""


class ModuleError(InitramfsError):
    """A kernel tree, or a kernel module that the profile requires, is not there."""


class ContentsError(InitramfsError):
    """files.toml, modules.toml or a file that they name is wrong or missing."""


class CompressionError(InitramfsError):
    """The chosen compressor is not installed or failed."""
