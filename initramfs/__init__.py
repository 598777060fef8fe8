"""Builds the updater initramfs: Python with exactly what it imports, modules, and a small init."""
