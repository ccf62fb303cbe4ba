//! Many clients at once, for minutes: what hangs, and what disagrees afterwards.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use banger_api::daemon::DaemonStatus;
use banger_api::vm::{Vm, VmState};
use rusqlite::Connection;

use crate::error::BenchError;
use crate::home::Home;
use crate::numbers::verdict;

const CLIENTS: u64 = 8;
const VMS: usize = 12;

/// Longer than any request may take: its own limit, and what a command waits for a daemon on top.
const HANGS_AFTER: Duration = Duration::from_secs(100);

/// How often the daemon is killed.
const KILL_EVERY: Duration = Duration::from_secs(3);

struct Soak<'a> {
    home: &'a Home,
    end: Instant,
    operations: AtomicUsize,
    refused: AtomicUsize,
    slowest_ms: AtomicU64,
    hung: Mutex<Vec<String>>,
}

/// Runs the clients for `minutes`; with `kill` the daemon dies every few seconds.
pub(crate) fn measure(home: &Home, minutes: u64, kill: bool) -> Result<(), BenchError> {
    for n in 0..VMS {
        home.banger(&["vm", "create", "--quiet", "--name", &name(n)])?;
    }
    home.banger(&["vm", "start", &name(0)])?;
    let soak = Soak {
        home,
        end: Instant::now() + Duration::from_secs(minutes * 60),
        operations: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        slowest_ms: AtomicU64::new(0),
        hung: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let soak = &soak;
            scope.spawn(move || soak.client(client));
        }
        if kill {
            scope.spawn(|| soak.killer());
        }
    });
    let report = soak.report(kill);
    // VMs outlive their daemon, and this program would leave them behind.
    for n in 0..VMS {
        home.banger(&["vm", "delete", "--force", &name(n)])?;
    }
    report
}

fn name(n: usize) -> String {
    format!("bench-soak-{n}")
}

impl Soak<'_> {
    /// One user who types without pause.
    fn client(&self, number: u64) {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(number + 1);
        while Instant::now() < self.end {
            // xorshift: repeatable, and good enough to choose commands by.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let vm = name((random >> 32) as usize % VMS);
            let own = format!("bench-own-{number}");
            let line: &[&str] = match random % 100 {
                0..30 => &["vm", "list", "--all", "--json"],
                30..50 => &["vm", "show", &vm],
                50..60 => &["vm", "health", &vm],
                60..70 => &["exec", &vm, "--", "true"],
                70..76 => &["vm", "create", "--quiet", "--name", &own],
                76..82 => &["vm", "delete", "--force", &own],
                82..84 => &["vm", "start", &vm],
                84..88 => &["vm", "stop", "--timeout", "5", &vm],
                88..90 => &["vm", "kill", &vm],
                90..94 => &["image", "list"],
                94..97 => &["kernel", "list"],
                _ => &["daemon", "status"],
            };
            self.run(line);
        }
    }

    fn run(&self, line: &[&str]) {
        let start = Instant::now();
        let outcome = self.home.banger(line);
        let took = start.elapsed();
        self.operations.fetch_add(1, Ordering::Relaxed);
        self.slowest_ms.fetch_max(took.as_millis() as u64, Ordering::Relaxed);
        if outcome.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        if took > HANGS_AFTER {
            let hung = format!("`banger {}` took {:.0} s: {outcome:?}", line.join(" "), took.as_secs_f64());
            self.hung.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(hung);
        }
    }

    fn killer(&self) {
        while Instant::now() < self.end {
            std::thread::sleep(KILL_EVERY);
            let Ok(status) = self.home.json::<DaemonStatus>(&["daemon", "status", "--json"]) else {
                continue;
            };
            if let Some(pid) = rustix::process::Pid::from_raw(status.pid as i32) {
                // It may have died by itself; then the next one is killed.
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    fn report(&self, kill: bool) -> Result<(), BenchError> {
        let (operations, refused) =
            (self.operations.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed));
        let killed = if kill { ", the daemon killed every 3 s" } else { "" };
        println!(
            "{operations} commands of {CLIENTS} clients{killed}; {refused} of them failed or were refused"
        );
        println!("slowest: {:.1} s", self.slowest_ms.load(Ordering::Relaxed) as f64 / 1000.0);
        let mut faults = self.hung.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        faults.extend(self.disagreements()?);
        for fault in &faults {
            println!("  {fault}");
        }
        println!("nothing hangs, and store, disk, processes and API agree: {}\n", verdict(faults.is_empty()));
        if faults.is_empty() { Ok(()) } else { Err(BenchError::Soak(faults.len())) }
    }

    /// Where store, disk, processes and API say different things.
    fn disagreements(&self) -> Result<Vec<String>, BenchError> {
        let vms: Vec<Vm> = self.home.json(&["vm", "list", "--all", "--json"])?;
        let listed: BTreeSet<String> = vms.iter().map(|vm| vm.id.clone()).collect();
        let store = Connection::open(self.home.state().join("banger.db"))?;
        let mut find = store.prepare("SELECT id FROM vms")?;
        let stored: BTreeSet<String> = find.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let dir = self.home.state().join("vms");
        let entries = std::fs::read_dir(&dir).map_err(BenchError::file("read", &dir))?;
        let on_disk: BTreeSet<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let mut found = Vec::new();
        for (what, other) in [("the store", &stored), ("the disk", &on_disk)] {
            if *other != listed {
                found.push(format!("{what} has {other:?}, the API {listed:?}"));
            }
        }
        for vm in &vms {
            let alive = vm.vmm_pid.is_some_and(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists());
            if alive != (vm.state == VmState::Running) {
                found.push(format!("{} is {}, its process {alive}", vm.spec.name, vm.state));
            }
        }
        Ok(found)
    }
}
