"""Programs that run under the initramfs's own Python, natively in its unpacked tree and in a guest.

They may import only what the initramfs holds.
"""
