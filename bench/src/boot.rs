use std::time::Duration;

use crate::bare::BareQemu;
use crate::error::BenchError;
use crate::home::Home;
use crate::numbers::{Numbers, heading, verdict};
use crate::store::STORED_VMS;

/// What a whole cold `run` may cost on top of the bare boot.
const RUN_OVERHEAD: Duration = Duration::from_millis(1000);
const VERSION: Duration = Duration::from_millis(10);
const LIST: Duration = Duration::from_millis(50);

/// Everything about starting, in turns, so that what else the machine does hits all of them alike.
pub(crate) fn measure(home: &Home, rounds: usize) -> Result<(), BenchError> {
    home.store_many()?;
    let vm = home.boot("bench-running")?;
    let bare = BareQemu::like(vm.vmm_pid()?)?;
    let [mut hello, mut run, mut exec, mut version, mut list] = std::array::from_fn(|_| Numbers::default());
    // The page cache is warm for everybody.
    bare.boot(home)?;
    for round in 1..=rounds {
        eprintln!("bench: round {round} of {rounds}");
        hello.add(bare.boot(home)?);
        run.add(home.time(&["run", "--quiet", "--rm", "--", "true"])?);
        for _ in 0..5 {
            exec.add(home.time(&["exec", "bench-running", "--", "true"])?);
            version.add(home.time(&["version"])?);
            list.add(home.time(&["vm", "list"])?);
        }
    }
    drop(vm);
    home.banger(&["vm", "delete", "bench-template"])?;

    println!("{}", heading("starting"));
    println!("{}", hello.line("bare QEMU to the agent's hello"));
    println!("{}", run.line("banger run --rm -- true, cold"));
    println!("{}", exec.line("banger exec VM -- true"));
    println!("{}", version.line("banger version"));
    println!("{}", list.line(&format!("banger vm list, {STORED_VMS} stored")));
    let (hello, run) = (hello.median().as_secs_f64(), run.median().as_secs_f64());
    let extra = run - hello;
    println!("a cold run is {:.2} times the bare boot, or {extra:.2} s more", run / hello);
    println!("exec is {:.4} times the bare boot", exec.median().as_secs_f64() / hello);
    println!();
    println!("cold run <= bare boot + {RUN_OVERHEAD:?}: {}", verdict(extra <= RUN_OVERHEAD.as_secs_f64()));
    println!("version < {VERSION:?}: {}", verdict(version.median() < VERSION));
    println!("list < {LIST:?}: {}", verdict(list.median() < LIST));
    println!();
    Ok(())
}
