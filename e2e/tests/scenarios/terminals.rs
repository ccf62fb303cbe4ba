use std::time::Duration;

use banger_api::vm::VmState;
use e2e::{Home, Terminal, eventually, skipped, tool, until};

#[test]
fn a_terminal_is_usable() {
    let home = Home::new();
    home.boot("x");
    let mut terminal = Terminal::open(&home, 30, 100, &["exec", "-it", "x", "--", "sh"]);
    terminal.expect("# ");
    terminal.send("stty size\r");
    terminal.expect("30 100");
    terminal.resize(41, 123);
    // The new size travels beside the keys.
    std::thread::sleep(Duration::from_millis(300));
    terminal.send("stty size; tty; echo T=$TERM\r");
    terminal.expect("41 123");
    terminal.expect("/dev/pts/");
    terminal.expect("T=xterm-256color");
    terminal.send("ls --color=auto -d /usr\r");
    terminal.expect("\x1b[01;34m/usr");

    // The words on the screen differ from those that were typed: they are there once the program runs.
    terminal.send("sh -c 'echo sleep$((0 + 1)); exec sleep 1111'\r");
    terminal.expect("sleep1");
    terminal.send("\x03");
    terminal.expect("^C");
    terminal.send("echo $((6 * 7))\r");
    terminal.expect("42");
    terminal.send("exit 5\r");
    assert_eq!(terminal.wait(), 5);
}

#[test]
fn a_closed_terminal_ends_its_command_and_a_leased_vm() {
    let home = Home::new();
    home.boot("x");
    let mut terminal = Terminal::open(&home, 24, 80, &["exec", "-it", "x", "--", "sleep", "1111"]);
    let sessions = || {
        let health = home.banger("vm health x --json").ok();
        serde_json::from_slice::<banger_api::vm::VmHealth>(&health.out).unwrap().exec_sessions
    };
    until("the command runs", Duration::from_secs(10), || sessions() == 1);
    terminal.hang_up();
    until("the command has ended", Duration::from_secs(10), || sessions() == 0);
    assert_eq!(home.vm("x").state, VmState::Running);
    home.banger("vm delete --force x").ok();

    let mut terminal =
        Terminal::open(&home, 24, 80, &["run", "--rm", "--", "sh", "-c", "echo here; sleep 1111"]);
    terminal.expect("here");
    terminal.hang_up();
    terminal.wait();
    home.assert_no_residue();
}

#[test]
fn needs_tmux_a_shell_in_tmux() {
    if tool(&["tmux", "-V"]).is_none() {
        return skipped("tmux is not installed");
    }
    let home = Home::new();
    home.boot("x");
    let socket = home.root().join("tmux.sock");
    let tmux = |words: &[&str]| {
        let command =
            home.program("tmux").args(["-f", "/dev/null", "-S"]).args([&socket]).args(words.iter().copied());
        command.env("TERM", "xterm-256color").ok().text()
    };
    let banger = home.programs().path("banger");
    let session = format!("{} exec -it x", banger.display());
    tmux(&["new-session", "-d", "-s", "s", "-x", "91", "-y", "27", &session]);
    let screen = |what: &str| {
        eventually(what, Duration::from_secs(20), || {
            let screen = tmux(&["capture-pane", "-p", "-t", "s"]);
            screen.contains(what).then_some(screen)
        })
    };
    screen("#");
    tmux(&["send-keys", "-t", "s", "stty size; echo T=$TERM", "Enter"]);
    screen("27 91");
    screen("T=tmux-256color");
    tmux(&["send-keys", "-t", "s", "sh -c 'echo sleep$((0 + 1)); exec sleep 1111'", "Enter"]);
    screen("sleep1");
    tmux(&["send-keys", "-t", "s", "C-c"]);
    tmux(&["send-keys", "-t", "s", "echo back-$((6*7))", "Enter"]);
    screen("back-42");
    tmux(&["kill-server"]);
}
