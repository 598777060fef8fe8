#!/bin/sh
# Makes the root file system of the image to be started (DESIGN 2 and 5):
# its area, read-only, below an overlay that takes every write.
#
#   overlay.sh NEWROOT           build the root at NEWROOT from the BOOTSVC_* variables
#   overlay.sh --from-cmdline    kexec: turn the kernel options bootsvc.* into handover.env
#   overlay.sh --adopt           confirmed: the trial's identity files become the current ones
#
# One script for three callers: the updater's init, its fallback without Python, and the
# image's own initrd (initramfs-tools hook of the Debian package). It runs under busybox sh,
# dash and klibc's sh; commands that are missing in PATH are taken from busybox.
#
#   BOOTSVC_ROOT         block device of the area, or PARTUUID=...; a directory is taken as
#                        an area that is mounted already
#   BOOTSVC_ROOT_OFFSET  whole-disk image: byte at which its root partition begins, else empty
#   BOOTSVC_VERITY       BLOCKS:TREE_BLOCK:ROOT where every block that is read must fit the image's
#                        digest tree (dm-verity), else empty
#   BOOTSVC_MAPPED       device that stands for both of these already, if the updater made one
#   BOOTSVC_DATA         block device of data, PARTUUID=..., a directory, or empty for none
#   BOOTSVC_OVERLAY      volatile (memory) or kept (data:/overlays/<identity>)
#   BOOTSVC_IDENTITY     identity of the image, 64 hex digits
#   BOOTSVC_TRANSACTION  transaction of the update, 32 hex digits
#   BOOTSVC_TRIAL        1 on a trial start
#
# What it leaves behind, all under /run/bootsvc: lower (the area), upper (the tmpfs of a
# volatile overlay), data (when usable), alarms (one line each, for `bootsvc status`), trial
# (an empty file, on a trial start only) and overlay.env (what was done, which may be less
# than what was asked for).
#
# The rule above all others: if the area mounts, the machine gets a root it can start.
# Everything else that fails raises an alarm and costs at most what depends on it. Exit
# codes: 0 a root stands at NEWROOT; 1 the area cannot be mounted; 2 wrong use.

# shellcheck disable=SC2015  # "a && b || c" is used only where b cannot fail

# Only tests set these two: elsewhere state belongs in /run and words on the console.
RUN=${BOOTSVC_RUN:-/run/bootsvc}
LOG=${BOOTSVC_LOG:-}

# Seconds to wait for the disk with the area.
ROOT_TRIES=10
# KiB that must fit into data before anything is entrusted to it.
WRITE_TEST_KIB=256

DEFAULT_IDENTITY_LIST='etc/machine-id
etc/hostname
etc/ssh/ssh_host_*
etc/network/interfaces
etc/network/interfaces.d/*
etc/systemd/network/*
etc/NetworkManager/system-connections/*'

for command in mount umount mkdir rm mv cp cat dd sync blockdev losetup modprobe grep sed hexdump \
    sleep chmod; do
    command -v "$command" >/dev/null 2>&1 || eval "$command() { busybox $command \"\$@\"; }"
done

# print LEVEL TEXT: one line to the kernel log, which every console shows and the journal
# keeps; the file is opened anew for each line because the kernel limits lines per opening.
print() {
    if [ -n "$LOG" ]; then
        echo "bootsvc: $2" >>"$LOG"
    elif ! { echo "<$1>bootsvc: $2" >/dev/kmsg; } 2>/dev/null; then
        { echo "bootsvc: $2" >/dev/console; } 2>/dev/null || echo "bootsvc: $2" >&2
    fi
}

say() { print 6 "$1"; }

# Level 2 is shown even with the kernel option "quiet".
alarm() {
    print 2 "ALARM $1"
    echo "$1" >>"$RUN/alarms" 2>/dev/null
}

# hex TEXT LENGTH: true if TEXT is LENGTH lower-case hex digits. Values that become part of
# a path on data are checked with this first.
hex() {
    [ "${#1}" -eq "$2" ] || return 1
    case $1 in *[!0-9a-f]*) return 1 ;; esac
}

# ---------------------------------------------------------------- devices

# partuuid_to_device UUID: prints the /dev path of the GPT partition with that unique GUID.
# udev's links first; without udev the partition tables themselves are read, because the
# kernel does not show the GUID in sysfs.
partuuid_to_device() {
    wanted=$(echo "$1" | sed 'y/ABCDEF/abcdef/')
    if [ -b "/dev/disk/by-partuuid/$wanted" ]; then
        echo "/dev/disk/by-partuuid/$wanted"
        return 0
    fi
    # The first three groups of a GUID are little-endian on the disk.
    raw=$(echo "$wanted" | sed 's/^\(..\)\(..\)\(..\)\(..\)-\(..\)\(..\)-\(..\)\(..\)-/\4\3\2\1\6\5\8\7/;s/-//g')
    [ "${#raw}" -eq 32 ] || return 1
    for disk in /sys/block/*; do
        [ -d "$disk" ] || continue
        sector=512
        [ -r "$disk/queue/logical_block_size" ] && read -r sector <"$disk/queue/logical_block_size"
        # The entries begin in the third sector: 128 entries of 128 bytes, GUID at offset 16.
        number=$(dd if="/dev/${disk##*/}" bs="$sector" skip=2 count=$((16384 / sector)) 2>/dev/null |
            hexdump -v -e '128/1 "%02x" "\n"' | grep -n "^................................$raw" |
            sed 's/:.*//')
        [ -n "$number" ] || continue
        for partition in "$disk"/*/partition; do
            [ -r "$partition" ] || continue
            read -r found <"$partition"
            if [ "$found" = "${number%%[!0-9]*}" ]; then
                partition=${partition%/partition}
                echo "/dev/${partition##*/}"
                return 0
            fi
        done
    done
    return 1
}

# resolve SPEC [TRIES]: prints the device or directory that SPEC means. A disk that the kernel
# is still looking at is waited for, by asking again TRIES times, a second apart.
resolve() {
    case $1 in
    PARTUUID=*)
        tries=${2:-1}
        while ! partuuid_to_device "${1#PARTUUID=}"; do
            tries=$((tries - 1))
            [ "$tries" -gt 0 ] || return 1
            sleep 1
        done
        ;;
    *) echo "$1" ;;
    esac
}

# file_system DEVICE: prints squashfs, erofs or ext4 by the magic number on the device.
file_system() {
    if [ "$(dd if="$1" bs=4 count=1 2>/dev/null)" = hsqs ]; then
        echo squashfs
    elif [ "$(dd if="$1" bs=4 skip=256 count=1 2>/dev/null)" = "$(printf '\342\341\365\340')" ]; then
        echo erofs
    elif [ "$(dd if="$1" bs=2 skip=540 count=1 2>/dev/null)" = "$(printf '\123\357')" ]; then
        echo ext4
    else
        return 1
    fi
}

# map_area DEVICE: sets $mapped to the device that holds the root file system: the area itself, or
# what is laid over it. An image whose blocks are to be checked is not mounted without.
map_area() {
    mapped=${BOOTSVC_MAPPED:-}
    [ -z "$mapped" ] || return 0
    mapped=$1
    if [ -n "${BOOTSVC_VERITY:-}" ]; then
        map_verity "$1" || {
            alarm "$1: its blocks cannot be checked (does the image's initrd have dmsetup and the driver dm-verity?)"
            return 1
        }
    fi
    [ -n "${BOOTSVC_ROOT_OFFSET:-}" ] || return 0
    modprobe loop 2>/dev/null
    loop=$(losetup -f) && losetup -r -o "$BOOTSVC_ROOT_OFFSET" "$loop" "$mapped" || {
        alarm "$1: no loop device for the partition at byte $BOOTSVC_ROOT_OFFSET"
        return 1
    }
    mapped=$loop
}

# map_verity DEVICE: the kernel panics at a block that differs from its digest, so that no program
# ever reads it; the updater finds the record of that panic at the next start.
map_verity() {
    blocks=${BOOTSVC_VERITY%%:*}
    tree_block=${BOOTSVC_VERITY#*:}
    root_digest=${tree_block#*:}
    tree_block=${tree_block%%:*}
    hex "$root_digest" 64 || return 1
    modprobe dm-mod 2>/dev/null
    modprobe dm-verity 2>/dev/null
    dmsetup create --readonly --noudevrules --noudevsync bootsvc-area --table \
        "0 $((blocks * 8)) verity 1 $1 $1 4096 4096 $blocks $tree_block sha256 $root_digest - 1 panic_on_corruption" ||
        return 1
    mapped=/dev/dm-$(dmsetup info -c --noheadings -o minor bootsvc-area)
    [ -b "$mapped" ]
}

# mount_area: the area at $RUN/lower, in no way writable.
mount_area() {
    area=$(resolve "${BOOTSVC_ROOT:-}" "$ROOT_TRIES") || {
        alarm "the area $BOOTSVC_ROOT is on no disk of this machine"
        return 1
    }
    if [ -d "$area" ]; then
        mount -o bind "$area" "$RUN/lower" || return 1
        mount -o remount,bind,ro "$RUN/lower" 2>/dev/null ||
            alarm "the area at $area could not be made read-only"
        return 0
    fi
    [ -b "$area" ] || {
        alarm "the area $area is not a block device"
        return 1
    }
    # Belt and braces: a journal replay, or anything that finds the device later, is refused
    # by the kernel. Digests of an area that can change prove nothing (DESIGN 2).
    blockdev --setro "$area" 2>/dev/null || alarm "$area could not be set read-only"
    map_area "$area" || return 1
    type=$(file_system "$mapped") || {
        alarm "$area holds neither squashfs nor erofs nor ext4"
        return 1
    }
    modprobe "$type" 2>/dev/null
    options=ro
    [ "$type" = ext4 ] && options=ro,noload
    mount -t "$type" -o "$options" "$mapped" "$RUN/lower" || {
        alarm "$area ($type) cannot be mounted"
        return 1
    }
    say "area $area: $type, read-only${BOOTSVC_VERITY:+, every block checked}"
}

# ---------------------------------------------------------------- data

# mount_data: 0 if $RUN/data is mounted and takes writes. Anything else is an alarm; data that
# only takes no writes stays mounted, read-only, and $data_readable is 1: what it holds is
# still this machine's identity.
mount_data() {
    data_readable=0
    if [ -z "${BOOTSVC_DATA:-}" ]; then
        alarm "no data partition: nothing that this start changes will be kept"
        return 1
    fi
    data=$(resolve "$BOOTSVC_DATA") || {
        alarm "data partition $BOOTSVC_DATA is absent: starting without it"
        return 1
    }
    if [ -d "$data" ]; then
        mount -o bind "$data" "$RUN/data" || {
            alarm "data at $data cannot be mounted: starting without it"
            return 1
        }
    else
        modprobe ext4 2>/dev/null
        # errors=remount-ro: a damaged data partition must never stop the machine, whatever
        # its superblock says.
        mount -t ext4 -o noatime,errors=remount-ro "$data" "$RUN/data" 2>/dev/null || {
            alarm "data partition $data cannot be mounted (damaged?): starting without it"
            return 1
        }
    fi
    if ! write_test "$RUN/data"; then
        alarm "data partition $data takes no writes (full or failing): nothing that this start changes will be kept"
        if mount -o remount,bind,ro "$RUN/data" 2>/dev/null; then
            data_readable=1
        else
            unmount_data
        fi
        return 1
    fi
}

unmount_data() {
    umount "$RUN/data" 2>/dev/null || umount -l "$RUN/data"
}

write_test() {
    rm -f "$1/.bootsvc-write-test" 2>/dev/null
    dd if=/dev/zero of="$1/.bootsvc-write-test" bs=1024 count="$WRITE_TEST_KIB" conv=fsync \
        2>/dev/null
    result=$?
    rm -f "$1/.bootsvc-write-test" 2>/dev/null || result=1
    return "$result"
}

# ---------------------------------------------------------------- overlay

mount_kept() {
    hex "${BOOTSVC_IDENTITY:-}" 64 || {
        alarm "kept overlay without a proper image identity ('${BOOTSVC_IDENTITY:-}')"
        return 1
    }
    # One directory per identity: an overlay is never attached to another image.
    kept=$RUN/data/overlays/$BOOTSVC_IDENTITY
    mkdir -p "$kept/upper" "$kept/work" && chmod 755 "$kept/upper" && mount -t overlay \
        -o "lowerdir=$RUN/lower,upperdir=$kept/upper,workdir=$kept/work" overlay "$1"
}

mount_volatile() {
    mount -t tmpfs -o mode=0755 bootsvc-upper "$RUN/upper" &&
        mkdir -p "$RUN/upper/upper" "$RUN/upper/work" &&
        chmod 755 "$RUN/upper/upper" &&
        mount -t overlay \
            -o "lowerdir=$RUN/lower,upperdir=$RUN/upper/upper,workdir=$RUN/upper/work" \
            overlay "$1"
}

# mount_overlay NEWROOT: sets $overlay to what was really set up.
mount_overlay() {
    modprobe overlay 2>/dev/null
    overlay=none
    if [ "${BOOTSVC_OVERLAY:-volatile}" = kept ]; then
        if [ "$data_usable" = 0 ]; then
            alarm "the kept overlay needs data: this start uses a volatile one"
        elif mount_kept "$1"; then
            overlay=kept
            return 0
        else
            alarm "the kept overlay cannot be used: this start uses a volatile one"
        fi
    fi
    if mount_volatile "$1"; then
        overlay=volatile
        return 0
    fi
    alarm "no overlay can be set up: the root is the bare area, read-only"
    mount -o bind "$RUN/lower" "$1"
}

# ---------------------------------------------------------------- identity files

# plain_parents ROOT PATH: true if no directory above ROOT/PATH is a symbolic link, which
# would lead out of the new root because that is not yet /.
plain_parents() {
    rest=$2
    above=$1
    while :; do
        case $rest in */*) ;; *) return 0 ;; esac
        above=$above/${rest%%/*}
        rest=${rest#*/}
        [ ! -L "$above" ] || return 1
    done
}

# put_identity SOURCE NEWROOT: copies each listed file that SOURCE has into the new root.
# Copies, not bind mounts: programs replace such files by renaming (hostnamectl, ssh-keygen,
# any editor), which a mount point refuses. What changes is saved by bootsvc-identity.
put_identity() {
    list=$DEFAULT_IDENTITY_LIST
    [ -r "$2/etc/bootsvc/identity.list" ] && list=$(cat "$2/etc/bootsvc/identity.list")
    echo "$list" >"$RUN/identity.list"
    while read -r pattern; do
        pattern=${pattern#/}
        case $pattern in
        '' | '#'*) continue ;;
        .. | ../* | */.. | */../*)
            alarm "identity list: '$pattern' leads out of the root, left out"
            continue
            ;;
        esac
        for file in "$1"/$pattern; do
            [ -e "$file" ] || [ -L "$file" ] || continue
            name=${file#"$1"/}
            if ! plain_parents "$2" "$name"; then
                alarm "identity file $name: a directory above it is a link, left out"
                continue
            fi
            case $name in */*) mkdir -p "$2/${name%/*}" ;; esac
            # Not into or through what is there: the copy replaces it.
            if rm -rf "${2:?}/$name" && cp -a "$file" "$2/$name"; then
                count=$((count + 1))
            else
                failed=$((failed + 1))
                alarm "identity file $name could not be put in place"
            fi
        done
    done <"$RUN/identity.list"
    return 0
}

# adopt_trial_copy COPY: the trial copy becomes the current one. Either rename may be the
# last thing that happens before a power cut; current.old is put back on the next start.
adopt_trial_copy() {
    rm -rf "$identity/current.old"
    [ ! -d "$identity/current" ] || mv "$identity/current" "$identity/current.old"
    mv "$1" "$identity/current" && rm -rf "$identity/current.old" "$1.of"
    sync
}

# identity_source: sets $source to the tree to take identity files from. On a trial start
# that is a copy, so that what the trial changes can be thrown away with it. A trial copy
# whose image now starts without being on trial was confirmed: it is adopted here if the
# confirm was cut off before it could rename it. Every other one is left over and goes.
identity_source() {
    identity=$RUN/data/identity
    mkdir -p "$identity" && chmod 700 "$identity" || return 1
    if [ ! -d "$identity/current" ] && [ -d "$identity/current.old" ]; then
        mv "$identity/current.old" "$identity/current"
    fi
    trial=
    hex "${BOOTSVC_TRANSACTION:-}" 32 && trial=$identity/trial-$BOOTSVC_TRANSACTION
    source=$identity/current
    # Without a transaction (the fallback of the updater) nobody knows whose a copy is.
    [ -n "$trial" ] && for copy in "$identity"/trial-*; do
        case $copy in
        "$trial" | "$trial.of") continue ;;
        esac
        rm -rf "$copy"
    done
    if [ "${BOOTSVC_TRIAL:-0}" != 1 ]; then
        [ -n "$trial" ] || return 0
        if [ -d "$trial" ] && [ "$(cat "$trial.of" 2>/dev/null)" = "$BOOTSVC_IDENTITY" ]; then
            say "identity files of the confirmed trial adopted"
            adopt_trial_copy "$trial"
        else
            rm -rf "$trial" "$trial.of"
        fi
        return 0
    fi
    if [ -z "$trial" ]; then
        alarm "trial start without a proper transaction id: identity files will not be kept"
        return 0
    fi
    if [ ! -d "$trial" ]; then
        rm -rf "$identity/trial-new"
        mkdir -p "$identity/current" &&
            cp -a "$identity/current" "$identity/trial-new" &&
            echo "$BOOTSVC_IDENTITY" >"$trial.of" &&
            sync && mv "$identity/trial-new" "$trial" || {
            rm -rf "$identity/trial-new" "$trial.of"
            alarm "no room for the trial's copy of the identity files: the current ones serve"
            return 0
        }
    fi
    source=$trial
}

# ---------------------------------------------------------------- the commands

make_root() {
    new_root=$1
    mkdir -p "$RUN/lower" "$RUN/upper" "$RUN/data" "$new_root"
    mount_area || return 1
    data_usable=0
    mount_data && data_usable=1
    mount_overlay "$new_root" || return 1
    count=0
    failed=0
    source=
    [ "${BOOTSVC_TRIAL:-0}" != 1 ] || : >"$RUN/trial"
    if [ "$data_usable" = 1 ] && [ "$overlay" != none ]; then
        identity_source && put_identity "$source" "$new_root" ||
            alarm "the identity files on data cannot be used"
    elif [ "$data_readable" = 1 ]; then
        # No $source: nothing is to be saved there by this start.
        [ "$overlay" = none ] || [ ! -d "$RUN/data/identity/current" ] ||
            put_identity "$RUN/data/identity/current" "$new_root"
        unmount_data
    fi
    {
        echo "BOOTSVC_OVERLAY_USED=$overlay"
        echo "BOOTSVC_DATA_USED=$data_usable"
        echo "BOOTSVC_DATA_DIR=$RUN/data"
        echo "BOOTSVC_IDENTITY_DIR=$source"
        echo "BOOTSVC_IDENTITY_FAILED=$failed"
    } >"$RUN/overlay.env"
    say "root ready: $overlay overlay, data $([ "$data_usable" = 1 ] && echo used || echo 'NOT used'), $count identity files"
}

# adopt: in the running OS, after its trial was confirmed.
adopt() {
    [ -r "$RUN/overlay.env" ] || return 0
    BOOTSVC_IDENTITY_DIR=
    # shellcheck source=/dev/null
    . "$RUN/overlay.env"
    case $BOOTSVC_IDENTITY_DIR in */trial-*) ;; *) return 0 ;; esac
    [ -d "$BOOTSVC_IDENTITY_DIR" ] || return 0
    identity=${BOOTSVC_IDENTITY_DIR%/*}
    adopt_trial_copy "$BOOTSVC_IDENTITY_DIR"
}

# option NAME: prints the value of the last kernel option bootsvc.NAME= or NAME=.
option() {
    set -f # called in a subshell: words of the command line are no patterns
    value=
    for word in $cmdline; do
        case $word in "$1="*) value=${word#"$1="} ;; esac
    done
    echo "$value"
}

# write_handover: handover.env from the kernel command line (kexec); 1 when this start is
# not bootsvc's. No value can hold a quote that ends the string early: such a start is not
# ours either.
write_handover() {
    cmdline=$(cat "${BOOTSVC_CMDLINE:-/proc/cmdline}")
    area=$(option bootsvc.area)
    [ -n "$area" ] || return 1
    case $cmdline in *bootsvc.*\'*) alarm "quote in the kernel options: ignored"; return 1 ;; esac
    mkdir -p "$RUN"
    # The area first: data lies on the same disk, so that it is not waited for once more.
    root_device=$(resolve "$(option root)" "$ROOT_TRIES") || root_device=$(option root)
    data_device=$(option bootsvc.data)
    if [ -n "$data_device" ]; then
        data_device=$(resolve "$data_device" 2) || data_device=$(option bootsvc.data)
    fi
    init=$(option init)
    overlay_kind=$(option bootsvc.overlay)
    trial=$(option bootsvc.trial)
    limit=$(option bootsvc.confirm_limit_s)
    {
        echo "BOOTSVC_AREA='$area'"
        echo "BOOTSVC_IDENTITY='$(option bootsvc.identity)'"
        echo "BOOTSVC_TRANSACTION='$(option bootsvc.transaction)'"
        echo "BOOTSVC_TRIAL='${trial:-0}'"
        echo "BOOTSVC_ROOT='$root_device'"
        echo "BOOTSVC_DATA='$data_device'"
        echo "BOOTSVC_OVERLAY='${overlay_kind:-volatile}'"
        echo "BOOTSVC_INIT='${init:-/sbin/init}'"
        echo "BOOTSVC_CONFIRM_LIMIT_S='${limit:-300}'"
        echo "BOOTSVC_ALARM='$(option bootsvc.alarm)'"
        echo "BOOTSVC_SLOT='$(option bootsvc.slot)'"
        echo "BOOTSVC_ROOT_OFFSET='$(option bootsvc.root_offset)'"
        echo "BOOTSVC_VERITY='$(option bootsvc.verity)'"
    } >"$RUN/handover.env.new" && mv "$RUN/handover.env.new" "$RUN/handover.env"
    # What the updater did at this start, in the small archive behind the image's initrd.
    [ ! -f /bootsvc-start.json ] || cp /bootsvc-start.json "$RUN/start.json"
}

case ${1:-} in
--from-cmdline) write_handover ;;
--adopt) adopt ;;
'' | -*)
    echo "usage: overlay.sh NEWROOT | --from-cmdline | --adopt" >&2
    exit 2
    ;;
*) make_root "$1" ;;
esac
