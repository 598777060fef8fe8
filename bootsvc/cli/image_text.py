"""What an image says of itself, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.formats.manifest import InnerPartition
    from bootsvc.storage.image_area import Footer


def _partition_text(partition: InnerPartition | None) -> str:
    if partition is None:
        return "the whole image"
    return f"partition at byte {partition.offset} ({describe_size(partition.size)})"


def text_of(footer: Footer) -> str:
    """What a footer says, for people."""
    manifest = footer.manifest
    boot = manifest.boot
    lines = [
        ("version", f"number {manifest.number}, label {manifest.label}"),
        ("identity", footer.identity.hex()),
        ("lineage", manifest.lineage),
        ("parent", manifest.parent.hex() if manifest.parent else "none"),
        ("machine type", manifest.compatible),
        ("floor", str(manifest.floor)),
        ("size", f"{manifest.size} bytes ({describe_size(manifest.size)})"),
        ("method", boot.method),
        ("kernel", f"{boot.kernel.path} ({describe_size(boot.kernel.size)})"),
        ("build-id", boot.kernel_build_id or "unknown"),
        (
            "initrd",
            f"{boot.initrd.path} ({describe_size(boot.initrd.size)})" if boot.initrd else "none",
        ),
        ("options", boot.options or "none"),
        ("overlay", boot.overlay),
        ("init", boot.init),
        ("root", _partition_text(boot.root_partition)),
        ("while it runs", "every block is checked" if boot.verity else "blocks are not checked"),
        ("key id", ", ".join(one.key_id.hex() for one in footer.locator.signatures) or "none"),
    ]
    if manifest.notes:
        lines.append(("notes", manifest.notes.replace("\n", "\n" + " " * 16)))
    return "\n".join(f"  {name:<13} {text}" for name, text in lines)
