"""The real stack, recorded: one update in a virtual machine, every write of it kept by QEMU,
the disk rebuilt at its flushes and between them, and each rebuilt disk judged.

    images -> recording -> write order checked -> disks rebuilt -> judged in-process, some booted

``python -m qemu_lab.recorded --help``
"""
