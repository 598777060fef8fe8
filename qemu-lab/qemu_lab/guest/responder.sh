#!/bin/sh
# The guest's end of the lab's virtio-serial port: one request a line, one answer each.
#
# Runs under busybox sh and dash, as the main loop of a probe OS or as a service. The protocol is
# described in qemu_lab/port.py; in short:  "<id> <word> [arguments]" is answered by
# "<id> begin", the output with one space before each line, and "<id> end <exit status>".
#
# Environment:
#   LAB_PORT_NAME  name of the port (org.bootsvc.lab)
#   LAB_WAIT_S     seconds to wait for the port to appear (30)
#   LAB_VERSION    version to report; default: IMAGE_VERSION of os-release, else /etc/lab-version
#   LAB_SYSFS, LAB_DEV, LAB_RUN, LAB_OS_RELEASE   other places than /sys, /dev, /run and
#                  /etc/os-release, for tests without a guest
set -u

port_name=${LAB_PORT_NAME:-org.bootsvc.lab}
sysfs=${LAB_SYSFS:-/sys}
dev=${LAB_DEV:-/dev}
run=${LAB_RUN:-/run}
os_release=${LAB_OS_RELEASE:-/etc/os-release}

# Prints the device of the port, or fails.
find_port() {
    for name in "$sysfs"/class/virtio-ports/*/name; do
        if [ -r "$name" ] && [ "$(cat "$name")" = "$port_name" ]; then
            node=${name%/name}
            echo "$dev/${node##*/}"
            return 0
        fi
    done
    return 1
}

# Text of standard input with one space before each line; a last line without an end gets one.
payload() {
    awk '{ print " " $0 }'
}

version() {
    if [ -n "${LAB_VERSION:-}" ]; then
        echo "$LAB_VERSION"
    elif found=$(sed -n 's/^IMAGE_VERSION=//p' "$os_release" 2>/dev/null | tr -d '"') &&
        [ -n "$found" ]; then
        echo "$found"
    elif [ -r /etc/lab-version ]; then
        cat /etc/lab-version
    else
        echo unknown
    fi
}

# One value of the hand-over that the updater left, without its quotes.
handover() {
    sed -n "s/^$1='\{0,1\}\([^']*\)'\{0,1\}\$/\1/p" "$run/bootsvc/handover.env" 2>/dev/null
}

hello() {
    words="version=$(version)"
    for key in area trial identity transaction; do
        # shellcheck disable=SC2018,SC2019  # the keys are plain ASCII
        upper=$(echo "$key" | tr a-z A-Z)
        value=$(handover "BOOTSVC_$upper")
        [ -z "$value" ] || words="$words $key=$value"
    done
    echo "$words"
}

# SHA-256 of a byte range of a device or file: DEVICE [OFFSET [LENGTH]], in bytes.
sha256_range() {
    [ $# -ge 1 ] || { echo "sha256: DEVICE [OFFSET [LENGTH]]"; return 2; }
    if [ $# -ge 3 ]; then
        dd if="$1" bs=64k iflag=skip_bytes,count_bytes,fullblock skip="$2" count="$3" 2>"$run/lab.dd"
    else
        dd if="$1" bs=64k iflag=skip_bytes skip="${2:-0}" 2>"$run/lab.dd"
    fi >"$run/lab.range" || { cat "$run/lab.dd"; return 1; }
    sum=$(sha256sum <"$run/lab.range")
    rm -f "$run/lab.range"
    echo "${sum%% *}"
}

# Standard input of every command is empty and its output goes to the answer. The port itself (3)
# and the status pipe (4) are closed for it, or a process that it leaves behind would hold them.
do_word() {
    word=$1
    arguments=$2
    case $word in
    version) version ;;
    hello) hello ;;
    run) sh -c "$arguments" ;;
    confirm | status | rollback | verify | stage | reject) eval "bootsvc $word $arguments" ;;
    sha256) eval "sha256_range $arguments" ;;
    reboot | poweroff | hang | panic) echo "$word follows" ;;
    *)
        echo "unknown word: $word"
        return 127
        ;;
    esac
}

# What a word does after its answer was sent: the host knows that it was understood.
do_after() {
    case $1 in
    reboot | poweroff)
        if [ -d /run/systemd/system ]; then
            systemctl "$1"
        else
            sync
            "$1" -f
        fi
        ;;
    hang) while :; do :; done ;;
    panic)
        echo 1 >/proc/sys/kernel/sysrq
        echo c >/proc/sysrq-trigger
        ;;
    esac
}

answer() {
    id=$1
    word=$2
    arguments=$3
    echo "$id begin" >&3
    # The exit status takes a way of its own (descriptor 4), since a pipeline only tells about
    # its last command.
    status=$({ { do_word "$word" "$arguments" </dev/null 2>&1 3>&- 4>&-; echo $? >&4; } |
        payload >&3; } 4>&1)
    echo "$id end ${status:-1}" >&3
    do_after "$word"
}

waited=0
until port=$(find_port); do
    if [ "$waited" -ge "${LAB_WAIT_S:-30}" ]; then
        echo "lab: no virtio-serial port named $port_name after $waited s" >&2
        exit 1
    fi
    waited=$((waited + 1))
    sleep 1
done

# Opened once for both directions: the host sees the port closed and opened at each exec.
exec 3<>"$port"

greeting=$(hello)
# The console first: who has the hello may rely on the line being in the transcript.
echo "lab: responder up $greeting"
# The empty line ends whatever a guest that was cut off left unfinished in the channel.
printf '\nhello %s\n' "$greeting" >&3

while IFS= read -r line <&3; do
    # shellcheck disable=SC2086  # splitting is the point
    set -f && set -- $line && set +f
    [ $# -ge 2 ] || continue
    request_id=$1
    request_word=$2
    rest=${line#*"$request_id" }
    rest=${rest#"$request_word"}
    answer "$request_id" "$request_word" "${rest# }"
done
