"""Makes bootable disk files: partitions, boot loader, file systems, areas, boot status."""
