# As fedora's or arch's: systemd is there, and everything that would manage the network.
test ! -e sbin/init
rm -f etc/machine-id etc/hostname etc/hosts
ln -sf ../run/systemd/resolve/stub-resolv.conf etc/resolv.conf
chroot . systemctl enable systemd-networkd
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' > etc/systemd/network/20-wired.network
