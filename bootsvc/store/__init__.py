"""The image store: versions of images as blocks, each block stored once (DESIGN 7)."""
