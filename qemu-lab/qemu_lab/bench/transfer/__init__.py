"""What an update costs on the wire: block sizes, formats and peers, on real pairs of images.

``python -m qemu_lab.bench.transfer``; needs root (loop mounts, other users' files) and the Debian
packages that it names when they are missing. The pairs are built once, to build/pairs/.
"""
