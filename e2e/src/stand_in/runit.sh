# The three stages as void has them, and one service to see them by.
rm -rf etc/service etc/runit/1 etc/runit/2 etc/runit/3
mkdir -p etc/service/marker
cat > etc/runit/1 <<'STAGE'
#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
install -m000 /dev/null /run/runit.stopit
install -m000 /dev/null /run/runit.reboot
STAGE
cat > etc/runit/2 <<'STAGE'
#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec env - PATH=$PATH runsvdir -P /etc/service
STAGE
cat > etc/runit/3 <<'STAGE'
#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
sv -w 10 force-stop /etc/service/*
sv exit /etc/service/*
touch /var/stopped
killall5 -15
sleep 1
killall5 -9
umount -a -r
mount -o remount,ro /
STAGE
printf '#!/bin/sh\ntouch /run/marker\nexec sleep 100000\n' > etc/service/marker/run
chmod 755 etc/runit/1 etc/runit/2 etc/runit/3 etc/service/marker/run
echo 'root:x:0:0:root:/root:/bin/sh' > etc/passwd
echo 'root:x:0:' > etc/group
