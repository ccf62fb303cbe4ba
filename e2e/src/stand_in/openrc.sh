# As alpine has it: busybox's init goes through openrc's runlevels.
ln -sf /bin/busybox usr/sbin/init
cat > etc/inittab <<'INITTAB'
::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default
::respawn:/bin/sleep 100000
::ctrlaltdel:/sbin/reboot
::shutdown:/sbin/openrc shutdown
INITTAB
rm -rf etc/runlevels/*
mkdir -p etc/runlevels/sysinit etc/runlevels/boot etc/runlevels/default etc/runlevels/shutdown etc/runlevels/nonetwork
cat > etc/init.d/marker <<'SERVICE'
#!/sbin/openrc-run
description="Says that openrc was here"
start() { touch /run/marker; }
stop() { touch /var/stopped; }
SERVICE
chmod 755 etc/init.d/marker
ln -s /etc/init.d/marker etc/runlevels/default/marker
echo 'root:x:0:0:root:/root:/bin/ash' > etc/passwd
echo 'root:x:0:' > etc/group
