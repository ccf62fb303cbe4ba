use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::{Finished, Home, Repo, Run, Terminal, skipped, tool, until};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(20);

/// Enough that no buffer on the way holds all of it.
const LARGE: usize = 50 * 1024 * 1024;

/// Has no pattern that a lost or a doubled piece would keep.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len / 8).flatten().collect()
}

/// `banger ssh` to the VM `x`, with a command for its shell.
fn ssh<'home>(home: &'home Home, script: &str) -> Run<'home> {
    home.banger("ssh x --").args([script])
}

/// A tool that reads the user's SSH configuration, which is the home's here: ssh itself goes by the user
/// database.
fn client<'home>(home: &'home Home, program: &str) -> Run<'home> {
    // What an editor on a desktop has set is not what the shell had that installed it.
    let run = home.program(program).env("XDG_STATE_HOME", home.root().join("elsewhere"));
    run.args(["-F"]).args([home.root().join(".ssh/config")])
}

/// SSH servers in the guest that serve somebody.
fn servers(home: &Home) -> String {
    home.sh("x", "pgrep -f -c '[s]shd.* -i|[s]shd-session|[s]shd: root' || true")
}

#[test]
fn needs_ssh_to_reach_a_vm_without_a_network() {
    for needed in ["ssh", "scp", "sftp", "rsync"] {
        if tool(&[needed, "--version"]).is_none() {
            return skipped(&format!("there is no {needed}"));
        }
    }
    let home = Home::golden();
    // It does not take an init either, and without systemd the rest is quicker.
    home.banger("vm create --name x --network none --init agent").ok();
    ssh(&home, "true").fails_with(125).says("banger vm start x");
    home.banger("vm start x").ok();

    commands(&home);
    large_transfers(&home);
    a_terminal(&home);
    an_agent_is_lent_when_asked(&home);
    many_at_once(&home);
    the_users_own_configuration(&home);
    no_password_opens(&home);
    nothing_stays_of_a_killed_client(&home);
    another_host_key_is_refused(&home);

    // Another VM of that name has another key, and nobody has to be told.
    home.banger("vm delete x").ok();
    home.banger("vm create --name x --start").ok();
    ssh(&home, "true").ok();
    client(&home, "ssh").args(["x.vm", "true"]).ok();
    let known = fs::read_to_string(home.state().join("ssh/known_hosts")).unwrap();
    assert_eq!(known.lines().count(), 1, "{known}");
    assert!(!home.root().join(".ssh/known_hosts").exists(), "the user's own is no business of banger's");
    uninstalled(&home);
    home.banger("vm delete x").ok();
    assert_eq!(fs::read(home.state().join("ssh/known_hosts")).unwrap(), b"");
    home.assert_no_residue();
}

fn commands(home: &Home) {
    let run = ssh(home, "echo out; echo err >&2; whoami; exit 7").fails_with(7);
    assert_eq!((run.text().as_str(), run.err.as_str()), ("out\nroot", "err\n"));
    // As ssh does it: the words are one line for the shell at the other end.
    assert_eq!(home.banger("ssh x -- printf %s,").args(["a b"]).ok().text(), "a,b,");
    assert_eq!(ssh(home, "cat").stdin("through\n").ok().text(), "through");
    ssh(home, "exit 255").fails_with(255).says("command's own code");
    home.banger("ssh x -l ghost -- true").fails_with(125).says("could not log in");
    home.banger("ssh nobody-here -- true").fails_with(125).says("there is no VM");
    // Nothing of the host's is lent.
    assert_eq!(ssh(home, "echo [$SSH_AUTH_SOCK]").env("SSH_AUTH_SOCK", "/nowhere").ok().text(), "[]");
    home.banger("ssh -A x -- true").env("SSH_AUTH_SOCK", "").fails_with(125).says("no SSH agent to lend");
}

fn large_transfers(home: &Home) {
    let sent = noise(LARGE);
    ssh(home, "cat > /root/large").stdin(sent.clone()).ok();
    let back = ssh(home, "cat /root/large; rm /root/large").ok();
    assert!(back.out == sent, "{} of {LARGE} bytes came back", back.out.len());
}

fn a_terminal(home: &Home) {
    let mut terminal = Terminal::open(home, 30, 100, &["ssh", "x"]);
    terminal.expect("# ");
    terminal.send("stty size\r");
    terminal.expect("30 100");
    terminal.send("exit 3\r");
    terminal.expect("x is still running");
    terminal.expect("banger vm stop x");
    assert_eq!(terminal.wait(), 3);
}

fn an_agent_is_lent_when_asked(home: &Home) {
    let (socket, key) = (home.root().join("agent.sock"), home.root().join("key"));
    home.program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f"]).args([&key]).ok();
    let _agent = home.program("ssh-agent").args(["-D", "-a"]).args([&socket]).start();
    until("the agent listens", LIMIT, || socket.exists());
    home.program("ssh-add").args(["-q"]).args([&key]).env("SSH_AUTH_SOCK", &socket).ok();
    ssh(home, "ssh-add -l").env("SSH_AUTH_SOCK", &socket).fails_with(2);
    let lent =
        |script: &str| home.banger("ssh -A x --").args([script]).env("SSH_AUTH_SOCK", &socket).ok().text();
    assert!(lent("ssh-add -l").ends_with("mine (ED25519)"));
    let commit = lent(
        "git init -q /root/signed && cd /root/signed && git config gpg.format ssh && \
         git config user.signingKey \"key::$(ssh-add -L | head -n 1)\" && \
         git -c user.name=G -c user.email=g@example.org commit -q -S --allow-empty -m signed && \
         git cat-file commit HEAD",
    );
    assert!(commit.contains("BEGIN SSH SIGNATURE"), "{commit}");
    // It is killed, and cannot do that itself.
    fs::remove_file(&socket).unwrap();
}

fn many_at_once(home: &Home) {
    let all: Vec<_> = (0..8).map(|n| ssh(home, &format!("sleep 1; echo {n}")).start()).collect();
    for (n, one) in all.into_iter().enumerate() {
        let one = one.finish(Duration::from_secs(60));
        assert_eq!((one.code, one.text()), (0, n.to_string()), "{one}");
    }
    until("no server is left", LIMIT, || servers(home) == "0");
}

fn the_users_own_configuration(home: &Home) {
    let dir = home.root().join(".ssh");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("config"), USERS_CONFIG).unwrap();
    home.banger("ssh-config install").ok();
    home.banger("ssh-config install").ok().says("includes already");
    let shown = home.banger("ssh-config show").ok().text();
    assert!(shown.contains("(included)") && shown.contains("Host *.vm"), "{shown}");

    assert_eq!(client(home, "ssh").args(["root@x.vm", "hostname"]).ok().text(), "x");
    assert_eq!(client(home, "ssh").args(["X.vm", "hostname"]).ok().text(), "x");
    copies(home);
    a_repository(home);
}

const USERS_CONFIG: &str = "Host *\r\n  ForwardAgent yes\r\nMatch host somewhere\n  User me";

fn uninstalled(home: &Home) {
    home.banger("ssh-config uninstall").ok();
    assert_eq!(fs::read_to_string(home.root().join(".ssh/config")).unwrap(), USERS_CONFIG);
}

fn copies(home: &Home) {
    let root = home.root();
    let content = noise(300_000);
    fs::write(root.join("a file"), &content).unwrap();
    client(home, "scp").args(["-q", "a file", "x.vm:/root/by scp"]).ok();
    client(home, "scp").args(["-q", "x.vm:/root/by scp", "back"]).ok();
    assert_eq!(fs::read(root.join("back")).unwrap(), content);
    let batch = "put \"a file\" by-sftp\nget by-sftp from-sftp\n";
    client(home, "sftp").args(["-q", "-b", "-", "x.vm"]).stdin(batch).ok();
    assert_eq!(fs::read(root.join("from-sftp")).unwrap(), content);
    let shell = format!("--rsh=ssh -F {}/.ssh/config", root.display());
    fs::create_dir(root.join("tree")).unwrap();
    fs::write(root.join("tree/one"), &content).unwrap();
    home.program("rsync").args(["-a", &shell, "tree/", "x.vm:synced/"]).ok();
    home.program("rsync").args(["-a", &shell, "x.vm:synced/", "tree-again/"]).ok();
    assert_eq!(fs::read(root.join("tree-again/one")).unwrap(), content);
}

fn a_repository(home: &Home) {
    let repo = Repo::new(home, "repo");
    fs::write(repo.path("file"), "one\n").unwrap();
    repo.git("add -A");
    repo.git("commit -q -m first");
    home.sh("x", "git init -q --bare -b main /root/bare.git");
    let git = |words: &str, dir: &Path| {
        let shell = format!("ssh -F {}/.ssh/config", home.root().display());
        let run = home.program("git").args(["-C".into(), dir.as_os_str().to_owned()]);
        run.args(words.split_whitespace()).env("GIT_SSH_COMMAND", shell).ok()
    };
    git("push -q root@x.vm:bare.git main", repo.dir());
    assert_eq!(home.sh("x", "git -C /root/bare.git rev-parse main"), repo.git("rev-parse HEAD"));
    git("clone -q ssh://root@x.vm/root/bare.git cloned", home.root());
    assert_eq!(fs::read_to_string(home.root().join("cloned/file")).unwrap(), "one\n");
}

fn no_password_opens(home: &Home) {
    home.sh("x", "echo root:secret | chpasswd");
    let mut refused = client(home, "ssh").args(["-o", "PubkeyAuthentication=no", "-o", "BatchMode=yes"]);
    for option in ["PasswordAuthentication=yes", "KbdInteractiveAuthentication=yes"] {
        refused = refused.args(["-o", option]);
    }
    let all = "PreferredAuthentications=password,keyboard-interactive,publickey";
    refused.args(["-o", all, "x.vm", "true"]).fails_with(255).says("Permission denied (publickey)");
    // Nor does the server that the image starts by itself.
    let own = home.sh("x", "$(command -v sshd) -T | grep -E '^(passwordauth|kbdinter)' | sort");
    assert_eq!(own, "kbdinteractiveauthentication no\npasswordauthentication no");
    // A locked root gets in by key, with PAM.
    home.sh("x", "usermod -L root");
    ssh(home, "true").ok();
    // And not without: sshd itself would refuse, and say nothing.
    home.sh("x", "mv /etc/pam.d/sshd /root/pam");
    ssh(home, "true").fails_with(125).says("usermod -p '*' root");
    home.sh("x", "usermod -p '*' root");
    ssh(home, "true").ok();
    home.sh("x", "mv /root/pam /etc/pam.d/sshd");
    // Nor does it hang on what the guest does to its own files.
    home.sh("x", "rm -rf /root/.ssh /etc/ssh/ssh_host_* /run/sshd; chmod 777 /root");
    ssh(home, "true").ok();
    home.sh("x", "chmod 700 /root");
}

fn nothing_stays_of_a_killed_client(home: &Home) {
    for signal in [Signal::KILL, Signal::TERM] {
        let client = ssh(home, "echo ready; exec sleep 1111");
        let mut client = client.start();
        client.wait_for("ready");
        assert_ne!(servers(home), "0");
        let ssh = home.processes("ssh -F ").into_iter().find(|process| process.parent == client.pid());
        e2e::send(ssh.expect("ssh is a child of banger's").pid, Signal::KILL);
        client.signal(signal);
        until("no server is left", LIMIT, || servers(home) == "0");
        drop(client);
    }
    home.sh("x", "pkill sleep || true");
}

/// A guest that puts a server of its own in the place of the image's.
const IMPOSTER: &str = r#"ssh-keygen -q -t ed25519 -N '' -f /root/other
sshd=$(command -v sshd); mv $sshd $sshd.real
printf '#!/bin/sh\nsed "s,^HostKey .*,HostKey /root/other," "$4" >/root/cfg\nexec %s.real -i -e -f /root/cfg\n' $sshd >$sshd
chmod 755 $sshd"#;

fn another_host_key_is_refused(home: &Home) {
    home.sh("x", IMPOSTER);
    let refused: Finished = ssh(home, "true").fails_with(125);
    refused.says("REMOTE HOST IDENTIFICATION HAS CHANGED").says("another SSH host key than the one made");
    refused.says("banger exec -it x");
    client(home, "ssh").args(["x.vm", "true"]).fails_with(255).says("HAS CHANGED");
}
