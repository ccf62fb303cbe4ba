#!/bin/sh
# Runs on the host when the packages have been fetched, verified and unpacked; $1 is the tree.
set -eu
touch "$BANGER_STAGING/fetched"
# The package that merges /usr is not part of a kernel tree; programs in it need their loader all the same.
if [ -n "${BANGER_DEPMOD:-}" ]; then
    for dir in bin sbin lib lib64; do
        if [ ! -e "$1/$dir" ] && [ -d "$1/usr/$dir" ]; then
            ln -s "usr/$dir" "$1/$dir"
        fi
    done
fi
for kernel in "$1"/boot/vmlinuz-*; do
    # Packages are not configured in a kernel tree, so nobody has run depmod. Its own one fits its own modules best.
    if [ -e "$kernel" ] && [ -n "${BANGER_DEPMOD:-}" ]; then
        chroot "$1" depmod "${kernel##*/vmlinuz-}"
    fi
done
