//! Prints what this host looks like to banger: `cargo run -p banger-host --example probe`.
#![allow(clippy::print_stdout, reason = "a program for people")]

use banger_host::{kvm, system, tsc};

fn main() {
    let probe = kvm::run_probe_here();
    println!("kvm: {} ({probe:?})", probe.reason());
    println!("tsc: {:?} kHz", tsc::host_tsc_khz());
    println!(
        "cpus: {}, memory: {} MiB, kernel: {}",
        system::cpu_count(),
        system::total_memory_mib(),
        system::kernel_release()
    );
}
