"""Which kernel, initrd and options an image is started with."""

import random
from pathlib import Path

import pytest

from bootsvc.errors import BootError, FormatError
from bootsvc.image.boot_files import combine_options, find_boot_files
from bootsvc.image.rootfs import Entry, RootFs, open_rootfs, resolve
from bootsvc.image.versions import version_key
from tests.image.rootfs import TreeOnPaper, pack, write_tree


def entry(kernel: str, **fields: str) -> bytes:
    lines = [f"linux {kernel}", *(f"{key} {value}" for key, value in fields.items())]
    return "\n".join(lines).encode()


def test_versions_are_ordered_by_their_numbers() -> None:
    names = ["vmlinuz-6.9", "vmlinuz-6.10", "vmlinuz-6.10.1", "vmlinuz-6.10~rc1", "vmlinuz-6.1-2"]
    ordered = sorted(names, key=version_key)
    assert ordered == [
        "vmlinuz-6.1-2",
        "vmlinuz-6.9",
        "vmlinuz-6.10~rc1",
        "vmlinuz-6.10",
        "vmlinuz-6.10.1",
    ]


def test_newest_kernel_and_its_own_initrd_are_taken() -> None:
    tree = TreeOnPaper(
        {
            "/boot/vmlinuz-6.9-amd64": b"k",
            "/boot/vmlinuz-6.10-amd64": b"k",
            "/boot/initrd.img-6.9-amd64": b"i",
            "/boot/initrd.img-6.10-amd64": b"i",
        }
    )
    found = find_boot_files(tree)
    assert found.kernel == "/boot/vmlinuz-6.10-amd64"
    assert found.initrd == "/boot/initrd.img-6.10-amd64"
    assert not found.options


def test_boot_entry_with_highest_version_wins_over_the_newest_kernel() -> None:
    tree = TreeOnPaper(
        {
            "/boot/vmlinuz-6.10": b"k",
            "/boot/os/k9": b"k",
            "/boot/os/i9": b"i",
            "/boot/loader/entries/b.conf": entry("/os/none", version="5.1"),
            "/boot/loader/entries/a.conf": entry(
                "/os/k9", version="5.10", initrd="/os/i9", options="quiet a=b"
            ),
            "/boot/loader/entries/notes.txt": b"linux /nothing",
        }
    )
    found = find_boot_files(tree)
    assert (found.kernel, found.initrd) == ("/boot/os/k9", "/boot/os/i9")
    assert found.options == "quiet a=b"


def test_paths_of_an_entry_may_count_from_the_root() -> None:
    tree = TreeOnPaper(
        {
            "/usr/lib/k": b"k",
            "/usr/lib/i": b"i",
            "/boot/loader/entries/a.conf": entry("/usr/lib/k", initrd="/usr/lib/i"),
        }
    )
    assert find_boot_files(tree).kernel == "/usr/lib/k"


def test_entry_that_names_a_missing_kernel_is_refused() -> None:
    tree = TreeOnPaper({"/boot/loader/entries/a.conf": entry("/gone")})
    with pytest.raises(BootError, match="not in the image"):
        find_boot_files(tree)


def test_links_are_followed_and_the_real_path_is_kept() -> None:
    tree = TreeOnPaper(
        {
            "/boot": "usr/boot",
            "/usr/boot/vmlinuz-1": "/usr/lib/kernel/../image",
            "/usr/boot/initrd.img-1": "image.cpio",
            "/usr/boot/image.cpio": b"i",
            "/usr/lib/kernel/x": b"",
            "/usr/lib/image": b"k",
        }
    )
    found = find_boot_files(tree)
    assert found.kernel == "/usr/lib/image"
    assert found.initrd == "/usr/boot/image.cpio"


def test_links_in_a_circle_are_refused() -> None:
    with pytest.raises(BootError, match="circle"):
        resolve(TreeOnPaper({"/a": "b", "/b": "a"}), "/a")


def test_image_without_a_kernel_is_refused() -> None:
    with pytest.raises(BootError, match="no kernel in the image") as caught:
        find_boot_files(TreeOnPaper({"/etc/passwd": b"x"}))
    assert "kernel package" in caught.value.hint


def test_kernel_named_by_the_maker_is_taken_instead_of_the_newest() -> None:
    image = TreeOnPaper(
        {"/boot/vmlinuz-2": b"k", "/boot/initrd.img-2": b"i", "/boot/vmlinuz-1": b"k"}
    )
    assert find_boot_files(image, kernel="/boot/vmlinuz-1").kernel == "/boot/vmlinuz-1"


def test_kernel_without_its_initrd_is_refused_unless_none_is_wanted() -> None:
    tree = TreeOnPaper({"/boot/vmlinuz-6.1": b"k", "/boot/initrd.img-6.0": b"i"})
    with pytest.raises(BootError, match="no initrd") as caught:
        find_boot_files(tree)
    assert "--no-initrd" in caught.value.hint
    assert find_boot_files(tree, with_initrd=False).initrd is None


def test_folder_in_place_of_a_kernel_is_refused() -> None:
    tree = TreeOnPaper({"/boot/vmlinuz-1/file": b"k"})
    with pytest.raises(BootError, match="not a regular file"):
        find_boot_files(tree, with_initrd=False)


def test_options_that_the_updater_sets_are_left_out_of_an_entry() -> None:
    found = "root=UUID=1 ro quiet rw panic=0 init=/bin/sh bootsvc.trial=0 console=tty0"
    assert combine_options(found, ["console=ttyS0"]) == "quiet console=tty0 console=ttyS0"


@pytest.mark.parametrize("word", ["root=/dev/sda1", "rw", "init=/bin/sh", "bootsvc.area=primary"])
def test_options_that_the_updater_sets_are_refused_from_the_maker(word: str) -> None:
    with pytest.raises(BootError, match="the updater sets it"):
        combine_options("", [f"quiet {word}"])


@pytest.mark.parametrize("kind", ["squashfs", "ext4", "erofs"])
def test_file_systems_are_read_without_being_mounted(tmp_path: Path, kind: str) -> None:
    content = random.Random(1).randbytes(300_000)
    tree = write_tree(
        tmp_path / "rootfs",
        {
            "boot/vmlinuz-1": content,
            "boot/with space": b"x",
            "boot/short": "vmlinuz-1",
            "boot/long": "../" * 40 + "boot/vmlinuz-1",
            "boot/deeper/file": b"y",
        },
    )
    image: RootFs = open_rootfs(pack(tree, kind))
    assert image.entries("/boot") == {
        "vmlinuz-1": Entry("file", len(content)),
        "with space": Entry("file", 1),
        "short": Entry("link", 9, "vmlinuz-1"),
        "long": Entry("link", 134, "../" * 40 + "boot/vmlinuz-1"),
        "deeper": image.entries("/boot")["deeper"],
    }
    assert image.entries("/boot")["deeper"].kind == "dir"
    assert image.entries("/nowhere") == {}
    assert image.entries("/")["boot"].kind == "dir"
    assert resolve(image, "/boot/long")[0] == "/boot/vmlinuz-1"
    image.extract("/boot/vmlinuz-1", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_file_system_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(8192))
    with pytest.raises(FormatError, match="neither squashfs, ext4 nor erofs"):
        open_rootfs(tmp_path / "disk.img")
