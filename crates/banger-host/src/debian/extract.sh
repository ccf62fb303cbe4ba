#!/bin/sh
# Runs on the host when the packages have been fetched, verified and unpacked; $1 is the tree.
set -eu
touch "$BANGER_STAGING/fetched"
for kernel in "$1"/boot/vmlinuz-*; do
    # Packages are not configured in a kernel tree, so nobody has run depmod. Its own one fits its own modules best.
    if [ -e "$kernel" ] && [ -n "${BANGER_DEPMOD:-}" ]; then
        chroot "$1" depmod "${kernel##*/vmlinuz-}"
    fi
done
