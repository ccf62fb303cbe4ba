use e2e::{Home, tool};

/// An image for containers brings no init: the agent is PID 1 and stays it.
#[test]
fn the_agent_is_init_where_the_image_has_none() {
    let home = Home::new();
    home.banger("vm create --start --name x").ok();
    assert_eq!(home.vm("x").guest_init.as_deref(), Some("/sbin/init"));
    home.sh("x", "rm /sbin/init /usr/lib/systemd/systemd && echo kept > /etc/file && echo kept > /root/file");
    home.banger("vm stop x").ok();

    home.banger("vm start x").ok();
    assert_eq!(home.vm("x").guest_init.as_deref(), Some("banger-agent"));
    assert_eq!(home.sh("x", "cat /proc/1/comm"), "init");
    assert_eq!(home.sh("x", "cat /etc/file /root/file"), "kept\nkept");
    // It has no SSH server either, and ssh says where to get one.
    if tool(&["ssh", "-V"]).is_some() {
        let none = home.banger("ssh x -- true").fails_with(125);
        none.says("the image has no SSH server").says("openssh-server").says("banger exec x");
    }
    // What systemd would have prepared.
    assert_eq!(
        home.sh("x", "hostname; stat -f -c %T /run /dev/shm /sys/fs/cgroup"),
        "x\ntmpfs\ntmpfs\ncgroup2fs"
    );
    assert_eq!(home.sh("x", "ip -br address show eth0 | grep -o 198.18.0.2"), "198.18.0.2");

    // An orphan that ends is reaped.
    home.sh("x", "setsid sleep 0.2 >/dev/null 2>&1 &");
    assert_eq!(home.sh("x", "sleep 1; grep -l '^State:.Z' /proc/[0-9]*/status || true"), "");

    let stop = home.banger("vm stop x").ok();
    assert!(!stop.err.contains("killed"), "{stop}");
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "dmesg | grep -iE 'recover|orphan cleanup' || true"), "");
    home.banger("vm delete x").ok();

    // The same by choice.
    let run = home.banger("run --rm --init agent").sh("cat /proc/1/comm; exit 3").fails_with(3);
    assert_eq!(run.text(), "init");
    home.assert_no_residue();
}
