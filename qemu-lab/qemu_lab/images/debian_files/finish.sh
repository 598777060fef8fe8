#!/bin/sh
# Runs inside the image when all packages are there: what makes it a lab image, then its initrd.
set -e

# Lab images only: root has no password and is logged in on the serial line.
passwd -d root
systemctl enable qemu-lab-responder.service systemd-networkd.service
# Nothing that these do is needed here, and emulation makes them slow.
systemctl mask getty@tty1.service getty-static.service systemd-binfmt.service \
    proc-sys-fs-binfmt_misc.automount e2scrub_reap.service

# The hardware database describes devices that no virtual machine has.
rm -f /usr/lib/udev/hwdb.bin /etc/udev/hwdb.bin
# Empty and not missing: the first start fills it in, and is no "first boot" that asks things.
: >/etc/machine-id
rm -f /etc/hostname.dpkg-* /var/lib/dbus/machine-id

update-initramfs -c -k all
