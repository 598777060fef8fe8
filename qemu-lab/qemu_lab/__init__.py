"""Boots disks in QEMU, watches them over QMP and serial, injects faults, and reports."""
