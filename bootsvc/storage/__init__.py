"""Disks: bounded windows, direct I/O, images in areas, the two copies of the record."""
