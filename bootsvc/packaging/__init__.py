"""Builds the Debian package of the OS side: ``python -m bootsvc.packaging`` (``make deb``).

``root/`` lies in the package as it lies here; ``debian/`` holds the control files. The code of
``bootsvc`` itself and ``initramfs/overlay.sh`` are added from the source tree.
"""
