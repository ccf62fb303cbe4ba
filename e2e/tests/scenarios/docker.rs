use std::time::Duration;

use e2e::{Home, busybox, eventually};

/// A container of an image that is made inside, so that no registry is needed: on the default bridge, on
/// overlay2.
#[test]
fn docker_runs_containers_inside_the_vm() {
    let home = Home::docker();
    home.banger("vm create --start --memory 1G --disk-size 1G --name x").ok();
    eventually("docker has started", Duration::from_secs(180), || {
        (home.banger("exec x -- docker info").output().code == 0).then_some(())
    });
    home.banger("exec x").stdin(busybox()).sh("cat > busybox && chmod 755 busybox").ok();
    home.sh("x", "tar c busybox | docker import - box");

    assert_eq!(
        home.sh("x", "docker info -f '{{.Driver}} {{.CgroupVersion}} {{len .Warnings}}'"),
        "overlay2 2 0"
    );
    let inside = home.sh(
        "x",
        "docker run --rm --memory 64m box /busybox sh -c '/busybox mount | /busybox grep -c \"^overlay on / \";\
         /busybox ip -4 addr show eth0 | /busybox grep -o \"172[0-9.]*/\";\
         /busybox ping -c 1 198.18.0.1 | /busybox grep -o \"[0-9] packets received\";\
         /busybox grep nameserver /etc/resolv.conf'",
    );
    assert_eq!(inside, "1\n172.17.0.2/\n1 packets received\nnameserver 198.18.0.1");

    // One that is built here, and reached at a port.
    home.sh(
        "x",
        "printf 'FROM box\\nRUN [\"/busybox\", \"touch\", \"/made\"]\\n' | docker build -q -t web - && \
         docker run -d --name web -p 8080:80 web /busybox httpd -f -p 80 -h /",
    );
    let answers =
        "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /made HTTP/1.0\\r\\n\\r\\n' >&3 && head -1 <&3";
    let ask = || home.banger("exec x -- bash -c").args([answers]).output();
    eventually("the container answers", Duration::from_secs(30), || {
        ask().text().contains("200 OK").then_some(())
    });

    let stop = home.banger("vm stop x").ok();
    assert!(!stop.err.contains("killed"), "{stop}");
    home.banger("vm delete --force x").ok();
    home.assert_no_residue();
}
