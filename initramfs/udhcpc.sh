#!/bin/sh
# udhcpc calls this with what a DHCP server gave, in its environment; $1 says what happened.
#
# Nothing is set here: bootsvc/boot/network.py reads the file, checks every value and configures
# the interface, as it does with a fixed address. The file appears whole or not at all.

case $1 in
    bound | renew)
        # The variables are udhcpc's. mask: bits of the network; router, dns: one or several.
        # shellcheck disable=SC2154
        printf '%s\n' "ip=$ip" "mask=$mask" "router=$router" "dns=$dns" >"$BOOTSVC_LEASE.new" &&
            mv "$BOOTSVC_LEASE.new" "$BOOTSVC_LEASE"
        ;;
esac
