# The boot-status record, read by the shell: used by /init when Python cannot run.
# Sourced, never executed. POSIX sh with busybox applets (dd od head tail gzip tr cut).
#
# Only what the fallback needs is read; bootsvc/formats/boot_status.py declares the whole:
#
#   offset  size  field
#      0      8   magic "BOOTSVC\0"
#      8      2   format version, 1
#     12      1   status code: 1 ordinary, 2 boot backup, 3 first start on trial
#     13      1   phase: 7 trial
#     14      1   boot area: 0 none, 1 primary, 2 backup
#     16      8   sequence, little-endian
#    112      1   state of primary: 0 empty, 1 being written, 2 valid, 3 confirmed, 4 bad
#    168      1   state of backup, likewise
#    508      4   CRC-32 of bytes 0..507, little-endian
#
# Two copies: at offset 0 and at 2 MiB of the status partition.

# Results are variables for the caller, and busybox's test compares text with \>:
# shellcheck shell=sh disable=SC2034,SC3012

RECORD_SIZE=512
RECORD_COPIES="0 2097152"
RECORD_MAGIC=424f4f5453564300

# Print the hex digits of $3 bytes from offset $2 of file $1.
record_hex() {
    od -An -v -tx1 -j "$2" -N "$3" "$1" | tr -d ' \n'
}

# Print a little-endian number's hex digits with the highest byte first.
record_swap() {
    record_rest=$1
    record_swapped=
    while [ -n "$record_rest" ]; do
        record_tail=${record_rest#??}
        record_swapped=${record_rest%"$record_tail"}$record_swapped
        record_rest=$record_tail
    done
    printf '%s' "$record_swapped"
}

# True if the 512 bytes in file $1 are a record (magic, version, CRC, a known code) and the
# area that it names is recorded as whole.
record_valid() {
    [ "$(wc -c <"$1")" -eq $RECORD_SIZE ] || return 1
    [ "$(record_hex "$1" 0 8)" = $RECORD_MAGIC ] || return 1
    # gzip ends its output with the CRC-32 of its input (4 bytes) and the input's length.
    record_sum=$(head -c 508 "$1" | gzip -c | tail -c 8 | od -An -v -tx1 -N 4 | tr -d ' \n')
    [ "$record_sum" = "$(record_hex "$1" 508 4)" ] || return 1
    case $(record_hex "$1" 12 1) in 01 | 02 | 03) ;; *) return 1 ;; esac
    [ "$(record_hex "$1" 8 2)" = 0100 ] || return 1
    case $(record_hex "$1" 14 1) in
        00) return 0 ;;
        01) record_state=$(record_hex "$1" 112 1) ;;
        02) record_state=$(record_hex "$1" 168 1) ;;
        *) return 1 ;;
    esac
    case $record_state in 02 | 03) ;; *) return 1 ;; esac
}

# Read both copies from device or file $1, with scratch files in directory $2.
#
# Sets RECORD_CODE (1, 2, 3), RECORD_AREA (none, primary, backup: what to boot),
# RECORD_INSTEAD (why that is not the area that the record names, else empty), RECORD_PRIMARY and
# RECORD_BACKUP (states of both areas, 2 hex digits) and RECORD_SEQUENCE (16 hex digits) and
# returns 0; or sets RECORD_REASON and returns 1.
record_read() {
    record_best=
    RECORD_SEQUENCE=
    record_number=0
    for record_offset in $RECORD_COPIES; do
        record_file=$2/record.$record_number
        record_number=$((record_number + 1))
        dd if="$1" of="$record_file" bs=$RECORD_SIZE skip=$((record_offset / RECORD_SIZE)) \
            count=1 2>/dev/null || continue
        record_valid "$record_file" || continue
        record_sequence=$(record_swap "$(record_hex "$record_file" 16 8)")
        # Equal length, so the order of the digits is the order of the numbers; a 64-bit
        # unsigned number does not fit the shell's arithmetic.
        if [ -z "$record_best" ] || [ "$record_sequence" \> "$RECORD_SEQUENCE" ]; then
            record_best=$record_file
            RECORD_SEQUENCE=$record_sequence
        elif [ "$record_sequence" = "$RECORD_SEQUENCE" ] &&
            [ "$(record_hex "$record_best" 0 $RECORD_SIZE)" != \
                "$(record_hex "$record_file" 0 $RECORD_SIZE)" ]; then
            RECORD_REASON="both copies have sequence 0x$RECORD_SEQUENCE but differ"
            return 1
        fi
    done
    if [ -z "$record_best" ]; then
        RECORD_REASON="no valid copy of the boot-status record on $1"
        return 1
    fi
    RECORD_CODE=$((0x$(record_hex "$record_best" 12 1)))
    case $(record_hex "$record_best" 14 1) in
        01) RECORD_AREA=primary ;;
        02) RECORD_AREA=backup ;;
        *) RECORD_AREA=none ;;
    esac
    RECORD_PRIMARY=$(record_hex "$record_best" 112 1)
    RECORD_BACKUP=$(record_hex "$record_best" 168 1)
    RECORD_REASON=
    record_trial "$record_best"
}

# An image on trial must not be started by a shell that cannot count the try: a try that
# cannot be recorded boots the backup (DESIGN 3), where the record in file $1 has a whole one.
record_trial() {
    RECORD_INSTEAD=
    [ "$RECORD_CODE$RECORD_AREA$(record_hex "$1" 13 1)" = 3primary07 ] || return 0
    case $(record_hex "$1" 168 1) in
        02 | 03)
            RECORD_AREA=backup
            RECORD_INSTEAD="primary is on trial, and without Python a try cannot be recorded"
            ;;
    esac
}
