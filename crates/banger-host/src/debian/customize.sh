#!/bin/sh
# Makes a freshly installed Debian tree into an image for disposable VMs. Runs on the host, as (mapped) root; $1 is the tree.
set -eu
root=$1
units=$root/etc/systemd/system
generators=$root/etc/systemd/system-generators

# Nothing that names a machine: neither the host that builds this nor the VMs that share it.
: > "$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root"/etc/ssh/ssh_host_* "$root/etc/fstab"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
echo localhost > "$root/etc/hostname"
: > "$root/etc/resolv.conf"
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"

printf 'LANG=C.UTF-8\n' > "$root/etc/locale.conf"
mkdir -p "$root/etc/default"
printf 'LANG=C.UTF-8\n' > "$root/etc/default/locale"

# The agent is the console, mounts what there is to mount, and brings entropy; there is no display and no EFI; a VM that does
# nothing is idle. Whatever runs at boot takes time from the first commands, most of all under emulation.
mkdir -p "$units" "$generators"
ln -sf /usr/lib/systemd/system/multi-user.target "$units/default.target"
for unit in \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    logrotate.timer man-db.timer \
    console-getty.service getty@tty1.service serial-getty@ttyS0.service serial-getty@hvc0.service \
    modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service sys-kernel-config.mount \
    systemd-random-seed.service systemd-remount-fs.service
do
    ln -sf /dev/null "$units/$unit"
done
for generator in getty gpt-auto hibernate-resume ssh tpm2; do
    ln -sf /dev/null "$generators/systemd-$generator-generator"
done

# The host makes a VM's SSH keys. Without them sshd stays down and does not count as failed.
if [ -e "$root/usr/sbin/sshd" ]; then
    mkdir -p "$units/ssh.service.d"
    printf '[Unit]\nConditionPathExistsGlob=/etc/ssh/ssh_host_*_key\n' > "$units/ssh.service.d/host-keys.conf"
fi

if [ -e "$root/usr/bin/tmux" ]; then
    cat > "$root/etc/tmux.conf" <<'TMUX'
set -g default-terminal "tmux-256color"
set -g history-limit 50000
set -g mouse on
set -s escape-time 10
set -g focus-events on
TMUX
fi

# What made the build quick or small must not surprise whoever installs more packages in the VM.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
if [ -e "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap" ]; then
    sed -i '/unsafe-io/d' "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
fi

# Else every new VM would rebuild caches at its first boot, for minutes under emulation.
touch "$root/etc/.updated" "$root/var/.updated"
