use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use banger_api::vm::VmState;
use e2e::{Home, Programs, skipped, tool};

/// Makes an ordinary user with a range of subordinate ids, known only in a mount namespace of its own, and
/// becomes it.
const AS_USER: &str = r#"
set -eu
etc=$HOME/etc
if [ ! -d "$etc" ]; then
    cp -a /etc "$etc"
    mount --bind "$etc" /etc
    useradd --no-create-home --home-dir "$HOME" --uid 54321 --user-group --shell /bin/sh banger-e2e
    usermod --add-subuids 600000-665535 --add-subgids 600000-665535 banger-e2e
    chown -R 54321:54321 "$HOME"
    chown -R 0:0 "$etc"
else
    mount --bind "$etc" /etc
fi
exec setpriv --reuid 54321 --regid 54321 --init-groups --reset-env env \
    HOME="$HOME" XDG_CONFIG_HOME="$XDG_CONFIG_HOME" XDG_STATE_HOME="$XDG_STATE_HOME" \
    XDG_CACHE_HOME="$XDG_CACHE_HOME" XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" PATH="$PATH" "$@"
"#;

#[test]
fn needs_root_to_become_an_ordinary_user_who_builds_and_runs() {
    if !tool(&["unshare", "--mount", "setpriv", "--reuid", "1", "true"]).is_some_and(|(works, _)| works) {
        return skipped(
            "becoming somebody else takes root (as an ordinary user, every other scenario shows the same)",
        );
    }
    if !tool(&["newuidmap"]).is_some_and(|(_, said)| said.contains("usage")) {
        return skipped("newuidmap is not installed (package uidmap)");
    }
    // Everybody may pass through /tmp, and through nothing of root's.
    let home = Home::bare_in(&std::env::temp_dir().join("banger-e2e"));
    let programs = Programs::find().copy_to(&home.root().join("bin"));
    let home = home.with_programs(programs).under(&["unshare", "--mount", "sh", "-c", AS_USER, "sh"]);
    rustix::fs::chmod(home.root(), 0o755.into()).unwrap();
    let limit = Duration::from_secs(600);
    let id = home.program("/usr/bin/id").args(["-u"]).ok();
    assert_eq!(id.text(), "54321", "{id}");
    let run = home.banger("run --rm --image debian-trixie-minimal --memory 384M -- id -u").limit(limit).ok();
    assert_eq!(run.text(), "0", "{run}");
    assert_eq!(
        home.banger("run --rm --image debian-trixie-minimal").sh("stat -c %U /etc/shadow").ok().text(),
        "root"
    );
    its_guest_has_a_network(&home);
    one_directory_that_cannot_be_read_stops_nothing(&home);
    home.assert_no_residue();
}

/// The gateway needs no more than the user has.
fn its_guest_has_a_network(home: &Home) {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    let greet = std::thread::spawn(move || server.accept().unwrap().0.write_all(b"hello\n").unwrap());
    let script = format!("exec 3<>/dev/tcp/host.vm/{port}; cat <&3; ! exec 4<>/dev/tcp/host.vm/{}", port - 1);
    let run = home.banger(&format!("run --rm --image debian-trixie-minimal --egress host:{port} -- bash -c"));
    assert_eq!(run.args([script]).ok().text(), "hello");
    greet.join().unwrap();
}

/// (Root reads everything.)
fn one_directory_that_cannot_be_read_stops_nothing(home: &Home) {
    home.banger("vm create --image debian-trixie-minimal --name x").ok();
    for kind in ["images", "kernels", "vms"] {
        let dir = std::fs::read_dir(home.state().join(kind)).unwrap().next().unwrap().unwrap().path();
        rustix::fs::chmod(&dir, 0.into()).unwrap();
        for _ in 0..2 {
            let vm = home.vm("x");
            assert_eq!(vm.state, if kind == "vms" { VmState::Broken } else { VmState::Stopped }, "{kind}");
            home.banger("vm start x").fails_with(4).says(&dir.display().to_string());
            home.kill_daemon();
        }
        let listed = home.banger(&format!("{} list", kind.trim_end_matches('s'))).ok().text();
        assert!(kind == "vms" || listed.contains("damaged"), "{listed}");
        rustix::fs::chmod(&dir, 0o700.into()).unwrap();
        assert_eq!(home.vm("x").state, VmState::Stopped, "{kind}");
    }
    home.banger("vm start x").ok();
    home.banger("vm delete --force x").ok();
}
