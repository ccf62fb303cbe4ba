use std::os::unix::net::UnixListener;
use std::time::Duration;

use e2e::{Home, until};

#[test]
fn bad_requests_are_refused_and_leave_nothing() {
    let home = Home::new();
    home.banger("vm create --name taken").ok();
    for (words, code, says) in [
        ("vm create --image debian-trixi", 3, &["debian-trixi", "help: did you mean debian-trixie?"][..]),
        // What the catalog does not know is a registry's.
        ("vm create --image localhost:1/nothing", 1, &["localhost:1", "help: "]),
        ("vm create --image No-Such:Image:", 2, &["No-Such", "help: "]),
        ("vm create --kernel debian-9", 3, &["debian-9", "help: "]),
        // Told at once, not after the image was built.
        ("vm create --image debian-bookworm --kernel debian-9", 3, &["debian-9"]),
        ("vm create --name Bad_Name", 2, &["\"Bad_Name\"", "help: "]),
        ("vm create --name -x", 2, &[]),
        ("vm create --name taken", 4, &["\"taken\"", "help: "]),
        ("vm create --vcpu 0", 2, &["vCPU", "help: "]),
        ("vm create --vcpu 9999", 2, &["9999", "help: "]),
        ("vm create --memory 999T", 2, &["memory", "help: "]),
        ("vm create --memory -5", 2, &["-5"]),
        ("vm create --memory 1M", 2, &["memory", "help: "]),
        ("vm create --disk-size 1M", 2, &["disk", "help: "]),
        ("vm create --disk-size many", 2, &["many"]),
        ("vm create --no-such-flag", 2, &["--no-such-flag"]),
        ("vm start nobody", 3, &["nobody", "help: "]),
        ("vm exec nobody -- true", 125, &["nobody"]),
        ("vm exec taken -- true", 125, &["not running", "help: "]),
        ("run --rm --image localhost:1/nothing -- true", 125, &["localhost:1"]),
        ("run --rm --vcpu 0 -- true", 125, &["vCPU"]),
        ("run --rm --bad-flag -- true", 125, &["--bad-flag"]),
        ("image delete debian-trixie-minimal", 4, &["taken"]),
        ("kernel delete debian-6.12", 4, &["taken"]),
        ("image show nothing", 3, &["nothing"]),
        ("image pull localhost:1/nothing", 1, &["localhost:1"]),
        ("kernel pull nothing", 3, &["nothing"]),
        ("image delete nothing", 3, &["nothing"]),
    ] {
        let refused = home.banger(words).fails_with(code);
        assert!(refused.out.is_empty(), "{refused}");
        assert!(refused.err.contains("error:") && !refused.err.contains("os error"), "{refused}");
        assert!(!refused.err.contains("Debian's archive"), "it began to build: {refused}");
        for word in says {
            refused.says(word);
        }
    }
    assert_eq!(home.vms().len(), 1);
    home.banger("vm delete taken").ok();
    home.assert_no_residue();
}

#[test]
fn a_wrong_configuration_is_told_by_line_and_column() {
    let home = Home::new();
    let file = home.root().join("config/banger/config.toml");
    for (text, place, says) in [
        ("default_image = \"x\"\n\n[vm_defaults]\nvcpus = 2\n", "4:1", "vcpus"),
        ("[vm_defaults]\nvcpu = \"two\"\n", "2:8", "vcpu"),
        ("[vm_defaults]\nvcpu = 0\n", "2:8", "vcpu"),
        ("default_image = [\n", "1:18", "unclosed"),
        ("log_level = \"loud\"\n", "1:13", "loud"),
    ] {
        home.configure(text);
        let refused = home.banger("vm list").output();
        assert_ne!(refused.code, 0, "{text:?} is taken");
        refused.says(&format!("{}:{place}", file.display())).says(says);
        assert!(home.processes("bangerd").is_empty(), "a daemon runs with {text:?}");
    }
    home.configure("[vm_defaults]\nvcpu = 1\n");
    home.banger("vm list").ok();
}

#[test]
fn a_socket_of_a_dead_daemon_is_no_obstacle() {
    let home = Home::new();
    home.banger("daemon start").ok();
    home.kill_daemon();
    assert!(home.socket().exists(), "a killed daemon cannot remove its socket");
    home.banger("vm list").ok();
    home.banger("daemon stop").ok();
    assert!(!home.socket().exists());
    // One that nobody ever listened on, and a file that is no socket at all.
    drop(UnixListener::bind(home.socket()).unwrap());
    home.banger("vm list").ok();
    home.banger("daemon stop").ok();
    std::fs::write(home.socket(), "not a socket").unwrap();
    home.banger("vm list").ok();
    home.assert_no_residue();
}

#[test]
fn many_commands_at_once_start_one_daemon() {
    let home = Home::new();
    for _ in 0..3 {
        let lists: Vec<_> = (0..8).map(|_| home.banger("vm list").start()).collect();
        for list in lists {
            let list = list.finish(Duration::from_secs(30));
            assert_eq!(list.code, 0, "{list}");
        }
        // Those that came too late are on their way out.
        until("one daemon is left", Duration::from_secs(5), || home.processes("bangerd serve").len() == 1);
        home.kill_daemon();
    }
}

#[test]
fn a_runtime_directory_that_is_open_to_others_is_refused() {
    let home = Home::new();
    let dir = home.root().join("run/banger");
    std::fs::create_dir_all(&dir).unwrap();
    rustix::fs::chmod(&dir, 0o755.into()).unwrap();
    home.banger("vm list").fails_with(5).says("0755").says("0700");
}

#[test]
fn missing_tools_are_named_with_their_package() {
    let home = Home::new().without_programs(&["qemu-system-x86_64", "mmdebstrap"]);
    home.banger("run --rm -- true").fails_with(125).says("qemu-system-x86");
    home.banger("image pull debian-bookworm").fails_with(5).says("mmdebstrap").says("help: ");
    home.banger("kernel pull debian-6.1").fails_with(5).says("mmdebstrap");
    let doctor = home.banger("doctor").output();
    assert_ne!(doctor.code, 0, "{doctor}");
    for package in ["qemu-system-x86", "mmdebstrap"] {
        assert!(doctor.text().contains(&format!("apt-get install {package}")), "{doctor}");
    }
    home.assert_no_residue();
    // What is there again is found again, without a restart of anything by hand.
    home.banger("daemon stop").ok();
    let home = home.with_all_programs();
    let doctor = home.banger("doctor").ok();
    assert!(!doctor.text().contains("apt-get install"), "{doctor}");
}
