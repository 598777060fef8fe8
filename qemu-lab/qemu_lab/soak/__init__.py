"""Soak: machines that live through random stories, and a judge who stands outside.

    plan -> images, disks -> run: one machine, its power and its operator -> oracle -> results

``python -m qemu_lab.soak --help``
"""
