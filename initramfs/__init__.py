"""Builder of the updater's initramfs: no root, reproducible, every byte accounted for.

The pieces are usable one by one for any other tiny system:

- :mod:`initramfs.cpio`            newc archives with device nodes, written without root
- :mod:`initramfs.closure`         shared libraries that ELF files need, by pyelftools
- :mod:`initramfs.python_runtime`  the Python modules that an entry module really imports
- :mod:`initramfs.modules`         kernel modules with their dependencies and aliases
- :mod:`initramfs.build`           all of it together (``python -m initramfs``)
"""
