use crate::error::BenchError;
use crate::home::Home;
use crate::load::BusyCores;
use crate::numbers::{Numbers, heading, verdict};

/// Cold boots in a row, with `load` threads that keep the cores busy. Goes on when one fails.
pub(crate) fn measure(home: &Home, count: usize, load: usize) -> Result<(), BenchError> {
    let _busy = BusyCores::start(load);
    let mut numbers = Numbers::default();
    let mut failed = 0;
    for n in 1..=count {
        match home.time(&["run", "--quiet", "--rm", "--", "true"]) {
            Ok(took) => {
                eprintln!("bench: boot {n} of {count}: {:.1} s", took.as_secs_f64());
                numbers.add(took);
            }
            Err(error) => {
                failed += 1;
                eprintln!("bench: boot {n} of {count}: {error}");
            }
        }
    }
    println!("{}", heading(&format!("booting with {load} busy threads")));
    println!("{}", numbers.line("banger run --rm -- true, cold"));
    let log = home.banger(&["daemon", "logs", "--json"])?;
    let again = String::from_utf8_lossy(&log.stdout).matches("the boot hung").count();
    println!(
        "{} of {count} came up: {} ({again} second tries in the daemon's log)",
        count - failed,
        verdict(failed == 0)
    );
    println!();
    Ok(())
}
