"""Measures the updater on this machine: start, sizes, least memory, update by phase.

``python -m qemu_lab.bench``; all figures of a table come from one run. Figures of a guest under
emulation compare only with others of the same run.
"""
