"""Makes what the lab boots: kernels, real Debian images and the probe OS.

    python -m qemu_lab.images kernels      build/kernels/{cloud,generic}
    python -m qemu_lab.images build        build/images/*.squashfs and, signed, *.bimg

``kernels`` fetches Debian's kernel packages, ``debian`` makes the Debian images by mmdebstrap,
``probe`` a tiny OS of our own on the same kernel, ``signed`` turns both into image files of
bootsvc. Everything is cached by what went into it (``cache``).
"""
